//! Observes a stream of the Messages API.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::anthropic::usage::WireUsage;
use crate::client::messages::error;
use crate::client::messages::summary::MessageView;
use crate::client::tap::{Observed, TapEvents};
use crate::cost::Usage;
use crate::error::ApiError;
use crate::json;
use crate::openai::tap::MakeExtras;

// A search takes longer to set up than to go through a chunk.
static MESSAGE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"message_"));
static STOP: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"message_stop\""));

/// Returns true if bytes contain the last event of a message.
pub(super) fn ends_in(bytes: &[u8]) -> bool {
    STOP.find(bytes).is_some()
}

/// The usage so far: the start and the end of a message each report a part.
#[derive(Debug, Default)]
pub(super) struct MessageEvents {
    usage: WireUsage,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(default, borrow)]
    message: Option<&'a RawValue>,
    #[serde(default, borrow)]
    delta: Option<&'a RawValue>,
    #[serde(default)]
    usage: Option<WireUsage>,
}

impl TapEvents for MessageEvents {
    fn concerns(&self, bytes: &[u8]) -> bool {
        MESSAGE.find(bytes).is_some()
    }

    fn on_event(
        &mut self,
        kind: &str,
        data: &[u8],
        observed: &mut Observed,
        extras: &mut MakeExtras<'_>,
    ) -> Option<Vec<u8>> {
        match kind {
            "message_start" => {
                let event: Event<'_> = json::from_bytes(data).ok()?;
                self.count(view(event.message)?.usage, observed);
                None
            }
            "message_delta" => {
                let event: Event<'_> = json::from_bytes(data).ok()?;
                self.count(event.usage, observed);
                observed.summary.calls_tools =
                    view(event.delta).is_some_and(|view| view.calls_tools());
                let mut data = data.to_vec();
                json::append_members(&mut data, &extras(&observed.summary));
                Some(data)
            }
            "message_stop" => {
                observed.is_done = true;
                None
            }
            _ => None,
        }
    }

    fn error_event(&self, error: &ApiError) -> Vec<u8> {
        error::to_sse(error)
    }
}

impl MessageEvents {
    fn count(&mut self, usage: Option<WireUsage>, observed: &mut Observed) {
        if let Some(usage) = usage {
            self.usage.update(usage);
            observed.summary.usage = Usage::from(self.usage).reported();
        }
    }
}

fn view(raw: Option<&RawValue>) -> Option<MessageView<'_>> {
    serde_json::from_str(raw?.get()).ok()
}
