//! Cohere's `usage`. Its billed units exclude free tokens, so `tokens` is preferred.

use serde::Deserialize;

use crate::cost::{TokenCount, Usage};

/// Counts are floats, such as `12.0`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireUsage {
    tokens: Option<Tokens>,
    billed_units: Option<Tokens>,
    cached_tokens: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Tokens {
    input_tokens: Option<f64>,
    output_tokens: Option<f64>,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let tokens = wire.tokens.or(wire.billed_units).unwrap_or_default();
        Self {
            input: count(tokens.input_tokens),
            output: count(tokens.output_tokens),
            cache_read: count(wire.cached_tokens),
            ..Self::default()
        }
    }
}

/// Rounds a float to the nearest valid count.
fn count(number: Option<f64>) -> TokenCount {
    number.unwrap_or_default().max(0.0).round() as TokenCount
}
