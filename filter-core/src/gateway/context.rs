//! Removes the candidates whose context window is too small for a request.

use opentracy_translate::error::ApiError;
use opentracy_translate::openai::envelope::Envelope;

use crate::gateway::planner::ProviderModel;
use crate::small_sort::sort_by_key;
use crate::snapshot::Snapshot;

/// Bytes per token of ordinary text. A candidate that is too small at this rate is skipped if a
/// larger one fits.
const BYTES_PER_TOKEN: u64 = 4;
/// The most bytes per token that any tokenizer reaches. A request that is too long at this rate is
/// refused.
const MOST_BYTES_PER_TOKEN: u64 = 8;
/// Marks a file or an image in a request, whose bytes aren't text.
const DATA_URL: &str = ";base64,";

/// Keeps the candidates that a request fits; an error if it fits none.
pub fn retain_fitting(
    candidates: &mut Vec<ProviderModel>,
    envelope: &Envelope<'_>,
    snapshot: &Snapshot,
) -> Result<(), ApiError> {
    let bytes = u64::try_from(envelope.text.len()).unwrap_or(u64::MAX);
    let answer = envelope.max_tokens.unwrap_or_default();
    let room = |candidate: &ProviderModel| {
        let model = snapshot.model(&candidate.provider.name, &candidate.model);
        model.context_tokens.unwrap_or(u64::MAX)
    };
    let fits =
        |candidate: &ProviderModel, per_token: u64| bytes / per_token + answer <= room(candidate);
    if candidates
        .iter()
        .all(|candidate| fits(candidate, BYTES_PER_TOKEN))
        || envelope.text.contains(DATA_URL)
    {
        return Ok(());
    }
    if candidates
        .iter()
        .any(|candidate| fits(candidate, BYTES_PER_TOKEN))
    {
        candidates.retain(|candidate| fits(candidate, BYTES_PER_TOKEN));
        return Ok(());
    }
    sort_by_key(candidates, |candidate| std::cmp::Reverse(room(candidate)));
    match candidates.first() {
        Some(largest) if !fits(largest, MOST_BYTES_PER_TOKEN) => Err(too_long(
            bytes / BYTES_PER_TOKEN,
            answer,
            room(largest),
            envelope.api.conversation_field(),
        )),
        _ => Ok(()),
    }
}

fn too_long(tokens: u64, answer: u64, room: u64, field: &str) -> ApiError {
    let message = format!(
        "The request is about {tokens} tokens and asks for up to {answer}, which is more than the model's context of {room}. Send less, or ask for a shorter answer"
    );
    ApiError::invalid(field, message).with_code("context_length_exceeded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::planner::resolve;
    use opentracy_proto::v1;
    use opentracy_translate::client::Api;

    fn snapshot() -> Snapshot {
        let provider = |name: &str| v1::Provider {
            name: name.to_owned(),
            ..v1::Provider::default()
        };
        let model = |provider: &str, room: u32| v1::Model {
            provider: provider.to_owned(),
            name: "m".to_owned(),
            context_tokens: Some(room),
            ..v1::Model::default()
        };
        Snapshot::new(
            "1".to_owned(),
            v1::Snapshot {
                providers: ["small", "large"].map(provider).to_vec(),
                aliases: vec![v1::Alias {
                    name: "smart".to_owned(),
                    candidates: vec!["small/m".to_owned(), "large/m".to_owned()],
                    ..v1::Alias::default()
                }],
                models: vec![model("small", 1000), model("large", 10_000)],
                ..v1::Snapshot::default()
            },
        )
    }

    fn left(bytes: usize, max_tokens: u64) -> Result<Vec<String>, ApiError> {
        let snapshot = snapshot();
        let body = format!(
            r#"{{"model":"smart","max_tokens":{max_tokens},"messages":[{{"role":"user","content":"{}"}}]}}"#,
            "x".repeat(bytes)
        );
        let envelope = Envelope::parse(Api::CHAT_COMPLETIONS, body.as_bytes())?;
        let mut candidates = resolve(&snapshot, "smart")?.candidates;
        retain_fitting(&mut candidates, &envelope, &snapshot)?;
        Ok(candidates
            .iter()
            .map(|each| each.provider.name.clone())
            .collect())
    }

    #[test]
    fn a_request_goes_where_it_fits() {
        assert_eq!(left(100, 10).unwrap(), ["small", "large"]);
        assert_eq!(left(100, 2000).unwrap(), ["large"]);
        assert_eq!(left(8000, 10).unwrap(), ["large"]);
        assert_eq!(
            left(50_000, 10).unwrap(),
            ["large", "small"],
            "it may still fit"
        );
        let error = left(100_000, 10).unwrap_err();
        assert_eq!(
            (error.status, error.code.as_deref(), error.param.as_deref()),
            (400, Some("context_length_exceeded"), Some("messages"))
        );
    }
}
