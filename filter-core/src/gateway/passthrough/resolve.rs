//! Resolves the provider and the path of a passthrough call.

use std::ops::Range;
use std::rc::Rc;

use opentracy_translate::access::Denial;
use opentracy_translate::body;
use opentracy_translate::endpoint::{Endpoint, PROXY};
use opentracy_translate::error::ApiError;
use opentracy_translate::json;
use opentracy_translate::model::{self, ModelId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::target::{PassthroughTarget, target, translated};
use crate::gateway::access::{self, AdmittedCaller};
use crate::gateway::planner;
use crate::snapshot::{Provider, Snapshot};

/// The provider for a model that no configuration assigns.
const DEFAULT_PROVIDER: &str = "openai";

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
}

/// Resolves a call with a JSON body that names its model.
pub fn of_json(
    snapshot: &Snapshot,
    caller: &AdmittedCaller,
    endpoint: Endpoint,
    body: &[u8],
) -> Result<PassthroughTarget, ApiError> {
    let text = std::str::from_utf8(body)
        .map_err(|_| ApiError::new(400, "The body is not UTF-8").with_code("invalid_json"))?;
    if !text.trim_start().starts_with('{') {
        let words = "The request's body must be a JSON object";
        return Err(ApiError::new(400, words).with_code("invalid_json"));
    }
    let fields: Fields<'_> = body::parse(body)?;
    let named = fields.model.filter(|raw| raw.get() != "null");
    let Some(raw) = named else {
        let mut target = of_default(snapshot, caller, endpoint)?;
        target.name_model(text, "", endpoint)?;
        return translated(target, endpoint, body);
    };
    let requested = json::text(raw)
        .map_err(|_| ApiError::invalid("model", "`model` must be a string"))?
        .into_owned();
    let mut target = resolve(snapshot, caller, endpoint, &requested)?;
    target.name_model(text, &requested, endpoint)?;
    translated(target, endpoint, body)
}

/// Resolves a call with a form that names its model.
pub fn of_form(
    snapshot: &Snapshot,
    caller: &AdmittedCaller,
    endpoint: Endpoint,
    body: &[u8],
    model: Range<usize>,
) -> Result<PassthroughTarget, ApiError> {
    let requested = body.get(model.clone()).unwrap_or_default();
    let requested = String::from_utf8_lossy(requested).trim().to_owned();
    let mut target = resolve(snapshot, caller, endpoint, &requested)?;
    if target.model != requested {
        let before = body.get(..model.start).unwrap_or_default();
        let after = body.get(model.end..).unwrap_or_default();
        target.body = Some([before, target.model.as_bytes(), after].concat());
    }
    Ok(target)
}

/// Resolves a call that doesn't name a model, or names it too late in the form.
pub fn of_default(
    snapshot: &Snapshot,
    caller: &AdmittedCaller,
    endpoint: Endpoint,
) -> Result<PassthroughTarget, ApiError> {
    let configured = snapshot.endpoints.get(endpoint.name());
    let (provider, model) = match configured.map(|target| target.split_once('/')) {
        Some(Some((provider, model))) => (provider, model),
        Some(None) => (configured.map_or(DEFAULT_PROVIDER, String::as_str), ""),
        None => (DEFAULT_PROVIDER, ""),
    };
    let provider = find(snapshot, provider)?;
    check(caller, &provider, model)?;
    Ok(target(endpoint, provider, model, model))
}

fn resolve(
    snapshot: &Snapshot,
    caller: &AdmittedCaller,
    endpoint: Endpoint,
    requested: &str,
) -> Result<PassthroughTarget, ApiError> {
    let is_named =
        ModelId::parse(requested).is_some_and(|id| snapshot.providers.contains_key(&id.provider));
    let is_known = snapshot.aliases.contains_key(requested)
        || snapshot.bare_models.contains_key(requested)
        || is_named;
    if !is_known && model::is_plausible_name(requested) {
        // The catalog lists few models of this kind, so the endpoint's provider gets the call.
        let provider = snapshot.endpoints.get(endpoint.name());
        let provider = provider.and_then(|target| target.split('/').next());
        let provider = find(snapshot, provider.unwrap_or(DEFAULT_PROVIDER))?;
        check(caller, &provider, requested)?;
        return Ok(target(endpoint, provider, requested, requested));
    }
    let found = planner::resolve(snapshot, requested)?;
    let mut candidates = found.candidates;
    access::retain_allowed(caller, requested, &mut candidates)?;
    let Some(candidate) = candidates.into_iter().next() else {
        return Err(planner::not_found(snapshot, requested));
    };
    Ok(PassthroughTarget {
        alias: found.alias.map(|alias| alias.name.clone()),
        retries: found.alias.map_or(0, |alias| alias.retries),
        ..target(endpoint, candidate.provider, &candidate.model, requested)
    })
}

