//! Access control of the management API.
//!
//! Without keys every caller is admitted, since the listener is on the loopback. Another site could
//! still make a browser send requests, so cross-site requests and requests to foreign host names
//! are denied.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use opentracy_translate::access::{self, Denial, Rights, Role, StoredKey};
use opentracy_translate::error::ApiError;
use opentracy_translate::internal_auth::SignedRequest;
use opentracy_translate::request_origin::RequestOrigin;

use crate::endpoints::{Callers, EndpointPolicy};
use crate::error::Error;
use crate::request_id::RequestId;
use opentracy_config::snapshot::ActiveConfig;
use opentracy_state::AppState;
use opentracy_store::Actor;

/// The beginning of the demo provider's paths.
const DEMO_PATHS: &str = "/demo/";

/// The key that a request was authenticated with; `None` if the API is open.
#[derive(Clone)]
pub struct Caller(pub Option<Arc<StoredKey>>);

impl Caller {
    /// Returns the key's name, or an empty string without a key.
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or("", |key| &key.name)
    }

    /// Returns `true` if the caller may use a model of this name.
    pub fn has_model(&self, name: &str) -> bool {
        self.rights().is_none_or(|rights| rights.has_model(name))
    }

    /// Returns the rights of the caller's key, or `None` if the caller is unrestricted.
    pub fn rights(&self) -> Option<&Rights> {
        self.0.as_ref().map(|key| &key.rights)
    }
}

/// The state of the [`layer`].
#[derive(Clone)]
pub struct Guard {
    shared: AppState,
    /// By path, as the router matches it.
    policies: Arc<BTreeMap<String, EndpointPolicy>>,
}

impl Guard {
    pub fn new(shared: AppState, policies: BTreeMap<String, EndpointPolicy>) -> Self {
        let policies = Arc::new(policies);
        Self { shared, policies }
    }

    /// Returns the callers of the endpoint that a request is routed to. A path without an endpoint
    /// is for admins, except below the demo provider, whose clients get a 404.
    fn callers(&self, request: &Request) -> Callers {
        let path = request.extensions().get::<MatchedPath>();
        match path.and_then(|path| self.policies.get(path.as_str())) {
            Some(policy) => policy.callers,
            None if request.uri().path().starts_with(DEMO_PATHS) => Callers::Everybody,
            None => Callers::default(),
        }
    }
}

/// Authenticates and authorizes each request.
pub async fn layer(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let shared = &guard.shared;
    let snapshot = Arc::clone(&shared.snapshot.borrow());
    let admitted = admit(
        &snapshot,
        guard.callers(&request),
        request.method(),
        request.uri(),
        request.headers(),
    );
    let caller = match admitted {
        Ok(caller) => caller,
        Err(error) => {
            shared
                .metrics
                .count_denial(error.code.as_deref().unwrap_or_default());
            return Error(error).into_response();
        }
    };
    let request_id = request.extensions().get::<RequestId>();
    let by = Actor {
        actor: caller
            .0
            .as_ref()
            .map_or_else(String::new, |key| key.name.clone()),
        request_id: request_id.map_or_else(String::new, |RequestId(id)| id.clone()),
    };
    request.extensions_mut().insert(by);
    request.extensions_mut().insert(caller);
    next.run(request).await
}

fn admit(
    snapshot: &ActiveConfig,
    callers: Callers,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Caller, ApiError> {
    let path = uri.path();
    let pairs = headers.iter();
    let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let authority = uri.authority().map(axum::http::uri::Authority::as_str);
    let origin = RequestOrigin::from_headers(pairs).with_authority(authority);
    origin.check_form()?;
    let path_and_query = uri.path_and_query().map_or(path, |both| both.as_str());
    if callers == Callers::Everybody {
        return Ok(Caller(None));
    }
    let text = |name: &str| headers.get(name)?.to_str().ok();
    if callers == Callers::Gateway {
        let sent = access::sent(text(header::AUTHORIZATION.as_str()), None);
        if !snapshot.is_from_gateway(sent.unwrap_or_default()) {
            return Err(Denial::Unknown.into());
        }
        let name = text(access::ON_BEHALF_OF_HEADER).unwrap_or_default();
        return Ok(Caller(key_on_behalf(snapshot, name)?));
    }
    let is_open = snapshot.keyring.is_empty() && !snapshot.wire.closed;
    if let Some(token) = text(access::TOKEN_HEADER) {
        // The filter has authenticated the caller and signed this one request.
        let signed = SignedRequest {
            method: method.as_str(),
            path: path_and_query,
            on_behalf_of: text(access::ON_BEHALF_OF_HEADER).unwrap_or_default(),
        };
        if !signed.verify(&snapshot.wire.management_secret, token, unix_seconds()) {
            return Err(Denial::Unknown.into());
        }
        let key = key_on_behalf(snapshot, signed.on_behalf_of)?;
        let role = key.as_ref().map_or(Role::User, |key| key.rights.role);
        check_role(if is_open { Role::Admin } else { role }, method, callers)?;
        return Ok(Caller(key));
    }
    if is_open {
        origin.check_same_site(&snapshot.wire.own_hosts)?;
        return Ok(Caller(None));
    }
    let secret = access::sent(text(header::AUTHORIZATION.as_str()), text("x-api-key"));
    let key = snapshot.keyring.check(secret, unix_seconds())?;
    check_role(key.rights.role, method, callers)?;
    key.rights
        .check_endpoint(&key.name, method.as_str(), path)?;
    Ok(Caller(Some(Arc::clone(key))))
}

fn unix_seconds() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default()
}

/// Returns the key on whose behalf the filter calls, or `None` if the caller has no key. A key that
/// was just revoked is denied rather than treated as no key.
fn key_on_behalf(snapshot: &ActiveConfig, name: &str) -> Result<Option<Arc<StoredKey>>, Denial> {
    if name.is_empty() {
        return Ok(None);
    }
    let key = snapshot.keyring.named(name).ok_or(Denial::Unknown)?;
    Ok(Some(Arc::clone(key)))
}

fn check_role(role: Role, method: &Method, callers: Callers) -> Result<(), Denial> {
    let may = match role {
        Role::Admin => true,
        Role::ReadOnly => matches!(*method, Method::GET | Method::HEAD),
        Role::User => callers == Callers::Users,
    };
    if may {
        Ok(())
    } else {
        Err(Denial::Role { role })
    }
}
