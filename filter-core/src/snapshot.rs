//! The latest configuration from the control plane, indexed for planning.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use opentracy_proto::constants::AGENTS_PROVIDER;
use opentracy_proto::v1;
use opentracy_translate::access::{self, Denial, Keyring, Rights, Role};
use opentracy_translate::aws::sigv4::AwsCredentials;
use opentracy_translate::cost::{Pricing, Usd};
use opentracy_translate::error::ApiError;
use opentracy_translate::exchange::Target;
use opentracy_translate::model;
use opentracy_translate::model_list::{Capabilities, Facts, ListedModel};
use opentracy_translate::openai;
use opentracy_translate::openai::dialect::{self, Dialect};
use opentracy_translate::provider as registry;
use opentracy_translate::redact::{KeyMask, Redactor};
use opentracy_translate::wire_format::Format;

use crate::host::Host;

/// The time for which a removed provider can still be called. The two stages poll independently, so
/// a plan may be older than the configuration that it is executed with.
const RETIRED_FOR: Duration = Duration::from_secs(10);

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
    path: Option<String>,
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

/// A client key, with its rights and limits.
#[derive(Debug)]
pub struct Client {
    pub wire: v1::ClientKey,
    pub rights: Rights,
}

impl Client {
    pub fn check_state(&self, now_unix_seconds: u64) -> Result<(), Denial> {
        self.rights.check_state(&self.wire.name, now_unix_seconds)
    }
}

/// The catalog's data on a model.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CatalogEntry {
    pub pricing: Option<Pricing>,
    pub max_output_tokens: Option<u64>,
    /// The maximum length of a conversation, including the answer.
    pub context_tokens: Option<u64>,
    pub limits: v1::Limits,
    capabilities: Capabilities,
    /// Set if the catalog lists it.
    is_listed: bool,
}

#[derive(Default)]
pub struct Snapshot {
    pub version: String,
    pub providers: HashMap<String, Rc<Provider>>,
    pub aliases: HashMap<String, v1::Alias>,
    models: HashMap<String, HashMap<String, CatalogEntry>>,
    /// The provider of each model that clients may name without one.
    pub bare_models: HashMap<String, String>,
    pub traces: v1::TracePolicy,
    /// The deadline for the control plane's routing decisions.
    pub route_deadline: Duration,
    pub keyring: Keyring,
    /// By name.
    pub clients: HashMap<String, Rc<Client>>,
    pub jwt: Option<v1::Jwt>,
    /// Set if requests without a key are denied even if no keys exist.
    pub is_closed: bool,
    internal_token: String,
    /// Signs requests that are forwarded to the management interface.
    management_secret: String,
    /// The gateway's host names, for requests without a key.
    pub own_hosts: Vec<String>,
    pub limit_deadline: Duration,
    pub refuse_without_limits: bool,
    pub circuit_breaker: v1::CircuitBreakerPolicy,
    /// The provider for requests that name no model, by the name of the endpoint.
    pub endpoints: HashMap<String, String>,
    /// Set if Envoy writes an access log.
    pub has_access_log: bool,
    /// Providers of earlier configurations, with the time until which plans may name them.
    retired: HashMap<String, (Rc<Provider>, Instant)>,
    /// Built on first use.
    redactor: OnceCell<Redactor>,
}

thread_local! {
    // There is one per VM, and an Envoy worker runs each VM on one thread.
    static CURRENT: RefCell<Option<Rc<Snapshot>>> = const { RefCell::new(None) };
}

/// Returns the active configuration; `None` until the control plane has sent one.
pub fn current() -> Option<Rc<Snapshot>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Returns the error for a request before there is a configuration.
pub fn missing() -> ApiError {
    let message = "The gateway has no configuration yet: its control plane is starting or out of reach. Try again";
    ApiError::new(503, message).with_code("gateway_starting")
}

/// Activates a configuration. Requests in flight keep the one they began with.
pub fn replace(host: &impl Host, mut snapshot: Snapshot) {
    CURRENT.with_borrow_mut(|current| {
        if let Some(old) = current.as_deref() {
            snapshot.retire_providers(old, host.now());
        }
        *current = Some(Rc::new(snapshot));
    });
}

