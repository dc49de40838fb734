//! The state of a client's request.

use crate::gateway::access::AdmittedCaller;
use crate::gateway::answer::ClientAnswer;
use crate::gateway::call::ClientCall;
use crate::gateway::count_tokens;
use crate::gateway::dispatch::WaitingCall;
use crate::gateway::envoys_reply::EnvoysReply;
use crate::gateway::gateway_endpoint::GatewayEndpoint;
use crate::gateway::passthrough::Passthrough;
use crate::headers::HeaderList;

/// The context of a client's request.
#[derive(Default)]
pub struct GatewayStage {
    pub(super) state: State,
    /// Envoy's own reply to a request that was not sent upstream.
    pub(super) envoys_reply: Option<EnvoysReply>,
    /// The path of a request that is not for the gateway.
    pub(super) path: String,
}

#[derive(Default)]
pub(super) enum State {
    /// Not for the gateway: handled by Envoy's other routes.
    #[default]
    Other,
    /// Answered here, before a call was made.
    Answered,
    /// The headers have arrived, the body has not.
    Receiving(GatewayEndpoint, AdmittedCaller, HeaderList<'static>),
    /// The request waits for the control plane.
    Waiting(Box<WaitingCall>),
    /// The control plane was asked for a routing decision.
    Explaining(u32),
    /// A passthrough call to a provider.
    Passthrough(Box<Passthrough>),
    /// Forwarded to the control plane, whose answer is passed on.
    Forwarded,
    /// A count that was requested from a provider.
    Counting(count_tokens::Errand),
    /// In flight, or answered.
    Sent(Box<(ClientCall, ClientAnswer)>),
}
