//! Answers that are one body.

use std::borrow::Cow;

use opentracy_translate::attempt_error::AttemptError;
use opentracy_translate::error::ApiError;
use opentracy_translate::json;
use opentracy_translate::openai::error as openai_error;
use opentracy_translate::openai::response::Summary;

use super::error::finish_headers;
use super::state::{ClientAnswer, Source, State};
use crate::gateway::call::ClientCall;
use crate::headers::HeaderList;
use crate::host::{Action, Host};
use crate::{failure, memory, upstream};

impl ClientAnswer {
    pub(super) fn finish_body(&mut self, host: &impl Host, call: &mut ClientCall) -> Action {
        let State::Holding {
            mut headers,
            source,
        } = std::mem::replace(&mut self.state, State::Over)
        else {
            return Action::Continue;
        };
        let body = memory::response_body(host, self.buffered);
        if body.is_err()
            && let Some(attempt) = call.attempts.last_mut()
        {
            // Not the model's fault.
            attempt.error = Some(AttemptError::RefusedByGateway);
        }
        let Some(body) = self.answer(host, call, &mut headers, source, body) else {
            return Action::Pause;
        };
        host.set_response_headers(&headers);
        host.set_response_body(&body);
        self.content = body;
        self.is_complete = true;
        Action::Continue
    }

    /// Returns the body for the client and sets its headers; `None` if another attempt follows.
    pub(super) fn answer(
        &mut self,
        host: &impl Host,
        call: &mut ClientCall,
        headers: &mut HeaderList<'_>,
        source: Source,
        body: Result<Vec<u8>, ApiError>,
    ) -> Option<Vec<u8>> {
        let body = match body.and_then(|body| self.read(call, source, body)) {
            Ok((mut body, summary)) => {
                self.summary = summary.unwrap_or_else(|| call.api.summarize(&body));
                if self.summary.calls_tools {
                    call.session_for_tools(host);
                }
                if call.cache_key.is_some() {
                    self.kept.clone_from(&body);
                }
                json::append_members(&mut body, &call.extras(host, &self.summary));
                body
            }
            Err(error) if self.fails_over(host, call, &error, headers.retry_after()) => {
                return None;
            }
            Err(error) => self.answer_error(host, call, headers, error),
        };
        call.report_health(host);
        finish_headers(host, call, headers, body.len());
        Some(body)
    }

    /// Returns the answer in the client's API, with its summary if that was read with it; or its
    /// error.
    fn read(
        &self,
        call: &ClientCall,
        source: Source,
        body: Vec<u8>,
    ) -> Result<(Vec<u8>, Option<Summary>), ApiError> {
        match source {
            Source::Provider => match call.origin() {
                Some(origin) if origin.is_native => {
                    let summary = upstream::read_native_answer(self.status, &body, &origin)?;
                    Ok((body, Some(summary)))
                }
                Some(origin) => {
                    let read = upstream::read_answer(self.status, &body, &origin)?;
                    Ok((read.unwrap_or(body), None))
                }
                None => Ok((body, None)),
            },
            Source::ProviderStage if self.status < 400 => Ok((body, None)),
            // The provider stage can't add a body to a reply without one.
            Source::ProviderStage if body.is_empty() => Err(ApiError::from_provider(
                call.provider_name(),
                self.status,
                "",
            )),
            Source::ProviderStage => Err(read_own_error(self.status, &body)),
            Source::Envoy => Err(self.envoys_error(call)),
        }
    }

    /// Returns the error for a response of Envoy's own.
    pub(super) fn envoys_error(&self, call: &ClientCall) -> ApiError {
        failure::of_envoy_reply(call.provider_name(), &self.envoys_details).0
    }
}

/// Reads an error that the provider stage has already put in OpenAI's format.
fn read_own_error(status: u16, body: &[u8]) -> ApiError {
    let details = openai_error::read(body);
    ApiError {
        code: details.code.map(Cow::Owned),
        param: details.param,
        ..ApiError::new(status, details.message)
    }
}
