//! The client's SDK and its version, from the header `User-Agent`.

use serde::{Deserialize, Serialize};

const MAX_BYTES: usize = 64;

/// A product and its version, such as `OpenAI/Python 2.1.0` or `curl/8.5`: at most 64 bytes of
/// printable ASCII.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserAgent(String);

impl UserAgent {
    /// Parses a header. Returns `None` if it doesn't begin with a product.
    pub fn parse(header: &str) -> Option<Self> {
        let product = product_and_version(header);
        (!product.is_empty()).then(|| Self(product.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<UserAgent> for String {
    fn from(agent: UserAgent) -> Self {
        agent.0
    }
}

/// Returns the product that a header begins with, and its version; empty without one. Leaves
/// out further products and comments, which may hold anything.
///
/// OpenAI's and Anthropic's SDKs separate the version with a space, most others with a slash.
pub fn product_and_version(header: &str) -> &str {
    let header = header.trim_start();
    let product = token(header);
    let rest = header.get(product.len()..).unwrap_or_default();
    let version = match rest.strip_prefix(' ') {
        Some(rest) if !has_version(product) => token(rest),
        _ => "",
    };
    let mut end = product.len().min(MAX_BYTES);
    let end_of_version = product.len() + 1 + version.len();
    if begins_with_digit(version) && end_of_version <= MAX_BYTES {
        end = end_of_version;
    }
    header.get(..end).unwrap_or_default()
}

/// Returns the token of RFC 9110 that a text begins with; slashes are part of it.
fn token(text: &str) -> &str {
    let is_token =
        |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(letter);
    let end = text.find(|letter| !is_token(letter)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

fn has_version(product: &str) -> bool {
    let parts = product.rsplit_once('/');
    parts.is_some_and(|(_, version)| begins_with_digit(version.trim_start_matches('v')))
}

fn begins_with_digit(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_and_its_version_are_kept() {
        for (header, expected) in [
            ("OpenAI/Python 2.1.0", "OpenAI/Python 2.1.0"),
            ("Anthropic/JS 0.6", "Anthropic/JS 0.6"),
            ("claude-cli/2.0.1 (external, cli)", "claude-cli/2.0.1"),
            ("curl/8.5", "curl/8.5"),
            ("ai-sdk/openai/v1.0.3 ai/4.1", "ai-sdk/openai/v1.0.3"),
            (
                "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101",
                "Mozilla/5.0",
            ),
            ("node", "node"),
            ("my app, for jane@example.org", "my"),
            ("  curl/8.5", "curl/8.5"),
            ("(comment)", ""),
            ("ключ", ""),
            ("", ""),
        ] {
            assert_eq!(product_and_version(header), expected, "{header}");
        }
    }

    #[test]
    fn a_long_header_is_cut_and_parses_the_same_again() {
        let long = "a".repeat(60);
        for header in [
            format!("{long}/1.2.3.4.5"),
            format!("{long} 1.2.3.4.5"),
            format!("{long} 1.2"),
            "x".repeat(5000),
        ] {
            let agent = UserAgent::parse(&header).unwrap();
            assert!(agent.as_str().len() <= MAX_BYTES, "{header}");
            assert_eq!(UserAgent::parse(agent.as_str()), Some(agent));
        }
    }
}
