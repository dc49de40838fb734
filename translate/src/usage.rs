//! Token usage reported in an answer, at the endpoints that are not about conversations.

use serde::Deserialize;

use crate::json;
use crate::lenient;

/// Returns the input tokens and the output tokens.
pub fn read(body: &[u8]) -> Option<(u64, u64)> {
    #[derive(Deserialize)]
    struct Body {
        usage: Option<Counts>,
    }
    /// Some servers send both names.
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Counts {
        #[serde(deserialize_with = "lenient::count")]
        prompt_tokens: Option<u64>,
        #[serde(deserialize_with = "lenient::count")]
        input_tokens: Option<u64>,
        #[serde(deserialize_with = "lenient::count")]
        completion_tokens: Option<u64>,
        #[serde(deserialize_with = "lenient::count")]
        output_tokens: Option<u64>,
        #[serde(deserialize_with = "lenient::count")]
        total_tokens: Option<u64>,
    }
    let usage = json::from_bytes::<Body>(body).ok()?.usage?;
    let input = usage.prompt_tokens.or(usage.input_tokens);
    let output = usage.completion_tokens.or(usage.output_tokens);
    Some((input.or(usage.total_tokens)?, output.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_endpoint_has_its_own_words() {
        for (usage, expected) in [
            (r#"{"prompt_tokens": 4, "total_tokens": 4}"#, Some((4, 0))),
            (
                r#"{"prompt_tokens": 4, "completion_tokens": 2}"#,
                Some((4, 2)),
            ),
            (
                r#"{"input_tokens": 10, "output_tokens": 100}"#,
                Some((10, 100)),
            ),
            (r#"{"total_tokens": 9}"#, Some((9, 0))),
            (
                r#"{"prompt_tokens": 4.0, "input_tokens": 4, "completion_tokens": null, "output_tokens": 2}"#,
                Some((4, 2)),
            ),
            ("null", None),
            ("{}", None),
        ] {
            let body = format!(r#"{{"data": [], "usage": {usage}}}"#);
            assert_eq!(read(body.as_bytes()), expected, "{usage}");
        }
        assert_eq!(read(b"not json"), None);
    }
}
