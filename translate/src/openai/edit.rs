//! The edits that an OpenAI-format provider needs: at most two, and every other byte stays as the
//! client wrote it.

use crate::json;
use crate::object::Object;
use crate::openai::dialect::StreamUsage;
use crate::openai::envelope::Envelope;

/// Sets the provider's name for the model, and requests usage at the end of a stream.
///
/// Returns `None` if the body needs no edit.
pub fn edit(
    body: &[u8],
    envelope: &Envelope<'_>,
    model: &str,
    usage: StreamUsage,
) -> Option<Vec<u8>> {
    let mut edits: Vec<(std::ops::Range<usize>, Vec<u8>)> = Vec::with_capacity(2);
    if envelope.model != model {
        let mut text = Vec::with_capacity(model.len() + 2);
        json::write(&mut text, model);
        edits.push((json::span_of(body, envelope.model_raw)?, text));
    }
    if envelope.stream && !envelope.include_usage && usage == StreamUsage::Option {
        match envelope.stream_options {
            Some(options) => {
                let span = json::span_of(body, options)?;
                let mut options = Object::parse(options.get()).unwrap_or_default();
                options.set("include_usage", &true);
                edits.push((span, options.to_vec()));
            }
            None => {
                let end = json::span_of(body, envelope.conversation)?.end;
                edits.push((
                    end..end,
                    br#","stream_options":{"include_usage":true}"#.to_vec(),
                ));
            }
        }
    }
    if edits.is_empty() {
        return None;
    }
    if let [first, second] = edits.as_slice()
        && first.0.start > second.0.start
    {
        edits.reverse();
    }
    let mut edited = Vec::with_capacity(body.len() + 64);
    let mut position = 0;
    for (range, text) in edits {
        edited.extend_from_slice(body.get(position..range.start)?);
        edited.extend_from_slice(&text);
        position = range.end;
    }
    edited.extend_from_slice(body.get(position..)?);
    Some(edited)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Api;

    fn edited(body: &str, model: &str, usage: StreamUsage) -> Option<String> {
        let envelope = Envelope::parse(Api::CHAT_COMPLETIONS, body.as_bytes()).unwrap();
        edit(body.as_bytes(), &envelope, model, usage).map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn only_the_model_changes() {
        let body = "{ \"odd\" : 1e2,\"model\":\"openai/gpt-4o\" ,\"messages\":[1] , \"model_x\":\"\\u00e9\"}";
        assert_eq!(
            edited(body, "gpt-4o", StreamUsage::Option).unwrap(),
            body.replace("openai/gpt-4o", "gpt-4o")
        );
        assert_eq!(edited(body, "openai/gpt-4o", StreamUsage::Option), None);
    }

    #[test]
    fn usage_is_asked_for_where_it_has_to_be() {
        let body = r#"{"model":"m","messages":[1],"stream":true}"#;
        assert_eq!(
            edited(body, "m", StreamUsage::Option).unwrap(),
            r#"{"model":"m","messages":[1],"stream_options":{"include_usage":true},"stream":true}"#
        );
        assert_eq!(edited(body, "m", StreamUsage::Always), None);
        let body = r#"{"model":"m","stream":true,"stream_options":null,"messages":[1]}"#;
        assert_eq!(
            edited(body, "m", StreamUsage::Option).unwrap(),
            body.replace("null", r#"{"include_usage":true}"#)
        );
        let body = r#"{"stream_options":{"x":1,"include_usage":false},"messages":[1],"stream":true,"model":"m"}"#;
        assert_eq!(
            edited(body, "n", StreamUsage::Option).unwrap(),
            r#"{"stream_options":{"x":1,"include_usage":true},"messages":[1],"stream":true,"model":"n"}"#
        );
    }
}
