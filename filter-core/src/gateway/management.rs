//! Requests to the control plane's own endpoints on the gateway's listener.

use opentracy_translate::agent_paths::is_of_agents;
use opentracy_translate::internal_auth::SignedRequest;
use opentracy_translate::internal_hosts::DIRECT_AUTHORITY;

use crate::gateway::access::AdmittedCaller;
use crate::headers::{self, HeaderList};
use crate::host::Host;
use crate::snapshot::Snapshot;

/// The Envoy cluster of the control plane's REST listener.
const CLUSTER: &str = "opentracy_management";
/// The timeout for answers that don't come from an agent, in milliseconds.
const TIMEOUT_MS: &str = "10000";

/// Sends a request to the control plane, with a signature that proves that the caller was admitted.
/// The signature covers only this request, and only this filter can select the route.
pub fn send(
    host: &impl Host,
    snapshot: Option<&Snapshot>,
    caller: &AdmittedCaller,
    mut request: HeaderList<'static>,
) {
    let authority = request.get(":authority").unwrap_or_default().to_owned();
    let path = request.get(":path").unwrap_or_default();
    let is_of_agents = is_of_agents(path.split('?').next().unwrap_or_default());
    let client = caller
        .client
        .as_ref()
        .map(|client| client.wire.name.clone());
    let token = snapshot.map(|snapshot| {
        let signed = SignedRequest {
            method: request.get(":method").unwrap_or_default(),
            path,
            on_behalf_of: client.as_deref().unwrap_or_default(),
        };
        signed.sign(snapshot.management_secret(), host.unix_seconds())
    });
    request.retain(|name| !headers::is_internal(name) && name != headers::FORWARDED_HOST);
    request.set(":authority", DIRECT_AUTHORITY);
    request.push(headers::FORWARDED_HOST, authority);
    request.push(headers::CLUSTER, CLUSTER);
    if let Some(token) = token {
        request.push(headers::TOKEN, token);
    }
    if let Some(client) = client {
        request.push(headers::ON_BEHALF_OF, client);
    }
    if !is_of_agents {
        request.push(headers::TIMEOUT, TIMEOUT_MS);
    }
    host.set_request_headers(&request);
    host.clear_route_cache();
}
