//! How often each detector is right, over texts with and without what it looks for.

use std::collections::BTreeMap;

use opentracy_translate::redact::{DEFAULT, NATIONAL_IDS, Redactor};

const CORPUS: &str = include_str!("../fixtures/redaction/corpus.txt");

/// Of one detector over the whole corpus.
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

/// A line without its marks, and with those of one detector as they are to be masked.
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
        // The same number in other places is a miss and a mistake.
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
