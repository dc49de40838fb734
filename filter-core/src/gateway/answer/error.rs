//! The answer to a call that failed.

use opentracy_translate::attempt_error::AttemptError;
use opentracy_translate::error::ApiError;

use super::state::ClientAnswer;
use crate::gateway::call::ClientCall;
use crate::headers::HeaderList;
use crate::host::Host;

impl ClientAnswer {
    /// Returns the body of an error and sets its headers.
    pub(super) fn answer_error(
        &mut self,
        host: &impl Host,
        call: &mut ClientCall,
        headers: &mut HeaderList<'_>,
        mut error: ApiError,
    ) -> Vec<u8> {
        call.key_mask().mask_error(&mut error);
        let retry_after = error.retry_after.or(headers.retry_after());
        if let Some(attempt) = call.attempts.last_mut() {
            attempt
                .error
                .get_or_insert_with(|| AttemptError::of_status(error.status));
            attempt.retry_after = attempt.retry_after.or(retry_after);
        }
        call.report_health(host);
        self.status = error.status;
        headers.set_error(&error);
        let body = call.api.error_json(&error, &call.attempts);
        self.error = Some(error);
        body
    }
}

/// Adds the headers that every answer has.
pub(super) fn finish_headers(
    host: &impl Host,
    call: &ClientCall,
    headers: &mut HeaderList<'_>,
    body_length: usize,
) {
    call.add_headers(host, headers);
    headers.push("content-length", body_length.to_string());
}
