//! The active providers: the built-in ones with their overrides from the file, and the file's own.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use opentracy_proto::constants::AGENTS_PROVIDER;
use opentracy_translate::internal_auth::Purpose;
use opentracy_translate::provider::{self as registry, Auth};
use opentracy_translate::wire_format::{Cloud, Format};
use url::Url;

use crate::credential::Source;
use crate::{Cache, Config, Keys, ProviderEntry};

/// The provider that needs no key: it runs in the control plane.
pub const DEMO: &str = "demo";

const TIMEOUT: Duration = Duration::from_secs(300);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_REQUESTS: u32 = 10_000;

/// A provider with everything needed to call it.
#[derive(Clone)]
pub struct ResolvedProvider {
    pub name: String,
    pub format: Format,
    pub base_url: Url,
    pub key: Key,
    /// Additional keys, each as the name and value of the header that carries it.
    pub more_keys: Vec<(String, String)>,
    /// Headers other than the key's.
    pub headers: BTreeMap<String, String>,
    pub timeout: Duration,
    pub connect_timeout: Duration,
    /// Maximum number of concurrent requests.
    pub max_requests: u32,
    /// The built-in provider whose deviations from OpenAI's format this one shares; empty for none.
    pub dialect: String,
    /// The path after the base URL, with `{model}` for the model; empty for the format's default.
    pub path: String,
    /// True if the gateway places Anthropic's cache markers when the client sets none.
    pub auto_cache: bool,
}

/// A provider's key, as the header that carries it.
#[derive(Clone, PartialEq, Eq)]
pub enum Key {
    Header {
        name: String,
        value: String,
    },
    NotNeeded,
    /// Credentials that have to be obtained first.
    Needs(CredentialNeed),
    /// No key was found; the variable that would hold it.
    Missing {
        variable: String,
    },
}

/// The source of the credentials that a provider needs instead of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialNeed {
    Aws {
        region: String,
        profile: Option<String>,
    },
    Google {
        file: Option<PathBuf>,
    },
}

impl CredentialNeed {
    /// Returns the source to fetch from.
    pub fn source(&self) -> Source {
        match self {
            Self::Aws { profile, .. } => Source::Aws {
                profile: profile.clone(),
            },
            Self::Google { file } => Source::Google { file: file.clone() },
        }
    }

    /// Returns the variable to set if no credentials are found.
    pub fn variable(&self) -> &'static str {
        match self {
            Self::Aws { .. } => "AWS_ACCESS_KEY_ID",
            Self::Google { .. } => "GOOGLE_APPLICATION_CREDENTIALS",
        }
    }
}

/// Omits the keys, which must not be logged.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { name, .. } => write!(f, "Header({name}: …)"),
            Self::NotNeeded => f.write_str("NotNeeded"),
            Self::Needs(need) => write!(f, "{need:?}"),
            Self::Missing { variable } => write!(f, "Missing({variable})"),
        }
    }
}

/// Parses a base URL: http or https, a host, no query. The error tells how to fix it.
pub(super) fn parse_base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
    match url {
        Some(url)
            if url.query().is_none() && url.fragment().is_none() && url.username().is_empty() =>
        {
            Ok(url)
        }
        Some(_) => Err("must have no query, fragment or user name".to_owned()),
        None => Err(format!(
            "\"{text}\" is not an address; write one like https://api.example.com/v1"
        )),
    }
}

/// Returns every provider, by name. Expects a validated configuration.
pub fn providers(config: &Config, keys: &Keys) -> BTreeMap<String, ResolvedProvider> {
    let built_in = registry::PROVIDERS.iter().map(|row| row.name);
    built_in
        .chain([DEMO])
        .chain((!config.agents.is_empty()).then_some(AGENTS_PROVIDER))
        .chain(config.providers.keys().map(String::as_str))
        .filter_map(|name| {
            let entry = config.providers.get(name).map(|entry| entry.value.clone());
            let provider = resolve(name, entry.unwrap_or_default(), config, keys)?;
            Some((name.to_owned(), provider))
        })
        .collect()
}

