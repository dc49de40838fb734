//! The paths of each publisher's models.

use crate::model::encode_in_path;

/// Returns true if a model is Anthropic's.
pub(super) fn is_claude(model: &str) -> bool {
    model.starts_with("claude")
}

/// Returns the path after the base URL, which ends with the project and the location.
pub fn path(model: &str, stream: bool) -> String {
    let (publisher, method) = match (is_claude(model), stream) {
        (true, false) => ("anthropic", "rawPredict"),
        (true, true) => ("anthropic", "streamRawPredict"),
        (false, false) => ("google", "generateContent"),
        (false, true) => ("google", "streamGenerateContent?alt=sse"),
    };
    format!(
        "/publishers/{publisher}/models/{}:{method}",
        encode_version(model)
    )
}

/// Claude's versions follow an `@`, which is allowed in a path.
fn encode_version(model: &str) -> String {
    encode_in_path(model).replace("%40", "@")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_publisher_has_its_path() {
        assert_eq!(
            path("claude-sonnet-4-5@20250929", true),
            "/publishers/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict"
        );
        assert_eq!(
            path("gemini-2.5-pro", false),
            "/publishers/google/models/gemini-2.5-pro:generateContent"
        );
    }
}