impl Snapshot {
    pub fn new(version: String, wire: v1::Snapshot) -> Self {
        let mut models: HashMap<String, HashMap<String, CatalogEntry>> = HashMap::new();
        let mut bare_models = HashMap::new();
        for model in wire.models {
            if model.bare {
                bare_models
                    .entry(model.name.clone())
                    .or_insert_with(|| model.provider.clone());
            }
            let known = CatalogEntry {
                pricing: model.pricing.map(|wire| pricing(&wire)),
                max_output_tokens: model.max_output_tokens.map(u64::from),
                context_tokens: model.context_tokens.map(u64::from),
                limits: model.limits.unwrap_or_default(),
                capabilities: Capabilities(model.capabilities),
                is_listed: model.listed,
            };
            models
                .entry(model.provider)
                .or_default()
                .insert(model.name, known);
        }
        Self {
            version,
            providers: wire
                .providers
                .into_iter()
                .map(|provider| (provider.name.clone(), Rc::new(Provider::new(provider))))
                .collect(),
            aliases: wire
                .aliases
                .into_iter()
                .map(|alias| (alias.name.clone(), alias))
                .collect(),
            models,
            bare_models,
            traces: wire.traces.unwrap_or_default(),
            route_deadline: Duration::from_millis(wire.route_deadline_ms.into()),
            keyring: wire.keys.iter().map(key).collect(),
            clients: wire
                .keys
                .into_iter()
                .map(|wire| {
                    let rights = key(&wire).rights;
                    (wire.name.clone(), Rc::new(Client { wire, rights }))
                })
                .collect(),
            jwt: wire.jwt,
            is_closed: wire.closed,
            internal_token: wire.internal_token,
            management_secret: wire.management_secret,
            own_hosts: wire.own_hosts,
            limit_deadline: Duration::from_millis(wire.limit_deadline_ms.into()),
            refuse_without_limits: wire.refuse_without_limits,
            circuit_breaker: wire.circuit_breaker.unwrap_or_default(),
            endpoints: wire.endpoints,
            has_access_log: wire.access_log,
            retired: HashMap::new(),
            redactor: OnceCell::new(),
        }
    }

    /// Keeps the providers of an older configuration that this one lacks.
    fn retire_providers(&mut self, old: &Self, now: Instant) {
        let removed = old
            .providers
            .iter()
            .map(|(name, provider)| (name, (Rc::clone(provider), now + RETIRED_FOR)));
        let earlier = old
            .retired
            .iter()
            .filter(|(_, (_, until))| *until > now)
            .map(|(name, retired)| (name, retired.clone()));
        for (name, retired) in earlier.chain(removed) {
            if !self.providers.contains_key(name) {
                self.retired.insert(name.clone(), retired);
            }
        }
    }

    /// Returns the provider that a plan names. The plan may come from an earlier configuration.
    pub fn planned_provider(&self, name: &str, now: Instant) -> Option<&Rc<Provider>> {
        let retired = || {
            let (provider, until) = self.retired.get(name)?;
            (*until > now).then_some(provider)
        };
        self.providers.get(name).or_else(retired)
    }

    /// Returns whether the secret is the control plane's internal token.
    pub fn is_internal_token(&self, secret: &str) -> bool {
        !self.internal_token.is_empty() && access::is_same(&self.internal_token, secret)
    }

    /// Returns whether requests need no key.
    pub fn is_open(&self) -> bool {
        self.keyring.is_empty() && !self.is_closed
    }

    pub fn management_secret(&self) -> &str {
        &self.management_secret
    }

    /// Returns the trace policy's redactor. An invalid policy, which the control plane normally
    /// rejects, falls back to all detectors.
    pub fn redactor(&self) -> &Redactor {
        self.redactor.get_or_init(|| {
            let names = self.traces.detectors.iter().map(String::as_str);
            let patterns = self.traces.patterns.iter();
            let own = patterns.map(|pattern| (pattern.name.as_str(), pattern.regex.as_str()));
            Redactor::new(names, own).unwrap_or_else(|error| {
                log::error!("the trace policy is invalid, so every detector masks: {error}");
                Redactor::default()
            })
        })
    }

