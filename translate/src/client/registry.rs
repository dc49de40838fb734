//! The list of the clients' APIs: one line each.

use serde::{Deserialize, Deserializer};

use crate::client::api::Api;
use crate::client::chat_completions::ChatCompletions;
use crate::client::messages::api::Messages;
use crate::client::responses::api::Responses;

macro_rules! client_apis {
    ($($(#[$doc:meta])* $name:ident = $api:expr;)*) => {
        impl Api {
            $($(#[$doc])* pub const $name: Self = Self::new(&$api);)*

            /// All APIs, in the order in which they are documented.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

client_apis! {
    /// OpenAI's Chat Completions.
    CHAT_COMPLETIONS = ChatCompletions;
    /// Anthropic's Messages.
    MESSAGES = Messages;
    /// OpenAI's Responses.
    RESPONSES = Responses;
}

impl Api {
    /// Returns the API of a path.
    pub fn at(path: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|api| api.path() == path)
    }

    /// Returns the API with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|api| api.name() == name)
    }
}

impl Default for Api {
    fn default() -> Self {
        Self::CHAT_COMPLETIONS
    }
}

impl<'de> Deserialize<'de> for Api {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::named(&name)
            .ok_or_else(|| serde::de::Error::custom(format!("\"{name}\" is not a client API")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_is_found_by_its_name_and_its_path() {
        for api in Api::ALL {
            assert_eq!(Api::named(api.name()), Some(*api));
            assert_eq!(Api::at(api.path()), Some(*api));
        }
        assert_eq!(Api::at("/v1/embeddings"), None);
    }
}
