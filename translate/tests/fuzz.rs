//! Runs the fuzz targets on the stable compiler: on the fixtures, and on a bounded number of
//! variations of them.

mod cpu;
mod fixtures;

#[path = "../fuzz/targets.rs"]
mod targets;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use crate::fixtures::{apis, formats, inputs, streams};

/// Returns the fixtures to vary, each with a leading byte for the targets that need one.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![b" contact jane.doe@example.com, sk-abcdefghijklmnop1234567890".to_vec()];
    let names = formats().map(|(_, name)| name);
    for format in names.chain(apis().map(|(_, name)| name)) {
        for (folder, ending) in [
            ("requests", "in.json"),
            ("responses", "in.json"),
            ("errors", "in.json"),
            ("streams", "out.sse"),
        ] {
            for input in inputs(format, folder, ending) {
                seeds.push([b" ".as_slice(), &input.content].concat());
            }
        }
        for input in streams(format) {
            seeds.push([b" ".as_slice(), &input.content].concat());
        }
    }
    seeds
}

fn run_all(data: &[u8]) {
    for target in [
        targets::request,
        targets::reply,
        targets::stream,
        targets::chunks,
        targets::text,
    ] {
        target(data);
        target(data.get(1..).unwrap_or_default());
    }
}

#[derive(Debug, Clone)]
enum Edit {
    Set(f64, u8),
    Insert(f64, Vec<u8>),
    Remove(f64, usize),
    Repeat(f64, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    // Fragments that parsers often fail on.
    let words = prop::sample::select(vec![
        "\n\n",
        "\r",
        "\r\n",
        "data:",
        "data: ",
        "event: x\n",
        "[DONE]",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        "\\u12",
        "null",
        "1e999",
        "-",
        "\u{feff}",
        "é",
    ]);
    prop_oneof![
        (0.0..1.0, any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (0.0..1.0, words).prop_map(|(at, word)| Edit::Insert(at, word.as_bytes().to_vec())),
        (0.0..1.0, 1..200usize).prop_map(|(at, length)| Edit::Remove(at, length)),
        (0.0..1.0, 1..200usize).prop_map(|(at, length)| Edit::Repeat(at, length)),
    ]
}

fn apply(data: &mut Vec<u8>, edit: Edit) {
    let place = |at: f64| (at * data.len() as f64) as usize;
    match edit {
        Edit::Set(at, byte) => {
            let at = place(at);
            if let Some(old) = data.get_mut(at) {
                *old = byte;
            }
        }
        Edit::Insert(at, bytes) => {
            let at = place(at);
            data.splice(at..at, bytes);
        }
        Edit::Remove(at, length) => {
            let at = place(at);
            data.drain(at..(at + length).min(data.len()));
        }
        Edit::Repeat(at, length) => {
            let at = place(at);
            let part = data[at..(at + length).min(data.len())].to_vec();
            data.splice(at..at, part);
        }
    }
}

#[test]
fn the_fixtures_themselves() {
    seeds().iter().for_each(|seed| run_all(seed));
}

/// Names the variation under test if a target panics.
struct Report<'d> {
    seed: u64,
    case: u32,
    target: &'static str,
    data: &'d [u8],
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (seed, case, target) = (self.seed, self.case, self.target);
            let input = self.data.escape_ascii();
            eprintln!("FUZZ_SEED={seed}, case {case}, target {target}, input: {input}");
        }
    }
}

/// The longest time per byte of a target, and the case that took it.
#[derive(Clone, Copy)]
struct Slowest {
    per_byte: Duration,
    length: usize,
    case: u32,
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|value| value.parse().unwrap())
}

fn runner(seed: u64) -> TestRunner {
    let bytes = [seed.to_le_bytes(); 4].concat();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    TestRunner::new_with_rng(ProptestConfig::default(), rng)
}

/// Runs each target on many variations, and measures it.
///
/// `cargo test --release -p opentracy-translate --test fuzz -- --ignored --nocapture` runs 20,000,
/// or the number in `FUZZ_CASES`, in about 15 seconds. Each run prints its seed; `FUZZ_SEED`
/// repeats a run.
#[test]
#[ignore = "needs a release build"]
fn many_variations_in_bounded_time() {
    /// A target runs a translation for each API, format and kind of model, each of which may take a
    /// hundred nanoseconds per byte.
    const MOST_PER_BYTE: Duration = Duration::from_micros(20);
    /// The time of a smaller input is mostly noise.
    const LEAST_BYTES: usize = 2000;
    type Target = fn(&[u8]);
    const TARGETS: [(&str, Target); 5] = [
        ("request", targets::request),
        ("reply", targets::reply),
        ("stream", targets::stream),
        ("chunks", targets::chunks),
        ("text", targets::text),
    ];
    let cases = number("FUZZ_CASES").map_or(20_000, |cases| cases.try_into().unwrap());
    let seed = number("FUZZ_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_micros() as u64
    });
    println!("FUZZ_SEED={seed}");
    let mut runner = runner(seed);
    let variation = (
        prop::sample::select(seeds()),
        prop::collection::vec(edit(), 1..6),
        (0.0..1.0, 1..300usize, 1..200usize),
        any::<bool>(),
    );
    let mut slowest = TARGETS.map(|_| Slowest {
        per_byte: Duration::ZERO,
        length: 0,
        case: 0,
    });
    let mut bytes = 0;
    for case in 0..cases {
        let (mut data, edits, (at, length, times), is_long) =
            variation.new_tree(&mut runner).unwrap().current();
        edits.into_iter().for_each(|edit| apply(&mut data, edit));
        if is_long {
            // A part that occurs once may occur often.
            let at = (at * data.len() as f64) as usize;
            let part = data[at..(at + length).min(data.len())].repeat(times);
            data.splice(at..at, part);
        }
        bytes += data.len();
        for ((name, target), slowest) in TARGETS.iter().zip(&mut slowest) {
            let _report = Report {
                seed,
                case,
                target: name,
                data: &data,
            };
            let time = || cpu::time(|| target(&data)) / data.len().max(LEAST_BYTES) as u32;
            let mut per_byte = time();
            if per_byte > MOST_PER_BYTE {
                // The first run may have filled a cache.
                per_byte = time();
            }
            if per_byte > slowest.per_byte {
                *slowest = Slowest {
                    per_byte,
                    length: data.len(),
                    case,
                };
            }
        }
    }
    println!("{cases} variations, {bytes} bytes, for each of the targets");
    let lines = TARGETS.iter().zip(slowest).map(|((name, _), slowest)| {
        let Slowest {
            per_byte,
            length,
            case,
        } = slowest;
        format!("{name}: at most {per_byte:?} a byte, case {case} with {length} bytes")
    });
    let lines = lines.collect::<Vec<_>>().join("\n");
    println!("{lines}");
    let is_bounded = slowest.iter().all(|it| it.per_byte <= MOST_PER_BYTE);
    assert!(is_bounded, "FUZZ_SEED={seed}\n{lines}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn variations_of_the_fixtures(seed in prop::sample::select(seeds()), edits in prop::collection::vec(edit(), 1..6)) {
        let mut data = seed;
        edits.into_iter().for_each(|edit| apply(&mut data, edit));
        run_all(&data);
    }

    #[test]
    fn any_bytes(data in prop::collection::vec(any::<u8>(), 0..400)) {
        run_all(&data);
    }
}