/// Resolves a call for files or batches: to the provider that the client names, or to the
/// configured one.
pub fn of_resource(
    snapshot: &Snapshot,
    caller: &AdmittedCaller,
    endpoint: Endpoint,
    wanted: Option<&str>,
    path: &str,
) -> Result<PassthroughTarget, ApiError> {
    let configured = snapshot.endpoints.get(endpoint.name());
    let name = wanted.or(configured.map(String::as_str));
    let provider = find(snapshot, name.unwrap_or(DEFAULT_PROVIDER))?;
    check(caller, &provider, "")?;
    check_path(path)?;
    let rest = path.strip_prefix("/v1").unwrap_or(path);
    Ok(PassthroughTarget {
        path: format!("{}{rest}", provider.base_path),
        ..target(endpoint, provider, "", "")
    })
}

/// Resolves a call to a provider's own API: `/proxy/PROVIDER/` and then its path, with or without
/// the path of the provider's base URL.
pub fn of_proxy(
    snapshot: &Snapshot,
    caller: &AdmittedCaller,
    path: &str,
) -> Result<PassthroughTarget, ApiError> {
    let rest = path.strip_prefix(PROXY).unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    let provider = find(snapshot, name)?;
    check(caller, &provider, "")?;
    check_path(rest)?;
    let base = provider.base_path.as_str();
    let is_whole = rest
        .strip_prefix(base)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    let path = if is_whole && !rest.is_empty() {
        rest.to_owned()
    } else {
        format!("{base}{rest}")
    };
    Ok(PassthroughTarget {
        path: if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        },
        is_proxied: true,
        ..target(Endpoint::Proxy, provider, "", "")
    })
}

/// Rejects paths that could escape the provider's base path.
fn check_path(path: &str) -> Result<(), ApiError> {
    let path = path.split('?').next().unwrap_or_default();
    let lower = path.to_ascii_lowercase();
    let leads_out = path.split('/').any(|part| matches!(part, "." | ".."))
        || ["%2e", "%2f", "%5c", "\\", "%00"]
            .iter()
            .any(|piece| lower.contains(piece));
    if leads_out || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        let words =
            "The path must not contain `.` or `..` as a segment, nor escaped slashes or dots";
        return Err(ApiError::new(400, words).with_code("invalid_path"));
    }
    Ok(())
}

fn find(snapshot: &Snapshot, name: &str) -> Result<Rc<Provider>, ApiError> {
    let Some(provider) = snapshot.providers.get(name) else {
        let message =
            format!("The provider \"{name}\" is not in the configuration; use one that is");
        return Err(ApiError::new(404, message).with_code("provider_not_found"));
    };
    match &provider.missing_key_variable {
        Some(variable) => Err(planner::key_missing(&provider.name, variable)),
        None => Ok(Rc::clone(provider)),
    }
}

