//! The fuzz targets on the stable compiler: the fixtures, and a bounded number of variations of them.

mod fixtures;

#[path = "../fuzz/targets.rs"]
mod targets;

use proptest::prelude::*;

use crate::fixtures::{APIS, FORMATS, inputs, streams};

/// The fixtures to vary, each with a byte in front for the targets that want one.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![b" contact jane.doe@example.com, sk-abcdefghijklmnop1234567890".to_vec()];
    let names = FORMATS.iter().map(|(_, name)| name);
    for format in names.chain(APIS.iter().map(|(_, name)| name)) {
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
    // What parsers trip over.
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
