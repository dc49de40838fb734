//! The facts that the gateway reads from a message.

use std::borrow::Cow;

use serde::Deserialize;

use crate::anthropic::usage::WireUsage;
use crate::cost::Usage;
use crate::lenient;
use crate::openai::response::Summary;

/// The relevant members of Anthropic's message.
#[derive(Deserialize)]
pub(super) struct MessageView<'a> {
    #[serde(default, deserialize_with = "lenient::readable")]
    pub usage: Option<WireUsage>,
    #[serde(default, borrow)]
    stop_reason: Option<Cow<'a, str>>,
}

impl MessageView<'_> {
    pub fn calls_tools(&self) -> bool {
        self.stop_reason.as_deref() == Some("tool_use")
    }

    pub fn summary(&self) -> Summary {
        Summary {
            usage: self.usage.and_then(|usage| Usage::from(usage).reported()),
            calls_tools: self.calls_tools(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::client::Api;

    #[test]
    fn a_message_is_summarized() {
        let message = br#"{"stop_reason":"tool_use","usage":{"input_tokens":3,"cache_read_input_tokens":4,"output_tokens":5}}"#;
        let summary = Api::MESSAGES.summarize(message);
        let usage = summary.usage.unwrap();
        assert_eq!((usage.input, usage.output, usage.cache_read), (7, 5, 4));
        assert!(summary.calls_tools);
    }
}
