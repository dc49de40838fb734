//! Replies that leave no trace.

use opentracy_translate::client::Api;
use opentracy_translate::error::ApiError;

use super::state::{GatewayStage, State};
use crate::gateway::envoys_reply;
use crate::headers;
use crate::host::{Action, Host};
use crate::{memory, metrics};

impl GatewayStage {
    pub(super) fn reply_error(&mut self, host: &impl Host, error: &ApiError) -> Action {
        host.reply(error.status, &headers::json(), &error.to_json());
        self.state = State::Answered;
        Action::Pause
    }

    /// Refuses a request that doesn't fit in memory.
    pub(super) fn refuse_for_memory(&mut self, host: &impl Host, api: Api) -> Action {
        let error = memory::refusal(host);
        let headers = envoys_reply::headers_of(&error);
        host.reply(error.status, &headers, &api.error_json(&error, &[]));
        self.state = State::Answered;
        Action::Pause
    }

    /// Denies a caller. Leaves no trace, so that outsiders can't fill the store.
    pub(super) fn deny(&mut self, host: &impl Host, api: Api, error: &ApiError) -> Action {
        metrics::count_denied(host, error.code.as_deref().unwrap_or_default());
        let mut headers = headers::json();
        if error.status == 401 {
            headers.push("www-authenticate", "Bearer");
        }
        host.reply(error.status, &headers, &api.error_json(error, &[]));
        self.state = State::Answered;
        Action::Pause
    }
}