fn resolve(
    name: &str,
    entry: ProviderEntry,
    config: &Config,
    keys: &Keys,
) -> Option<ResolvedProvider> {
    let row = registry::find(name);
    let is_own = matches!(name, DEMO | AGENTS_PROVIDER);
    let own_url = format!("http://{}/{name}/v1", config.management.listen);
    let default_url = row.map(|row| row.base_url).or(is_own.then_some(&own_url));
    let default_format = row
        .map(|row| row.format)
        .or(is_own.then_some(Format::OPENAI));
    let format = entry.format.or(default_format)?;
    let base_url = match (&entry.base_url, format.facts().cloud) {
        (Some(url), _) => parse_base_url(&url.value),
        (None, Some(Cloud::Aws)) => parse_base_url(&bedrock_url(&aws_region(&entry)?)),
        (None, Some(Cloud::Google)) => parse_base_url(&vertex_url(&entry)?),
        (None, None) => parse_base_url(default_url?),
    }
    .ok()?;
    let mut headers: BTreeMap<String, String> = format
        .facts()
        .headers
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for (name, value) in &entry.headers {
        headers.insert(name.to_ascii_lowercase(), value.value.clone());
    }
    Some(ResolvedProvider {
        name: name.to_owned(),
        format,
        base_url,
        key: match name {
            AGENTS_PROVIDER => Key::Header {
                name: "authorization".to_owned(),
                value: format!("Bearer {}", keys.secret(Purpose::Agents)),
            },
            _ => find_key(name, row, format, &entry, keys),
        },
        more_keys: entry
            .more_api_key_envs
            .iter()
            .filter_map(|variable| auth(row, format).header(&keys.get(variable)?))
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        headers,
        timeout: entry.timeout.unwrap_or(TIMEOUT),
        connect_timeout: entry.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
        max_requests: entry.max_requests.unwrap_or(MAX_REQUESTS),
        path: path(&entry, row),
        auto_cache: entry.cache == Cache::Auto,
        dialect: entry
            .dialect
            .as_ref()
            .map(|dialect| dialect.value.clone())
            .or(row.map(|row| row.name.to_owned()))
            .unwrap_or_default(),
    })
}

/// Returns Bedrock's region from the file or the environment.
pub(super) fn aws_region(entry: &ProviderEntry) -> Option<String> {
    let configured = entry.region.as_ref().map(|region| region.value.clone());
    configured
        .or_else(|| environment("AWS_REGION"))
        .or_else(|| environment("AWS_DEFAULT_REGION"))
}

fn bedrock_url(region: &str) -> String {
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    format!("https://bedrock-runtime.{region}.{domain}")
}

/// Returns the base URL for the project and its location; without a region, the global endpoint,
/// which lets Google choose.
pub(super) fn vertex_url(entry: &ProviderEntry) -> Option<String> {
    let configured = entry.project.as_ref().map(|project| project.value.clone());
    let project = configured.or_else(|| environment("GOOGLE_CLOUD_PROJECT"))?;
    let configured = entry.region.as_ref().map(|region| region.value.clone());
    let region = configured.or_else(|| environment("GOOGLE_CLOUD_LOCATION"));
    let region = region.as_deref().unwrap_or("global");
    let host = match region {
        "global" => "aiplatform.googleapis.com".to_owned(),
        region => format!("{region}-aiplatform.googleapis.com"),
    };
    Some(format!(
        "https://{host}/v1/projects/{project}/locations/{region}"
    ))
}

fn environment(variable: &str) -> Option<String> {
    std::env::var(variable)
        .ok()
        .filter(|value| !value.is_empty())
}

fn path(entry: &ProviderEntry, row: Option<&registry::BuiltInProvider>) -> String {
    match (&entry.path, &entry.api_version) {
        (Some(path), _) => path.value.clone(),
        (None, Some(version)) => format!(
            "/openai/deployments/{{model}}/chat/completions?api-version={}",
            version.value
        ),
        (None, None) => row.and_then(|row| row.path).unwrap_or_default().to_owned(),
    }
}

/// Returns the way a key is sent.
fn auth(row: Option<&registry::BuiltInProvider>, format: Format) -> Auth {
    match row.map(registry::BuiltInProvider::auth) {
        None | Some(Auth::None) => format.facts().auth,
        Some(auth) => auth,
    }
}

