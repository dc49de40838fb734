//! A stream that is in the right API already: it passes as it is, once it is known to be an answer.

use serde::Deserialize;

use crate::anthropic;
use crate::client::Api;
use crate::error::ApiError;
use crate::openai;
use crate::sse;

#[derive(Debug)]
pub struct Relay {
    api: Api,
    provider: String,
    parser: sse::Parser,
    has_begun: bool,
    error: Option<ApiError>,
}

/// What an event of a stream that has not begun means.
enum First {
    /// Nothing yet, such as a ping.
    Nothing,
    Begun,
    Failed(ApiError),
}

impl Relay {
    pub fn new(api: Api, provider: &str) -> Self {
        Self {
            api,
            provider: provider.to_owned(),
            parser: sse::Parser::default(),
            has_begun: false,
            error: None,
        }
    }

    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    pub fn error(&self) -> Option<&ApiError> {
        self.error.as_ref()
    }

    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.error.is_some() {
            return;
        }
        out.extend_from_slice(bytes);
        if self.has_begun {
            return;
        }
        let (api, provider) = (self.api, &self.provider);
        let (has_begun, error) = (&mut self.has_begun, &mut self.error);
        let pushed = self.parser.push(bytes, |event| {
            let Some(data) = event.data() else { return };
            if *has_begun || error.is_some() {
                return;
            }
            match first(api, provider, &data) {
                First::Nothing => {}
                First::Begun => *has_begun = true,
                First::Failed(why) => *error = Some(why),
            }
        });
        if let Err(broken) = pushed {
            self.error = Some(broken.told_of(&self.provider));
        }
    }

    pub fn finish(&mut self, _out: &mut Vec<u8>) {
        if !self.has_begun && self.error.is_none() {
            self.error = Some(ApiError::incomplete_stream(&self.provider));
        }
    }
}

fn first(api: Api, provider: &str, data: &[u8]) -> First {
    #[derive(Deserialize)]
    struct Event {
        r#type: String,
        #[serde(default)]
        response: serde_json::Value,
    }
    let event = match api {
        Api::ChatCompletions => None,
        Api::Messages | Api::Responses => serde_json::from_slice::<Event>(data).ok(),
    };
    match (api, event) {
        (Api::ChatCompletions, _) => match openai::error::from_event(provider, data) {
            Some(error) => First::Failed(error),
            None => First::Begun,
        },
        (Api::Messages, Some(event)) if event.r#type == "error" => {
            First::Failed(anthropic::error::from_event_data(provider, data))
        }
        (_, Some(event)) if event.r#type == "ping" => First::Nothing,
        (_, Some(event)) if event.r#type == "error" => {
            let error = openai::error::from_event(provider, data);
            First::Failed(error.unwrap_or_else(|| openai::error::from_reply(provider, 502, data)))
        }
        (_, Some(event)) if event.r#type == "response.failed" => {
            let body = event.response.to_string();
            First::Failed(
                openai::error::from_event(provider, body.as_bytes())
                    .unwrap_or_else(|| ApiError::from_provider(provider, 502, "")),
            )
        }
        _ => First::Begun,
    }
}