/// Checks that the caller's key allows the model, or any model of the provider if none is named.
fn check(caller: &AdmittedCaller, provider: &Provider, model: &str) -> Result<(), ApiError> {
    let Some(client) = caller.restricted() else {
        return Ok(());
    };
    let id = format!(
        "{}/{}",
        provider.name,
        if model.is_empty() { "*" } else { model }
    );
    if client.rights.has_model(&id) || client.rights.has_model(model) {
        return Ok(());
    }
    Err(Denial::Model {
        key: client.wire.name.clone(),
        model: id,
    }
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentracy_proto::v1;

    fn snapshot() -> Snapshot {
        let provider = |name: &str, base_path: &str, format: v1::Format| v1::Provider {
            name: name.to_owned(),
            base_path: base_path.to_owned(),
            format: format.into(),
            dialect: name.to_owned(),
            ..v1::Provider::default()
        };
        Snapshot::new(
            "1".to_owned(),
            v1::Snapshot {
                providers: vec![
                    provider("openai", "/v1", v1::Format::Openai),
                    provider("cohere", "", v1::Format::Cohere),
                    provider("demo", "/demo/v1", v1::Format::Openai),
                ],
                endpoints: [("moderations", "demo/guard"), ("files", "demo")]
                    .map(|(name, target)| (name.to_owned(), target.to_owned()))
                    .into(),
                ..v1::Snapshot::default()
            },
        )
    }

    fn proxied(path: &str) -> Result<String, u16> {
        let target = of_proxy(&snapshot(), &AdmittedCaller::default(), path);
        target
            .map(|target| target.path)
            .map_err(|error| error.status)
    }

    #[test]
    fn a_proxied_path_stays_below_its_providers() {
        assert_eq!(
            proxied("/proxy/openai/v1/models?limit=1").unwrap(),
            "/v1/models?limit=1"
        );
        assert_eq!(proxied("/proxy/openai/models").unwrap(), "/v1/models");
        assert_eq!(proxied("/proxy/openai/v1x").unwrap(), "/v1/v1x");
        assert_eq!(proxied("/proxy/cohere/v2/chat").unwrap(), "/v2/chat");
        assert_eq!(
            proxied("/proxy/demo/v1/traces").unwrap(),
            "/demo/v1/v1/traces"
        );
        for outside in [
            "/proxy/demo/demo/v1/../../v1/traces",
            "/proxy/demo/%2e%2E/v1/traces",
            "/proxy/demo/..%2fv1",
            "/proxy/demo/a\\b",
        ] {
            assert_eq!(proxied(outside), Err(400), "{outside}");
        }
        assert_eq!(proxied("/proxy/nobody/v1"), Err(404));
    }

    #[test]
    fn a_model_leads_to_its_provider_and_a_default_to_its_own() {
        let target = |endpoint, body: &str| {
            let target = of_json(
                &snapshot(),
                &AdmittedCaller::default(),
                endpoint,
                body.as_bytes(),
            );
            target.map(|target| (target.id(), target.path))
        };
        let found = |endpoint, body| target(endpoint, body).unwrap();
        assert_eq!(
            found(
                Endpoint::Embeddings,
                r#"{"model":"text-embedding-3-small","input":"a"}"#
            ),
            (
                "openai/text-embedding-3-small".into(),
                "/v1/embeddings".into()
            )
        );
        assert_eq!(
            found(
                Endpoint::Embeddings,
                r#"{"model":"cohere/embed-v4.0","input":"a"}"#
            ),
            ("cohere/embed-v4.0".into(), "/v2/embed".into())
        );
        assert_eq!(
            found(Endpoint::Moderations, r#"{"input":"a"}"#),
            ("demo/guard".into(), "/demo/v1/moderations".into())
        );
        assert_eq!(
            found(
                Endpoint::Rerank,
                r#"{"model":"cohere/rerank-v4","query":"a","documents":[]}"#
            )
            .1,
            "/v2/rerank"
        );
        let error = target(Endpoint::Images, r#"{"model":"cohere/x","prompt":"a"}"#).unwrap_err();
        assert_eq!(error.code.as_deref(), Some("unsupported_endpoint"));
        for broken in ["", "[]", "{", r#"{"model":1}"#] {
            assert_eq!(
                target(Endpoint::Speech, broken).unwrap_err().status,
                400,
                "{broken}"
            );
        }
    }

    #[test]
    fn a_form_gets_the_providers_name_for_its_model() {
        let body = b"--b\r\n...\r\n\r\nopenai/whisper-1\r\n--b";
        let start = 12;
        let range = start..start + "openai/whisper-1".len();
        let caller = AdmittedCaller::default();
        let target = of_form(&snapshot(), &caller, Endpoint::Transcriptions, body, range).unwrap();
        assert_eq!(target.body.unwrap(), b"--b\r\n...\r\n\r\nwhisper-1\r\n--b");
        assert_eq!(target.path, "/v1/audio/transcriptions");
    }
}
