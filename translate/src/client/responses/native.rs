//! Prepares a Responses request for a provider of the Responses API: only the model's name and
//! reasoning that isn't the provider's are changed.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::body;
use crate::client::responses::REASONING_ID;
use crate::error::ApiError;
use crate::object::Object;

/// Builds the request; everything that needs no change stays as the client wrote it.
pub fn prepare_request(body: &str, model: &str) -> Result<Vec<u8>, ApiError> {
    let mut request: Object<'_> = body::parse(body.as_bytes())?;
    request.set("model", model);
    if body.contains(REASONING_ID) {
        drop_foreign_reasoning(&mut request)?;
    }
    Ok(request.to_vec())
}

fn drop_foreign_reasoning(request: &mut Object<'_>) -> Result<(), ApiError> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        id: Option<String>,
    }
    let Some(input) = request.get("input").map(ToOwned::to_owned) else {
        return Ok(());
    };
    if !input.get().starts_with('[') {
        return Ok(());
    }
    let mut items: Vec<&RawValue> = serde_json::from_str(input.get())
        .map_err(|error| ApiError::invalid("input", format!("`input`: {error}")))?;
    items.retain(|item| {
        !serde_json::from_str::<Head>(item.get())
            .ok()
            .and_then(|head| head.id)
            .is_some_and(|id| id.starts_with(REASONING_ID))
    });
    request.set("input", &items);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_model_and_foreign_reasoning_change() {
        let body = r#"{"model":"openai/gpt-5","input":[{"type":"reasoning","id":"rs_opentracy_1","summary":[]},{"type":"reasoning","id":"rs_2","summary":[ ]}],"x":1e2}"#;
        assert_eq!(
            String::from_utf8(prepare_request(body, "gpt-5").unwrap()).unwrap(),
            r#"{"model":"gpt-5","input":[{"type":"reasoning","id":"rs_2","summary":[ ]}],"x":1e2}"#
        );
    }
}
