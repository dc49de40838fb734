//! A provider of the configuration.

use opentracy_proto::constants::AGENTS_PROVIDER;
use opentracy_proto::v1;
use opentracy_translate::aws::sigv4::AwsCredentials;
use opentracy_translate::model;
use opentracy_translate::openai;
use opentracy_translate::openai::dialect::{self, Dialect};
use opentracy_translate::provider as registry;
use opentracy_translate::redact::KeyMask;
use opentracy_translate::wire_format::Format;

use crate::failure;

/// A provider that requests can be sent to.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    pub name: String,
    pub format: Format,
    pub envoy_cluster: String,
    pub authority: String,
    pub scheme: String,
    pub base_path: String,
    /// The path after `base_path`, with `{model}` for the model; `None` for the format's own path.
    pub(super) path: Option<String>,
    pub headers: Vec<(String, String)>,
    pub missing_key_variable: Option<String>,
    pub timeout_ms: u32,
    pub dialect: &'static Dialect,
    /// The credentials and the region for signing requests.
    pub aws: Option<(AwsCredentials, String)>,
    pub auto_cache: bool,
    /// The headers with further keys. Each replaces the header of the same name among `headers`.
    pub keys: Vec<(String, String)>,
    /// Masks these credentials in the provider's output.
    pub key_mask: KeyMask,
}

impl Provider {
    /// Returns whether the provider is the control plane's agents, which call models and tools
    /// themselves.
    pub fn is_agents(&self) -> bool {
        self.name == AGENTS_PROVIDER
    }

    /// Returns the headers of a request with key number `key`; 0 is the key among `headers`.
    pub fn headers_with(&self, key: usize) -> impl Iterator<Item = (&str, &str)> {
        let other = key.checked_sub(1).and_then(|index| self.keys.get(index));
        self.headers.iter().map(move |(name, value)| match other {
            Some((of_key, other)) if of_key == name => (name.as_str(), other.as_str()),
            _ => (name.as_str(), value.as_str()),
        })
    }

    /// Returns the path of a request; `of_format` is the format's own path.
    pub fn path(&self, model: &str, of_format: &str) -> String {
        match &self.path {
            None => [&self.base_path, of_format].concat(),
            Some(path) => {
                let path = path.replace("{model}", &model::encode_in_path(model));
                // The APIs of an OpenAI server share a parent path.
                let path = match path.split_once(openai::PATH) {
                    Some((root, rest)) if of_format != openai::PATH => {
                        format!("{root}{of_format}{rest}")
                    }
                    _ => path,
                };
                format!("{}{path}", self.base_path)
            }
        }
    }

    /// Returns whether another attempt may succeed after one here that got this status. If the
    /// provider has other keys, a status that refuses the key is one of those.
    pub fn is_worth_another(&self, status: u16) -> bool {
        failure::is_retriable(status) || (!self.keys.is_empty() && matches!(status, 401 | 403))
    }

    pub(super) fn new(wire: v1::Provider) -> Self {
        Self {
            key_mask: key_mask(&wire),
            format: Format::of_wire(&wire.format_name, wire.format).unwrap_or(Format::OPENAI),
            dialect: registry::find(&wire.dialect).map_or(&dialect::COMPATIBLE, |row| row.dialect),
            name: wire.name,
            envoy_cluster: wire.envoy_cluster,
            authority: wire.authority,
            scheme: wire.scheme,
            base_path: wire.base_path,
            path: Some(wire.path).filter(|path| !path.is_empty()),
            headers: wire
                .headers
                .into_iter()
                .map(|header| (header.name, header.value))
                .collect(),
            missing_key_variable: wire.missing_key_variable,
            timeout_ms: wire.timeout_ms,
            aws: wire.aws.map(|aws| {
                let credentials = AwsCredentials {
                    access_key_id: aws.access_key_id,
                    secret_access_key: aws.secret_access_key,
                    session_token: aws.session_token,
                };
                (credentials, aws.region)
            }),
            auto_cache: wire.auto_cache,
            keys: wire
                .keys
                .into_iter()
                .map(|header| (header.name, header.value))
                .collect(),
        }
    }
}

/// Provider headers that hold no secret.
const PUBLIC_HEADERS: [&str; 7] = [
    "anthropic-version",
    "anthropic-beta",
    "openai-organization",
    "openai-project",
    "openai-beta",
    "content-type",
    "user-agent",
];

fn key_mask(wire: &v1::Provider) -> KeyMask {
    let headers = wire.headers.iter().chain(&wire.keys);
    let values = headers
        .filter(|header| !PUBLIC_HEADERS.contains(&header.name.to_ascii_lowercase().as_str()))
        .map(|header| header.value.as_str());
    let aws = wire.aws.iter().flat_map(|aws| {
        let token = aws.session_token.as_deref().unwrap_or_default();
        [&aws.access_key_id, &aws.secret_access_key, token]
    });
    KeyMask::new(values.chain(aws))
}
