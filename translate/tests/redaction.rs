//! Precision and recall of each detector, over texts with and without matches.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use opentracy_translate::redact::{DEFAULT, NATIONAL_IDS, Redactor};

const CORPUS: &str = include_str!("../fixtures/redaction/corpus.txt");

/// Result of one detector over the whole corpus.
#[derive(Debug, Default, Clone, Copy)]
struct Score {
    found: u32,
    missed: u32,
    wrong: u32,
}

impl Score {
    fn precision(&self) -> f64 {
        f64::from(self.found) / f64::from((self.found + self.wrong).max(1))
    }

    fn recall(&self) -> f64 {
        f64::from(self.found) / f64::from((self.found + self.missed).max(1))
    }
}

/// Returns a line without its marks, the line as one detector should mask it, and the number of its
/// marks.
fn read(line: &str, detector: &str) -> (String, String, u32) {
    let (mut text, mut masked, mut marks) = (String::new(), String::new(), 0);
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('⟦') {
        let (mark, after) = after.split_once('⟧').expect("every mark has an end");
        let (name, value) = mark.split_once(':').expect("every mark has a name");
        text.push_str(before);
        masked.push_str(before);
        text.push_str(value);
        if name == detector {
            masked.push_str(&mask(detector));
            marks += 1;
        } else {
            masked.push_str(value);
        }
        rest = after;
    }
    text.push_str(rest);
    masked.push_str(rest);
    (text, masked, marks)
}

fn mask(detector: &str) -> String {
    if NATIONAL_IDS.contains(&detector) {
        return "[NATIONAL_ID]".to_owned();
    }
    format!("[{}]", detector.to_uppercase())
}

fn score(detector: &str) -> Score {
    let redactor = Redactor::new([detector], []).unwrap();
    let mut score = Score::default();
    for line in CORPUS.lines().filter(|line| !line.starts_with('#')) {
        let (text, wanted, marks) = read(line, detector);
        let masked = redactor.mask_text(&text);
        let count = masked.matches(&mask(detector)).count() as u32;
        if masked == wanted {
            score.found += marks;
            continue;
        }
        eprintln!("{detector}: {masked}   wanted: {wanted}");
        // The same number of masks in other places means a miss and a false positive.
        let shifted = u32::from(count == marks);
        score.found += count.min(marks) - shifted.min(marks);
        score.missed += marks.saturating_sub(count) + shifted;
        score.wrong += count.saturating_sub(marks) + shifted;
    }
    score
}

#[test]
fn detectors_are_precise_and_miss_little() {
    let names = DEFAULT.iter().chain(&NATIONAL_IDS);
    let scores: BTreeMap<&str, Score> = names.map(|name| (*name, score(name))).collect();
    println!("| detector | in the corpus | precision | recall |\n|---|--:|--:|--:|");
    for (name, score) in &scores {
        println!(
            "| {name} | {} | {:.2} | {:.2} |",
            score.found + score.missed,
            score.precision(),
            score.recall()
        );
    }
    for (name, score) in &scores {
        assert!(score.found >= 3, "{name} is hardly tested: {score:?}");
        assert!(score.precision() >= 0.9, "{name}: {score:?}");
        assert!(score.recall() >= 0.9, "{name}: {score:?}");
    }
}

#[test]
fn all_together_leave_ordinary_text_alone() {
    let redactor = Redactor::default();
    let ordinary: Vec<&str> = CORPUS
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains('⟦'))
        .collect();
    let changed = ordinary
        .iter()
        .filter(|text| redactor.mask_text(text) != **text)
        .count();
    assert!(
        changed * 20 <= ordinary.len(),
        "{changed} of {}",
        ordinary.len()
    );
}

/// Returns text of a kind that is slow to search, of the given length.
fn hard(kind: &str, length: usize) -> String {
    let piece = match kind {
        "english" => {
            "The gateway reads a request once, plans where it goes, and answers the client as the provider answers it. "
        }
        "code" => {
            "let total = items.iter().map(|item| item.price * 100).sum::<u64>(); // see std::iter\n"
        }
        "numbers" => "12345.67 0.123 88.1 2024-11-05 10:30:45 1234 5678 9012 ",
        "digits" => "1",
        "hexadecimal" => "a1b2c3d4e5f60718",
        "letters" => "aB1",
        "separators" => "-_.:=@+/ ",
        "colons" => "::1:",
        "signs" => "+1 234 ",
        "capitals" => "DE44 5001 ",
        "almost tokens" => "eyJ-",
        "parts of tokens" => "eyJAIza",
        "almost passwords" => "token= a:// b:",
        "almost keys" => "-----BEGIN PRIVATE KEY ",
        "spaces" => "    ",
        "other scripts" => "Тест 漢字 é ",
        other => panic!("{other}"),
    };
    let mut text = piece.repeat(length / piece.len() + 1);
    text.truncate(text.floor_char_boundary(length));
    text
}

const KINDS: [&str; 16] = [
    "english",
    "code",
    "numbers",
    "digits",
    "hexadecimal",
    "letters",
    "separators",
    "colons",
    "signs",
    "capitals",
    "almost tokens",
    "parts of tokens",
    "almost passwords",
    "almost keys",
    "spaces",
    "other scripts",
];

fn time(redactor: &Redactor, text: &str) -> Duration {
    let once = || {
        let start = Instant::now();
        redactor.mask_text(text);
        start.elapsed()
    };
    (0..3).map(|_| once()).min().unwrap_or_default()
}

/// Text 16 times as long takes 16 times as long to mask; a search that backtracks would take 256
/// times as long.
#[test]
fn time_is_linear_in_the_text() {
    let names = DEFAULT.iter().chain(&NATIONAL_IDS).copied();
    let redactor = Redactor::new(names, []).unwrap();
    for kind in KINDS {
        let (short, long) = (hard(kind, 5_000), hard(kind, 80_000));
        // Other processes may have used the CPU, but not in every run.
        let is_linear = (0..6).any(|_| {
            let short = time(&redactor, &short).max(Duration::from_micros(20));
            time(&redactor, &long) < short * 64
        });
        assert!(is_linear, "{kind}");
    }
}

/// `cargo test --release -p opentracy-translate --test redaction -- --ignored --nocapture` prints
/// the duration of masking.
#[test]
#[ignore = "a measurement"]
fn hundred_kilobytes_take_two_milliseconds() {
    let redactor = Redactor::default();
    for kind in KINDS {
        println!(
            "{kind}: {:?} per 100 KB",
            time(&redactor, &hard(kind, 100_000))
        );
    }
    assert!(time(&redactor, &hard("english", 100_000)) < Duration::from_millis(2));
}
