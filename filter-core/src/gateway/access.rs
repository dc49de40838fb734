//! Identifies the caller of a request and checks its rights.

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use opentracy_proto::v1;
use opentracy_translate::access::{self, Denial};
use opentracy_translate::error::ApiError;
use opentracy_translate::request_origin::RequestOrigin;
use serde_json::{Map, Value};

use crate::gateway::planner::ProviderModel;
use crate::headers::{self, HeaderList};
use crate::host::Host;
use crate::plugin;
use crate::snapshot::{Client, Snapshot};

/// The tolerated clock skew of a token's issuer; the same as in Envoy's own check.
const CLOCK_SKEW_SECONDS: f64 = 60.0;

/// A caller that was admitted.
#[derive(Debug, Clone, Default)]
pub struct AdmittedCaller {
    /// The key whose rights, limits and budget apply to the caller; `None` if keys aren't required.
    pub client: Option<Rc<Client>>,
    /// The person that a token names.
    pub subject: String,
    /// Set if the control plane calls on behalf of a caller that it admitted itself.
    pub is_internal: bool,
}

impl AdmittedCaller {
    /// Returns the key whose rights have to be checked; `None` for the control plane, whose agents
    /// may call models that their callers may not.
    pub fn restricted(&self) -> Option<&Rc<Client>> {
        self.client.as_ref().filter(|_| !self.is_internal)
    }
}

/// Admits a request, or returns the reason for its denial.
pub fn admit(
    host: &impl Host,
    snapshot: &Snapshot,
    request: &HeaderList<'_>,
    method: &str,
    path: &str,
) -> Result<AdmittedCaller, ApiError> {
    let origin = RequestOrigin::from_headers(request.iter());
    origin.check_form()?;
    let caller = identify(host, snapshot, request)?;
    if snapshot.is_open() && !caller.is_internal {
        origin.check_same_site(&snapshot.own_hosts)?;
    }
    if let Some(client) = caller.restricted() {
        client
            .rights
            .check_endpoint(&client.wire.name, method, path)?;
    }
    Ok(caller)
}

fn identify(
    host: &impl Host,
    snapshot: &Snapshot,
    request: &HeaderList<'_>,
) -> Result<AdmittedCaller, Denial> {
    if let Some(jwt) = &snapshot.jwt
        && let Some(header) = plugin::jwt_header()
        && let Some(payload) = request.get(&header)
    {
        return of_token(host, snapshot, jwt, payload);
    }
    let secret = access::sent(request.get("authorization"), request.get("x-api-key"));
    if snapshot.is_internal_token(secret.unwrap_or_default()) {
        // The control plane calls on behalf of a caller that it admitted itself.
        let name = request.get(headers::ON_BEHALF_OF).unwrap_or_default();
        return Ok(AdmittedCaller {
            client: snapshot.clients.get(name).map(Rc::clone),
            subject: String::new(),
            is_internal: true,
        });
    }
    if snapshot.is_open() {
        return Ok(AdmittedCaller::default());
    }
    let key = snapshot.keyring.check(secret, host.unix_seconds())?;
    Ok(AdmittedCaller {
        client: snapshot.clients.get(&key.name).map(Rc::clone),
        ..AdmittedCaller::default()
    })
}

/// Returns the caller of a token that Envoy has verified.
fn of_token(
    host: &impl Host,
    snapshot: &Snapshot,
    jwt: &v1::Jwt,
    payload: &str,
) -> Result<AdmittedCaller, Denial> {
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('='));
    let claims: Map<String, Value> = payload
        .ok()
        .and_then(|payload| serde_json::from_slice(&payload).ok())
        .ok_or(Denial::Unknown)?;
    check_time(&claims, jwt.allow_without_expiry, host.unix_seconds())?;
    let claim = |name: &str| claims.get(name).and_then(Value::as_str);
    let client = match claims.get(&jwt.key_claim) {
        Some(key) => {
            // A claim that isn't a string names no key. Ignoring it would grant more than the key
            // does.
            let key = key.as_str().ok_or(Denial::Unknown)?;
            let client = snapshot.clients.get(key).ok_or(Denial::Unknown)?;
            client.check_state(host.unix_seconds())?;
            Some(Rc::clone(client))
        }
        None => None,
    };
    Ok(AdmittedCaller {
        client,
        subject: claim(&jwt.subject_claim).unwrap_or_default().to_owned(),
        is_internal: false,
    })
}