fn find_key(
    name: &str,
    row: Option<&registry::BuiltInProvider>,
    format: Format,
    entry: &ProviderEntry,
    keys: &Keys,
) -> Key {
    let variable = entry.api_key_env.clone().unwrap_or_else(|| match row {
        Some(row) => row.key_variable.to_owned(),
        None => format!("{}_API_KEY", name.to_ascii_uppercase().replace('-', "_")),
    });
    let key = entry.api_key.clone().or_else(|| keys.get(&variable));
    // A custom server may need no key, unless the file says where its key is.
    let is_needed = entry.api_key_env.is_some() || row.is_some_and(|row| row.auth() != Auth::None);
    let header = key.as_deref().and_then(|key| auth(row, format).header(key));
    match (header, format.facts().cloud) {
        (Some((name, value)), _) => Key::Header {
            name: name.to_owned(),
            value,
        },
        (None, Some(Cloud::Aws)) => Key::Needs(CredentialNeed::Aws {
            region: aws_region(entry).unwrap_or_else(|| "us-east-1".to_owned()),
            profile: entry.profile.clone(),
        }),
        (None, Some(Cloud::Google)) => Key::Needs(CredentialNeed::Google {
            file: entry.credentials_file.clone(),
        }),
        (None, None) if is_needed => Key::Missing { variable },
        (None, None) => Key::NotNeeded,
    }
}

impl ResolvedProvider {
    /// Returns the source of its credentials, if it needs some instead of a key.
    pub fn credential_source(&self) -> Option<Source> {
        match &self.key {
            Key::Needs(need) => Some(need.source()),
            Key::Header { .. } | Key::NotNeeded | Key::Missing { .. } => None,
        }
    }

    /// Returns true if it has the key it needs or a source of credentials.
    pub fn is_callable(&self) -> bool {
        !matches!(self.key, Key::Missing { .. })
    }

    pub fn is_tls(&self) -> bool {
        self.base_url.scheme() == "https"
    }

    /// Returns the host, without the brackets around an IPv6 address.
    pub fn host(&self) -> &str {
        let host = self.base_url.host_str().unwrap_or_default();
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    pub fn port(&self) -> u16 {
        self.base_url.port_or_known_default().unwrap_or(443)
    }

    /// Returns the `:authority` of its requests, with the port only if it isn't the scheme's
    /// default.
    pub fn authority(&self) -> String {
        let host = self.base_url.host_str().unwrap_or_default();
        match self.base_url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Returns the path in front of the format's own, without a trailing slash.
    pub fn base_path(&self) -> &str {
        self.base_url.path().trim_end_matches('/')
    }

    /// Returns the name of its Envoy cluster.
    pub fn envoy_cluster(&self) -> String {
        format!("opentracy_provider_{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn providers_of(yaml: &str) -> BTreeMap<String, ResolvedProvider> {
        let config: Config = serde_saphyr::from_str(yaml).unwrap();
        providers(&config, &Keys::default())
    }

    #[test]
    fn an_entry_overrides_what_it_names_and_nothing_else() {
        let all = providers_of(
            "providers:\n  anthropic:\n    base_url: http://127.0.0.1:9000/proxy/\n    api_key: k\n    headers: {X-Team: a}\n",
        );
        let anthropic = &all["anthropic"];
        assert_eq!(anthropic.authority(), "127.0.0.1:9000");
        assert_eq!(anthropic.base_path(), "/proxy");
        assert_eq!(anthropic.headers["anthropic-version"], "2023-06-01");
        assert_eq!(anthropic.headers["x-team"], "a");
        assert_eq!(
            anthropic.key,
            Key::Header {
                name: "x-api-key".into(),
                value: "k".into()
            }
        );
        assert_eq!(all["openai"].authority(), "api.openai.com");
        assert_eq!(all["openai"].base_path(), "/v1");
    }

    #[test]
    fn a_server_of_ones_own_needs_no_key_unless_the_file_says_where_it_is() {
        let all = providers_of(
            "providers:\n  vllm:\n    format: openai\n    base_url: http://[::1]:8001/v1\n  other:\n    format: openai\n    base_url: http://x/v1\n    api_key_env: SURELY_NOT_SET_ANYWHERE\n",
        );
        assert_eq!(all["vllm"].key, Key::NotNeeded);
        assert_eq!(all["vllm"].host(), "::1");
        assert_eq!(
            all["other"].key,
            Key::Missing {
                variable: "SURELY_NOT_SET_ANYWHERE".into()
            }
        );
    }

    #[test]
    fn keys_do_not_show_in_debug_output() {
        let all = providers_of("providers:\n  openai:\n    api_key: sk-very-secret\n");
        assert!(!format!("{:?}", all["openai"].key).contains("sk-very"));
    }
}
