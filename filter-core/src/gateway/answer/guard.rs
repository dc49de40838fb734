//! Panics while an answer is handled, on a host that survives them.

use super::state::{ClientAnswer, State};
use crate::failure;
use crate::gateway::call::ClientCall;
use crate::host::{Action, Host};

impl ClientAnswer {
    /// Runs a callback. If it panics, that costs one attempt of those that this stage makes itself.
    pub fn guard(
        &mut self,
        host: &impl Host,
        call: &mut ClientCall,
        callback: impl FnOnce(&mut Self, &mut ClientCall) -> Action,
    ) -> Action {
        if call.own_attempts.is_none() {
            return callback(self, call);
        }
        let action = host.guard(|| callback(self, call));
        action.unwrap_or_else(|| self.on_panic(host, call))
    }

    fn on_panic(&mut self, host: &impl Host, call: &mut ClientCall) -> Action {
        let (error, reason) = failure::panic(call.provider_name());
        if self.is_event_stream {
            self.state = State::Over;
            self.error = Some(error);
            host.close_response();
            return Action::Continue;
        }
        call.note_silence(host, reason);
        if !self.fails_over(host, call, &error, None) {
            *self = Self::refuse(host, call, &error);
        }
        Action::Pause
    }
}