/// Checks the token's times again. Envoy has checked them, but possibly with another Envoy's
/// configuration, and a token without an expiry is valid forever.
fn check_time(
    claims: &Map<String, Value>,
    allow_without_expiry: bool,
    now: u64,
) -> Result<(), Denial> {
    let expired = || Denial::Expired {
        key: "token".to_owned(),
    };
    // A date may have a fraction, and is rejected if it isn't a number.
    let date = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value
            .as_f64()
            .filter(|date| date.is_finite())
            .map(Some)
            .ok_or(Denial::Unknown),
    };
    let now = now as f64;
    match date("exp")? {
        Some(end) if end + CLOCK_SKEW_SECONDS <= now => return Err(expired()),
        None if !allow_without_expiry => return Err(Denial::Unknown),
        _ => {}
    }
    match date("nbf")? {
        Some(start) if start - CLOCK_SKEW_SECONDS > now => Err(Denial::Unknown),
        _ => Ok(()),
    }
}

/// Removes the candidates that the caller's key does not allow. A key for an alias allows all of
/// its candidates.
pub fn retain_allowed(
    caller: &AdmittedCaller,
    requested: &str,
    candidates: &mut Vec<ProviderModel>,
) -> Result<(), Denial> {
    let Some(client) = caller.restricted() else {
        return Ok(());
    };
    if client.rights.has_model(requested) {
        return Ok(());
    }
    candidates.retain(|candidate| client.rights.has_model(&candidate.id()));
    if candidates.is_empty() {
        return Err(Denial::Model {
            key: client.wire.name.clone(),
            model: requested.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fake_envoy::FakeEnvoy;

    const NOW: u64 = 1_000_000;

    fn claims(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_token_has_an_end_and_a_time() {
        for (value, is_good) in [
            (json!({"exp": NOW + 1}), true),
            (json!({"exp": NOW as f64 + 0.5}), true),
            (json!({"exp": NOW + 1, "nbf": NOW}), true),
            (json!({"exp": NOW - 30}), true),
            (json!({"exp": NOW - 60}), false),
            (json!({"exp": NOW + 1, "nbf": NOW + 61}), false),
            (json!({"exp": "never"}), false),
            (json!({"exp": null}), false),
            (json!({"exp": NOW + 1, "nbf": "x"}), false),
            (json!({}), false),
        ] {
            let checked = check_time(&claims(value.clone()), false, NOW);
            assert_eq!(checked.is_ok(), is_good, "{value}");
        }
        assert!(check_time(&claims(json!({})), true, NOW).is_ok());
    }

    #[test]
    fn a_token_gives_no_more_than_its_key() {
        let key = |name: &str| v1::ClientKey {
            name: name.to_owned(),
            models: vec!["demo/*".to_owned()],
            ..v1::ClientKey::default()
        };
        let jwt = v1::Jwt {
            subject_claim: "sub".to_owned(),
            key_claim: "key".to_owned(),
            ..v1::Jwt::default()
        };
        let wire = v1::Snapshot {
            keys: vec![key("cheap")],
            jwt: Some(jwt.clone()),
            closed: true,
            ..v1::Snapshot::default()
        };
        let snapshot = Snapshot::new("1".to_owned(), wire);
        let host = FakeEnvoy::new();
        let exp = host.unix_seconds() + 1000;
        let caller = |claims: Value| {
            let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
            of_token(&host, &snapshot, &jwt, &payload)
        };
        let named = caller(json!({"exp": exp, "key": "cheap"})).unwrap();
        assert_eq!(named.client.unwrap().wire.name, "cheap");
        assert!(
            caller(json!({"exp": exp, "sub": "ann"}))
                .unwrap()
                .client
                .is_none()
        );
        for key in [
            json!("nobody"),
            json!(""),
            json!(["cheap"]),
            json!({}),
            json!(1),
            json!(null),
        ] {
            let denied = caller(json!({"exp": exp, "key": key.clone()}));
            assert_eq!(denied.err(), Some(Denial::Unknown), "{key}");
        }
        assert!(
            caller(json!({"key": "cheap"})).is_err(),
            "without an expiry"
        );
    }
}
