//! The endpoints that the gateway serves.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::client::Api;

/// An endpoint whose calls are traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A model's answer, in one of the clients' APIs.
    Completion(Api),
    Embeddings,
    Images,
    Transcriptions,
    Translations,
    Speech,
    Moderations,
    Rerank,
    /// OpenAI's legacy completions of a prompt.
    Completions,
    Files,
    Batches,
    /// Passthrough to a provider's own API.
    Proxy,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self::Completion(Api::default())
    }
}

/// Path prefix of passthrough calls; the provider's name follows.
pub const PROXY: &str = "/proxy/";

impl Endpoint {
    /// The endpoints other than the clients' APIs.
    const OTHERS: [Self; 11] = [
        Self::Embeddings,
        Self::Images,
        Self::Transcriptions,
        Self::Translations,
        Self::Speech,
        Self::Moderations,
        Self::Rerank,
        Self::Completions,
        Self::Files,
        Self::Batches,
        Self::Proxy,
    ];

    /// Returns all endpoints.
    pub fn all() -> impl Iterator<Item = Self> {
        let apis = Api::ALL.iter().copied().map(Self::Completion);
        apis.chain(Self::OTHERS)
    }

    /// Returns the endpoint's name, in traces and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completion(api) => api.name(),
            Self::Embeddings => "embeddings",
            Self::Images => "images",
            Self::Transcriptions => "transcriptions",
            Self::Translations => "translations",
            Self::Speech => "speech",
            Self::Moderations => "moderations",
            Self::Rerank => "rerank",
            Self::Completions => "completions",
            Self::Files => "files",
            Self::Batches => "batches",
            Self::Proxy => "proxy",
        }
    }

    /// Returns the path of the endpoint, or the prefix of its paths if it has several.
    pub fn path(self) -> &'static str {
        match self {
            Self::Completion(api) => api.path(),
            Self::Embeddings => "/v1/embeddings",
            Self::Images => "/v1/images/generations",
            Self::Transcriptions => "/v1/audio/transcriptions",
            Self::Translations => "/v1/audio/translations",
            Self::Speech => "/v1/audio/speech",
            Self::Moderations => "/v1/moderations",
            Self::Rerank => "/v1/rerank",
            Self::Completions => "/v1/completions",
            Self::Files => "/v1/files",
            Self::Batches => "/v1/batches",
            Self::Proxy => PROXY,
        }
    }

    /// Returns the endpoint that serves a path.
    pub fn at(path: &str) -> Option<Self> {
        Self::all().find(|endpoint| {
            let rest = path.strip_prefix(endpoint.path());
            match endpoint {
                Self::Files | Self::Batches => {
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                }
                Self::Proxy => rest.is_some(),
                _ => rest == Some(""),
            }
        })
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|endpoint| endpoint.name() == name)
    }

    /// Returns the client's API, for endpoints where a model answers.
    pub fn api(self) -> Option<Api> {
        match self {
            Self::Completion(api) => Some(api),
            _ => None,
        }
    }

    /// Returns the endpoint's number in gRPC and in the journal: the `Api` of `trace.proto`. A
    /// number is never reused for another endpoint.
    pub fn number(self) -> i32 {
        match self {
            Self::Completion(api) => api.facts().number,
            Self::Embeddings => 3,
            Self::Images => 4,
            Self::Transcriptions => 5,
            Self::Translations => 6,
            Self::Speech => 7,
            Self::Moderations => 8,
            Self::Rerank => 9,
            Self::Completions => 10,
            Self::Files => 11,
            Self::Batches => 12,
            Self::Proxy => 13,
        }
    }

    /// Returns the endpoint with this number.
    pub fn numbered(number: i32) -> Option<Self> {
        Self::all().find(|endpoint| endpoint.number() == number)
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| {
            let names: Vec<&str> = Self::all().map(Self::name).collect();
            let names = names.join(", ");
            serde::de::Error::custom(format!("\"{name}\" is not an endpoint; use one of {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_its_endpoint() {
        for (path, expected) in [
            ("/v1/embeddings", Some(Endpoint::Embeddings)),
            ("/v1/files", Some(Endpoint::Files)),
            ("/v1/files/file-1/content", Some(Endpoint::Files)),
            ("/v1/filesystem", None),
            ("/v1/embeddings/x", None),
            ("/proxy/openai/v1/models", Some(Endpoint::Proxy)),
            ("/v1/messages", Some(Endpoint::Completion(Api::MESSAGES))),
        ] {
            assert_eq!(Endpoint::at(path), expected, "{path}");
        }
    }

    /// Stored traces use these numbers: append to this list, never reorder it.
    const NUMBERS: [(i32, &str); 14] = [
        (0, "chat_completions"),
        (1, "messages"),
        (2, "responses"),
        (3, "embeddings"),
        (4, "images"),
        (5, "transcriptions"),
        (6, "translations"),
        (7, "speech"),
        (8, "moderations"),
        (9, "rerank"),
        (10, "completions"),
        (11, "files"),
        (12, "batches"),
        (13, "proxy"),
    ];

    #[test]
    fn numbers_stay_as_they_are() {
        for (number, name) in NUMBERS {
            let endpoint = Endpoint::numbered(number).unwrap();
            assert_eq!(endpoint.name(), name);
        }
        assert_eq!(Endpoint::all().count(), NUMBERS.len());
    }

    #[test]
    fn names_and_numbers_lead_back() {
        for endpoint in Endpoint::all() {
            assert_eq!(Endpoint::numbered(endpoint.number()), Some(endpoint));
            let json = serde_json::to_string(&endpoint).unwrap();
            assert_eq!(serde_json::from_str::<Endpoint>(&json).unwrap(), endpoint);
        }
    }
}
