//! The endpoints that the gateway answers.

use opentracy_translate::client::Api;
use opentracy_translate::client::messages::count;
use opentracy_translate::endpoint::Endpoint;

use crate::gateway::{explain, models};

/// The endpoints that this stage serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewayEndpoint {
    /// A call to a model.
    Completion(Api),
    /// Anthropic's token count of a request.
    CountTokens,
    /// The control plane's routing decision.
    Route,
    /// The list of models.
    Models,
    /// A passthrough endpoint of a provider.
    Passthrough(Endpoint),
}

impl GatewayEndpoint {
    pub fn at(path: &str) -> Option<Self> {
        if path == count::PATH {
            return Some(Self::CountTokens);
        }
        if path == explain::PATH {
            return Some(Self::Route);
        }
        if models::is_at(path) {
            return Some(Self::Models);
        }
        Endpoint::at(path).map(|found| match found.api() {
            Some(api) => Self::Completion(api),
            None => Self::Passthrough(found),
        })
    }

    pub fn api(self) -> Api {
        match self {
            Self::Completion(api) => api,
            Self::CountTokens => Api::MESSAGES,
            Self::Route | Self::Models | Self::Passthrough(_) => Api::CHAT_COMPLETIONS,
        }
    }
}