    /// Returns everything that can be called, regardless of the client's rights: the aliases, then
    /// the catalog's models of providers whose key is set.
    pub fn listed_models(&self) -> impl Iterator<Item = ListedModel> {
        let mut aliases: Vec<&v1::Alias> = self.aliases.values().collect();
        aliases.retain(|alias| !alias.hidden);
        aliases.sort_by_key(|alias| &alias.name);
        let aliases = aliases
            .into_iter()
            .map(|alias| ListedModel::of_alias(&alias.name, alias.candidates.clone()));
        let is_callable = |provider: &str| {
            let provider = self.providers.get(provider);
            provider.is_some_and(|provider| provider.missing_key_variable.is_none())
        };
        let mut models: Vec<(&str, &str, CatalogEntry)> = self
            .models
            .iter()
            .filter(|(provider, _)| is_callable(provider))
            .flat_map(|(provider, models)| {
                let listed = models.iter().filter(|(_, model)| model.is_listed);
                listed.map(|(name, model)| (provider.as_str(), name.as_str(), *model))
            })
            .collect();
        models.sort_by_key(|(provider, name, _)| (*provider, *name));
        let models = models.into_iter().map(|(provider, name, model)| {
            let facts = Facts {
                context_window: model.context_tokens,
                max_output_tokens: model.max_output_tokens,
                capabilities: model.capabilities,
                pricing: model.pricing,
            };
            let bare = self.bare_models.get(name);
            let is_bare = bare.is_some_and(|bare| bare == provider);
            ListedModel::of_model(provider, name, &facts, is_bare)
        });
        aliases.chain(models)
    }

    /// Returns whether the catalog or an alias has a model, `provider/model`.
    pub fn knows(&self, id: &str) -> bool {
        let is_in_catalog = id.split_once('/').is_some_and(|(provider, name)| {
            let models = self.models.get(provider);
            models.is_some_and(|models| models.contains_key(name))
        });
        let mut aliases = self.aliases.values();
        is_in_catalog
            || aliases.any(|alias| alias.candidates.iter().any(|candidate| candidate == id))
    }

    /// Returns the catalog's data on a model; the default if the catalog has no entry.
    pub fn model(&self, provider: &str, name: &str) -> CatalogEntry {
        self.models
            .get(provider)
            .and_then(|models| models.get(name))
            .copied()
            .unwrap_or_default()
    }
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
            None => format!("{}{of_format}", self.base_path),
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

    /// Returns the translation target for a model of this provider.
    pub fn target<'a>(&'a self, model: &'a str, snapshot: Option<&Snapshot>) -> Target<'a> {
        Target {
            format: self.format,
            model,
            max_output_tokens: snapshot
                .and_then(|snapshot| snapshot.model(&self.name, model).max_output_tokens),
            dialect: self.dialect,
            auto_cache: self.auto_cache,
            serves_responses: self.dialect.responses
                && self
                    .path
                    .as_ref()
                    .is_none_or(|path| path.ends_with("/v1/chat/completions")),
        }
    }

    fn new(wire: v1::Provider) -> Self {
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

fn key(wire: &v1::ClientKey) -> access::StoredKey {
    access::StoredKey {
        name: wire.name.clone(),
        id: wire.id.clone(),
        salt: wire.salt.clone(),
        digest: wire.sha256.clone(),
        rights: Rights {
            role: match wire.role() {
                v1::Role::Admin => Role::Admin,
                v1::Role::User => Role::User,
                v1::Role::ReadOnly => Role::ReadOnly,
            },
            models: wire.models.clone(),
            endpoints: wire.endpoints.clone(),
            expires_unix_seconds: wire.expires_unix_seconds,
            enabled: !wire.disabled,
        },
    }
}

fn pricing(wire: &v1::Pricing) -> Pricing {
    Pricing {
        input: wire.input.map(Usd),
        output: wire.output.map(Usd),
        cache_read: wire.cache_read.map(Usd),
        cache_write: wire.cache_write.map(Usd),
        reasoning: wire.reasoning.map(Usd),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(providers: &[&str]) -> Snapshot {
        let provider = |name: &&str| v1::Provider {
            name: (*name).to_owned(),
            ..v1::Provider::default()
        };
        let wire = v1::Snapshot {
            providers: providers.iter().map(provider).collect(),
            ..v1::Snapshot::default()
        };
        Snapshot::new(String::new(), wire)
    }

    #[test]
    fn a_removed_provider_can_be_called_for_some_seconds() {
        let start = Instant::now();
        let mut second = snapshot(&["kept"]);
        second.retire_providers(&snapshot(&["kept", "removed"]), start);
        assert!(
            !second.providers.contains_key("removed"),
            "no new plan names it"
        );
        assert!(second.planned_provider("removed", start).is_some());
        // An unrelated change neither extends its time nor removes it.
        let mut third = snapshot(&["kept"]);
        let later = start + RETIRED_FOR / 2;
        third.retire_providers(&second, later);
        assert!(third.planned_provider("removed", later).is_some());
        assert!(
            third
                .planned_provider("removed", start + RETIRED_FOR)
                .is_none()
        );
        assert!(
            third
                .planned_provider("kept", start + RETIRED_FOR)
                .is_some()
        );
        assert!(third.planned_provider("never", start).is_none());
    }
}
