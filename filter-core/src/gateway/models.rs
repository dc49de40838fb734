//! `GET /v1/models` and `GET /v1/models/ID`, answered from the active configuration without the
//! control plane.

use opentracy_translate::error::ApiError;
use opentracy_translate::json;
use opentracy_translate::model_list::{self, ModelList};
use opentracy_translate::resources::path;

use crate::gateway::access::AdmittedCaller;
use crate::headers;
use crate::host::Host;
use crate::snapshot::{self, Snapshot};

const PATH: &str = "/v1/models";

/// Returns whether a path is that of the list or of one model.
pub fn is_at(path: &str) -> bool {
    path.strip_prefix(PATH)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers a caller that was admitted.
pub fn reply(host: &impl Host, caller: &AdmittedCaller, method: &str, path: &str) {
    let answer = match snapshot::current() {
        Some(snapshot) => answer(&snapshot, caller, method, path),
        None => Err(snapshot::missing()),
    };
    match answer {
        Ok(body) => host.reply(200, &headers::json(), &body),
        Err(error) => host.reply(error.status, &headers::json(), &error.to_json()),
    }
}

fn answer(
    snapshot: &Snapshot,
    caller: &AdmittedCaller,
    method: &str,
    path: &str,
) -> Result<Vec<u8>, ApiError> {
    if !matches!(method, "GET" | "HEAD") {
        let message = format!("{path} takes GET requests only");
        return Err(ApiError::new(405, message).with_code("method_not_allowed"));
    }
    let rights = caller.restricted().map(|client| &client.rights);
    let models = snapshot.listed_models();
    let mut body = Vec::new();
    match path
        .strip_prefix(PATH)
        .and_then(|rest| rest.strip_prefix('/'))
    {
        None | Some("") => json::write(&mut body, &ModelList::new(models, rights)),
        Some(name) => {
            let found = model_list::find(models, &path::decode(name), rights)?;
            json::write(&mut body, &found);
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use opentracy_proto::v1;
    use serde_json::{Value, json};

    use super::*;

    fn snapshot() -> Snapshot {
        let provider = |name: &str, missing: bool| v1::Provider {
            name: name.to_owned(),
            missing_key_variable: missing.then(|| "KEY".to_owned()),
            ..v1::Provider::default()
        };
        let model = |provider: &str, name: &str| v1::Model {
            provider: provider.to_owned(),
            name: name.to_owned(),
            bare: provider == "openai",
            listed: true,
            context_tokens: Some(1000),
            max_output_tokens: Some(10),
            capabilities: 1,
            pricing: Some(v1::Pricing {
                input: Some(1e-6),
                ..v1::Pricing::default()
            }),
            ..v1::Model::default()
        };
        let alias = |name: &str, hidden: bool| v1::Alias {
            name: name.to_owned(),
            candidates: vec!["openai/gpt-4o".to_owned()],
            hidden,
            ..v1::Alias::default()
        };
        Snapshot::new(
            "1".to_owned(),
            v1::Snapshot {
                providers: vec![
                    provider("openai", false),
                    provider("groq", false),
                    provider("keyless", true),
                ],
                aliases: vec![alias("smart", false), alias("helper.model", true)],
                models: vec![
                    model("openai", "gpt-4o"),
                    model("keyless", "m"),
                    model("gone", "m"),
                    model("groq", "a/b"),
                    v1::Model {
                        listed: false,
                        ..model("openai", "priced-only")
                    },
                ],
                keys: vec![v1::ClientKey {
                    name: "k".to_owned(),
                    models: vec!["openai/*".to_owned()],
                    ..v1::ClientKey::default()
                }],
                ..v1::Snapshot::default()
            },
        )
    }

    fn get(caller: &AdmittedCaller, path: &str) -> Result<Value, u16> {
        let answer = answer(&snapshot(), caller, "GET", path);
        answer
            .map(|body| serde_json::from_slice(&body).unwrap())
            .map_err(|error| error.status)
    }

    fn ids(list: &Value) -> Vec<&str> {
        let data = list["data"].as_array().unwrap();
        data.iter()
            .map(|model| model["id"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn what_can_be_called_is_listed_in_order() {
        let list = get(&AdmittedCaller::default(), "/v1/models").unwrap();
        assert_eq!(ids(&list), ["smart", "groq/a/b", "openai/gpt-4o"]);
        assert_eq!(list["object"], "list");
        assert_eq!(
            list["data"][2],
            json!({"id": "openai/gpt-4o", "object": "model", "created": 0, "owned_by": "openai",
                "context_window": 1000, "max_output_tokens": 10, "capabilities": ["tools"],
                "pricing": {"input": 1e-6, "output": null}})
        );
        assert_eq!(list["data"][0]["candidates"], json!(["openai/gpt-4o"]));
    }

    #[test]
    fn one_model_is_found_by_each_of_its_names() {
        let everybody = AdmittedCaller::default();
        for path in [
            "/v1/models/gpt-4o",
            "/v1/models/openai/gpt-4o",
            "/v1/models/openai%2Fgpt-4o",
        ] {
            assert_eq!(
                get(&everybody, path).unwrap()["id"],
                "openai/gpt-4o",
                "{path}"
            );
        }
        assert_eq!(
            get(&everybody, "/v1/models/groq/a/b").unwrap()["id"],
            "groq/a/b"
        );
        for path in [
            "/v1/models/keyless/m",
            "/v1/models/helper.model",
            "/v1/models/nothing",
        ] {
            assert_eq!(get(&everybody, path), Err(404), "{path}");
        }
    }

    #[test]
    fn a_key_finds_its_models_alone() {
        let snapshot = snapshot();
        let caller = AdmittedCaller {
            client: snapshot.clients.get("k").map(Rc::clone),
            ..AdmittedCaller::default()
        };
        assert_eq!(ids(&get(&caller, "/v1/models").unwrap()), ["openai/gpt-4o"]);
        assert!(get(&caller, "/v1/models/gpt-4o").is_ok());
        assert_eq!(get(&caller, "/v1/models/smart"), Err(404));
        assert_eq!(get(&caller, "/v1/models/groq/a/b"), Err(404));
    }

    #[test]
    fn models_are_asked_for_and_not_changed() {
        for method in ["POST", "DELETE", "PUT"] {
            let refused = answer(
                &snapshot(),
                &AdmittedCaller::default(),
                method,
                "/v1/models/smart",
            );
            assert_eq!(refused.unwrap_err().status, 405);
        }
        assert!(is_at("/v1/models") && is_at("/v1/models/x") && !is_at("/v1/modelsx"));
    }
}
