//! Who calls, and whether they may.

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use opentracy_proto::v1;
use opentracy_translate::access::{self, Denial};
use opentracy_translate::error::ApiError;
use opentracy_translate::request_origin::RequestOrigin;
use serde_json::{Map, Value};

use crate::clock;
use crate::gateway::planner::Candidate;
use crate::headers::{self, HeaderList};
use crate::plugin;
use crate::snapshot::{Client, Snapshot};

/// A caller who was let in.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The key whose rights, limits and budget go for the caller. `None` where nobody is asked for one.
    pub client: Option<Rc<Client>>,
    /// The person that a token names.
    pub subject: String,
    /// Whether it is the control plane, for somebody whom it has let in itself.
    pub is_internal: bool,
}

impl Caller {
    /// The key whose rights are to be looked at: what an agent asks for is not what its caller may ask for.
    pub fn restricted(&self) -> Option<&Rc<Client>> {
        self.client.as_ref().filter(|_| !self.is_internal)
    }
}

/// Admits a request, or returns why not.
pub fn admit(
    snapshot: &Snapshot,
    request: &HeaderList<'_>,
    method: &str,
    path: &str,
) -> Result<Caller, ApiError> {
    let origin = RequestOrigin::from_headers(request.iter());
    origin.check_form()?;
    let caller = identify(snapshot, request)?;
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

fn identify(snapshot: &Snapshot, request: &HeaderList<'_>) -> Result<Caller, Denial> {
    if let Some(jwt) = &snapshot.jwt
        && let Some(header) = plugin::jwt_header()
        && let Some(payload) = request.get(&header)
    {
        return of_token(snapshot, jwt, payload);
    }
    let secret = access::sent(request.get("authorization"), request.get("x-api-key"));
    if snapshot.is_internal_token(secret.unwrap_or_default()) {
        // The control plane calls for somebody whom it has let in itself.
        let name = request.get(headers::ON_BEHALF_OF).unwrap_or_default();
        return Ok(Caller {
            client: snapshot.clients.get(name).map(Rc::clone),
            subject: String::new(),
            is_internal: true,
        });
    }
    if snapshot.is_open() {
        return Ok(Caller::default());
    }
    let key = snapshot.keyring.check(secret, clock::unix_seconds())?;
    Ok(Caller {
        client: snapshot.clients.get(&key.name).map(Rc::clone),
        ..Caller::default()
    })
}

/// The caller of a token that Envoy has checked.
fn of_token(snapshot: &Snapshot, jwt: &v1::Jwt, payload: &str) -> Result<Caller, Denial> {
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('='));
    let claims: Map<String, Value> = payload
        .ok()
        .and_then(|payload| serde_json::from_slice(&payload).ok())
        .ok_or(Denial::Unknown)?;
    let claim = |name: &str| claims.get(name).and_then(Value::as_str);
    let client = match claim(&jwt.key_claim) {
        Some(key) => {
            let client = snapshot.clients.get(key).ok_or(Denial::Unknown)?;
            client.check_state(clock::unix_seconds())?;
            Some(Rc::clone(client))
        }
        None => None,
    };
    Ok(Caller {
        client,
        subject: claim(&jwt.subject_claim).unwrap_or_default().to_owned(),
        is_internal: false,
    })
}

/// Leaves out the candidates that the caller's key is not for. One that is for an alias is for all behind it.
pub fn retain_allowed(
    caller: &Caller,
    requested: &str,
    candidates: &mut Vec<Candidate>,
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
