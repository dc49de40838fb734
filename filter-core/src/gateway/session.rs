//! Sessions: keep the turns of a conversation with tools on one model.
//!
//! A session's id encodes its model, so any worker of any Envoy can keep the conversation there. A
//! client gains nothing by forging one: the model must be a candidate of the requested name.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::host::Host;
use crate::ids;

const PREFIX: &str = "ses_";
const MAX_LENGTH: usize = 400;

/// Returns the id of a new session on a model, given as `provider/model`.
pub fn issue(host: &impl Host, model: &str) -> String {
    let id = ids::new(host).simple();
    format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(model))
}

/// Returns the model of a session; `None` if the id isn't one of ours.
pub fn model_of(session: &str) -> Option<String> {
    if session.len() > MAX_LENGTH {
        return None;
    }
    let (id, model) = session.strip_prefix(PREFIX)?.split_once('_')?;
    Uuid::try_parse(id).ok()?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(model).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_envoy::FakeEnvoy;

    #[test]
    fn a_session_remembers_its_model() {
        let session = issue(&FakeEnvoy::new(), "together/meta-llama/Llama_3");
        assert_eq!(
            model_of(&session).as_deref(),
            Some("together/meta-llama/Llama_3")
        );
    }

    #[test]
    fn made_up_sessions_say_nothing() {
        for text in ["", "ses_", "ses_1_b3BlbmFp", "x", &"s".repeat(500)] {
            assert_eq!(model_of(text), None, "{text}");
        }
    }
}
