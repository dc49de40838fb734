//! The JSON of REST, exports and imports: milliseconds, USD and RFC 3339.

use opentracy_proto::v1;

pub use crate::fields::Trace;
pub use crate::json_parts::{Attempt, Cost};
use crate::wire::micros;

impl Trace {
    /// Converts an imported trace to the messages that the filter would have sent. An error names
    /// the field.
    pub fn into_request(mut self) -> Result<v1::IngestRequest, String> {
        let attempts = std::mem::take(&mut self.attempts);
        let trace = self.into_message()?;
        let attempts = attempts.into_iter().map(|attempt| v1::Attempt {
            trace_id: trace.id.clone(),
            number: attempt.number,
            provider: attempt.provider,
            model: attempt.model,
            status: u32::from(attempt.status.unwrap_or_default()),
            error: attempt.error.unwrap_or_default(),
            latency_micros: micros(attempt.latency_ms),
            start_unix_micros: trace.start_unix_micros,
            traceparent: String::new(),
        });
        Ok(v1::IngestRequest {
            attempts: attempts.collect(),
            traces: vec![trace],
        })
    }
}
