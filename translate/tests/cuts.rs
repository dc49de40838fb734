//! The way a provider's stream is split into pieces doesn't change the client's bytes.

mod fixtures;

#[path = "../fuzz/targets.rs"]
#[allow(dead_code)]
mod targets;

use opentracy_translate::client::Api;
use opentracy_translate::wire_format::Format;
use proptest::prelude::*;

use crate::fixtures::{apis, formats, inputs, origin, streams, translate_stream};

use crate::targets::tapped;

/// Splits bytes at these positions, each a fraction of the length.
fn cut<'a>(bytes: &'a [u8], places: &[f64]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = places
        .iter()
        .map(|place| (place * bytes.len() as f64) as usize)
        .chain([0, bytes.len()])
        .collect();
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

#[test]
fn byte_by_byte_is_as_good_as_whole() {
    for (format, name) in formats() {
        for input in streams(name) {
            let whole = translate_stream(&origin(Api::CHAT_COMPLETIONS, format), &[&input.content]);
            let bytes: Vec<&[u8]> = input.content.chunks(1).collect();
            assert_eq!(
                translate_stream(&origin(Api::CHAT_COMPLETIONS, format), &bytes),
                whole,
                "{name}/{}",
                input.name
            );
            let written: Vec<&[u8]> = whole.chunks(1).collect();
            assert_eq!(
                tapped(Api::CHAT_COMPLETIONS, &written),
                tapped(Api::CHAT_COMPLETIONS, &[&whole]),
                "{name}/{}",
                input.name
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_cuts_give_the_same(places in prop::collection::vec(0.0..1.0, 0..40)) {
        for (format, name) in formats() {
            for input in streams(name) {
                let whole = translate_stream(&origin(Api::CHAT_COMPLETIONS, format), &[&input.content]);
                prop_assert_eq!(&translate_stream(&origin(Api::CHAT_COMPLETIONS, format), &cut(&input.content, &places)), &whole, "{}/{}", name, input.name);
                prop_assert_eq!(tapped(Api::CHAT_COMPLETIONS, &cut(&whole, &places)), tapped(Api::CHAT_COMPLETIONS, &[&whole]), "{}/{}", name, input.name);
            }
        }
    }

    #[test]
    fn any_cuts_give_clients_of_other_apis_the_same(places in prop::collection::vec(0.0..1.0, 0..40)) {
        for (api, name) in apis() {
            let origin = origin(api, Format::OPENAI);
            for input in inputs(name, "streams", "in.sse") {
                let whole = translate_stream(&origin, &[&input.content]);
                prop_assert_eq!(&translate_stream(&origin, &cut(&input.content, &places)), &whole, "{}/{}", name, input.name);
                prop_assert_eq!(tapped(api, &cut(&whole, &places)), tapped(api, &[&whole]), "{}/{}", name, input.name);
            }
        }
    }

    #[test]
    fn what_breaks_off_anywhere_ends_the_same_way(place in 0.0..1.0, places in prop::collection::vec(0.0..1.0, 0..10)) {
        for (format, name) in formats() {
            for input in streams(name) {
                let short = cut(&input.content, &[place])[0];
                let whole = translate_stream(&origin(Api::CHAT_COMPLETIONS, format), &[short]);
                prop_assert_eq!(translate_stream(&origin(Api::CHAT_COMPLETIONS, format), &cut(short, &places)), whole, "{}/{}", name, input.name);
            }
        }
    }
}
