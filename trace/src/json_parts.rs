//! The parts of a trace in the JSON of REST, exports and imports: milliseconds and USD.

use serde::{Deserialize, Serialize};

use crate::attempt;
use crate::parts;

/// USD. Cached tokens are not in `input`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cost {
    pub input: f64,
    pub output: f64,
    #[serde(default)]
    pub cache_read: f64,
    #[serde(default)]
    pub cache_write: f64,
    pub total: f64,
}

/// One call to one provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Attempt {
    /// 1 is the first.
    pub number: u32,
    pub provider: String,
    pub model: String,
    /// `null` if the provider sent no response.
    pub status: Option<u16>,
    /// The error, as an identifier.
    pub error: Option<String>,
    pub latency_ms: f64,
}

impl From<parts::Cost> for Cost {
    fn from(cost: parts::Cost) -> Self {
        Self {
            input: cost.input.usd(),
            output: cost.output.usd(),
            cache_read: cost.cache_read.usd(),
            cache_write: cost.cache_write.usd(),
            total: cost.total.usd(),
        }
    }
}

impl From<attempt::Attempt> for Attempt {
    fn from(attempt: attempt::Attempt) -> Self {
        Self {
            number: attempt.number,
            provider: attempt.provider,
            model: attempt.model,
            status: attempt.status,
            error: attempt.error,
            latency_ms: attempt.latency.millis(),
        }
    }
}
