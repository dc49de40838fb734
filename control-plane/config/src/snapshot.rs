//! The configuration as the filter receives it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use opentracy_proto::v1;
use opentracy_translate::access::{self, Keyring, Role};
use opentracy_translate::cost::Pricing;
use opentracy_translate::internal_auth::Purpose;
use opentracy_translate::model_list::Capabilities;
use prost::Message;

use crate::agent_aliases;
use crate::auto_alias;
use crate::catalog;
use crate::credential::{Credential, Credentials};
use crate::owner::{BudgetStatus, Owner};
use crate::{
    AccessLog, Alias, Config, CredentialNeed, Key, Keys, ResolvedProvider, RouteStrategy,
    WhenRouterIsDown, WithoutControlPlane,
};

/// An active configuration in all its forms. It holds keys, so it has no `Debug`.
pub struct ActiveConfig {
    pub config: Config,
    pub providers: BTreeMap<String, ResolvedProvider>,
    /// A digest of `wire`.
    pub version: String,
    pub wire: v1::Snapshot,
    /// The keys of callers. If it is empty and nothing requires a key, everybody may call.
    pub keyring: Keyring,
    /// The secret with which the gateway calls agents.
    agents_secret: String,
    /// The secret with which the filter calls the gRPC services.
    grpc_secret: String,
}

/// The callers that are admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessState {
    /// Callers with a key or a token.
    Keys,
    /// Nobody: a key is required, and none can be used.
    Closed,
    /// Everybody who can reach the listeners.
    Open,
}

impl AccessState {
    /// Returns the value in `/health`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Closed => "closed",
            Self::Open => "open",
        }
    }

    /// Returns an explanation for people.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Keys => "callers need a key or a token",
            Self::Closed => {
                "closed: callers need a key, but no key can be used; create one with `opentracy keys create admin --role admin`, or write `access.required: false` to let everybody in"
            }
            Self::Open => {
                "open: no key exists, so everybody who can reach the listeners may call models, read traces and change keys; create a key with `opentracy keys create admin --role admin`"
            }
        }
    }
}

impl ActiveConfig {
    /// Returns the callers that are currently admitted.
    pub fn access(&self) -> AccessState {
        let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default();
        if self.config.access.jwt.is_some() || self.keyring.is_usable(now) {
            AccessState::Keys
        } else if self.keyring.is_empty() && !self.wire.closed {
            AccessState::Open
        } else {
            AccessState::Closed
        }
    }

    pub fn new(
        mut config: Config,
        keys: &Keys,
        credentials: &Credentials,
        standing: &BudgetStatus,
    ) -> Arc<Self> {
        let providers = crate::providers(&config, keys);
        auto_alias::add(&mut config, &providers);
        agent_aliases::add_aliases(&mut config);
        let wire = v1::Snapshot {
            providers: providers
                .values()
                .map(|each| provider(each, credentials))
                .collect(),
            aliases: config
                .aliases
                .iter()
                .map(|(name, entry)| {
                    let owner = Owner::Alias(name.clone());
                    v1::Alias {
                        // An agent calls its own model through an alias that is not listed.
                        hidden: config
                            .agents
                            .keys()
                            .any(|agent| agent_aliases::alias_of(agent) == *name),
                        budget: standing.get(&owner).copied().unwrap_or_default().into(),
                        ..alias(name, &entry.value)
                    }
                })
                .collect(),
            models: models(&config),
            traces: Some(trace_policy(&config.traces)),
            keys: client_keys(&config, standing),
            route_deadline_ms: millis(config.router.deadline),
            jwt: config.access.jwt.as_ref().map(|jwt| v1::Jwt {
                subject_claim: jwt.value.subject_claim.clone(),
                key_claim: jwt.value.key_claim.clone(),
                allow_without_expiry: jwt.value.allow_without_expiry,
            }),
            circuit_breaker: Some(circuit_breaker(&config.circuit_breaker)),
            refuse_without_limits: config.limits.without_control_plane
                == WithoutControlPlane::Refuse,
            limit_deadline_ms: millis(config.limits.deadline),
            endpoints: config
                .endpoints
                .iter()
                .map(|(name, target)| (name.clone(), target.value.clone()))
                .collect(),
            closed: config.access.is_closed(!config.keys.is_empty()),
            internal_token: keys.secret(Purpose::Gateway),
            management_secret: keys.secret(Purpose::Management),
            own_hosts: own_hosts(&config),
            access_log: config.gateway.access_log != AccessLog::Off,
        };
        let keyring = config
            .keys
            .iter()
            .filter_map(|(name, key)| key.value.to_key(name))
            .collect();
        let mut hasher = DefaultHasher::new();
        wire.encode_to_vec().hash(&mut hasher);
        Arc::new(Self {
            config,
            providers,
            version: format!("{:016x}", hasher.finish()),
            wire,
            keyring,
            agents_secret: keys.secret(Purpose::Agents),
            grpc_secret: keys.secret(Purpose::Grpc),
        })
    }

    pub fn grpc_secret(&self) -> &str {
        &self.grpc_secret
    }

    /// Returns true if a secret is the gateway's, which calls agents like any provider.
    pub fn is_from_gateway(&self, secret: &str) -> bool {
        !self.agents_secret.is_empty() && access::is_same(&self.agents_secret, secret)
    }

    /// Returns the price of a model, named `provider/model`: the file's own or the catalog's.
    pub fn pricing(&self, id: &str) -> Option<Pricing> {
        if let Some(own) = self.config.prices.get(id) {
            return Some(own.value);
        }
        let (provider, name) = id.split_once('/')?;
        catalog::find(provider, name).map(|model| model.pricing)
    }

    /// Returns true if a provider has the key it needs.
    pub fn is_callable(&self, provider: &str) -> bool {
        self.providers
            .get(provider)
            .is_some_and(ResolvedProvider::is_callable)
    }
}

/// Returns the host names under which the gateway may be called without a key.
fn own_hosts(config: &Config) -> Vec<String> {
    let domains = config.gateway.domains.iter();
    let names = domains.map(|domain| domain.split(':').next().unwrap_or_default());
    names
        .filter(|name| !name.contains('*'))
        .map(str::to_owned)
        .chain(config.access.hosts.iter().cloned())
        .collect()
}

fn provider(provider: &ResolvedProvider, credentials: &Credentials) -> v1::Provider {
    let mut headers: Vec<v1::Header> = provider
        .headers
        .iter()
        .map(|(name, value)| v1::Header {
            name: name.clone(),
            value: value.clone(),
        })
        .collect();
    if let Key::Header { name, value } = &provider.key {
        headers.push(v1::Header {
            name: name.clone(),
            value: value.clone(),
        });
    }
    let credential = provider
        .credential_source()
        .and_then(|source| credentials.get(&source));
    if let Some(Credential::Token(token)) = credential {
        headers.push(v1::Header {
            name: "authorization".to_owned(),
            value: format!("Bearer {token}"),
        });
    }
    v1::Provider {
        name: provider.name.clone(),
        format: provider.format.number(),
        format_name: provider.format.name().to_owned(),
        envoy_cluster: provider.envoy_cluster(),
        authority: provider.authority(),
        scheme: provider.base_url.scheme().to_owned(),
        base_path: provider.base_path().to_owned(),
        headers,
        missing_key_variable: match &provider.key {
            Key::Missing { variable } => Some(variable.clone()),
            Key::Needs(need) if credential.is_none() => Some(need.variable().to_owned()),
            Key::Needs(_) | Key::Header { .. } | Key::NotNeeded => None,
        },
        timeout_ms: millis(provider.timeout),
        dialect: provider.dialect.clone(),
        path: provider.path.clone(),
        aws: aws(&provider.key, credential),
        auto_cache: provider.auto_cache,
        keys: provider
            .more_keys
            .iter()
            .map(|(name, value)| v1::Header {
                name: name.clone(),
                value: value.clone(),
            })
            .collect(),
    }
}

fn aws(key: &Key, credential: Option<&Credential>) -> Option<v1::AwsCredentials> {
    let (Key::Needs(CredentialNeed::Aws { region, .. }), Some(Credential::Aws(held))) =
        (key, credential)
    else {
        return None;
    };
    Some(v1::AwsCredentials {
        access_key_id: held.access_key_id.clone(),
        secret_access_key: held.secret_access_key.clone(),
        session_token: held.session_token.clone(),
        region: region.clone(),
    })
}

fn alias(name: &str, alias: &Alias) -> v1::Alias {
    let candidates = alias.in_order();
    let weight = |id: &String| alias.weights.get(id).map_or(1, |weight| weight.value);
    v1::Alias {
        name: name.to_owned(),
        weights: candidates.iter().map(weight).collect(),
        candidates,
        limits: Some(alias.limits.into()),
        hedge_after_ms: alias.hedge_after.map(millis),
        cache_ttl_ms: alias
            .cache
            .as_ref()
            .map_or(0, |cache| millis(cache.ttl).into()),
        retries: alias.retries,
        per_try_timeout_ms: alias.per_try_timeout.map(millis),
        strategy: match alias.route {
            RouteStrategy::InOrder => v1::Strategy::InOrder,
            RouteStrategy::Auto => v1::Strategy::Auto,
            RouteStrategy::RoundRobin => v1::Strategy::RoundRobin,
            RouteStrategy::Weighted => v1::Strategy::Weighted,
            RouteStrategy::LowestLatency => v1::Strategy::LowestLatency,
            RouteStrategy::LowestCost => v1::Strategy::LowestCost,
            RouteStrategy::Sticky => v1::Strategy::Sticky,
        }
        .into(),
        fail_without_router: alias.when_router_is_down == WhenRouterIsDown::Fail,
        traces: Some(trace_override(alias.traces)),
        budget: v1::Budget::Within.into(),
        hidden: false,
    }
}

fn trace_override(own: crate::TraceOverride) -> v1::TraceOverride {
    v1::TraceOverride {
        content: own.content,
        redact: own.redact,
    }
}

fn trace_policy(traces: &crate::Traces) -> v1::TracePolicy {
    v1::TracePolicy {
        content: traces.content,
        redact: traces.redact,
        max_content_bytes: traces.max_content_bytes,
        detectors: traces
            .detectors
            .iter()
            .map(|name| name.value.clone())
            .collect(),
        patterns: traces
            .patterns
            .iter()
            .map(|(name, pattern)| v1::Pattern {
                name: name.clone(),
                regex: pattern.value.clone(),
            })
            .collect(),
    }
}

/// Returns the keys whose secret is known. Validation has reported those whose variable is not set.
fn client_keys(config: &Config, standing: &BudgetStatus) -> Vec<v1::ClientKey> {
    let keys = config.keys.iter();
    keys.filter_map(|(name, key)| {
        let owner = Owner::Key(name.clone());
        let known = key.value.to_key(name)?;
        Some(v1::ClientKey {
            name: known.name,
            sha256: known.digest,
            traces: Some(trace_override(key.value.traces)),
            budget: standing.get(&owner).copied().unwrap_or_default().into(),
            id: known.id,
            salt: known.salt,
            role: match known.rights.role {
                Role::Admin => v1::Role::Admin,
                Role::User => v1::Role::User,
                Role::ReadOnly => v1::Role::ReadOnly,
            }
            .into(),
            models: known.rights.models,
            endpoints: known.rights.endpoints,
            expires_unix_seconds: known.rights.expires_unix_seconds,
            disabled: !known.rights.enabled,
            limits: Some(key.value.limits.into()),
        })
    })
    .collect()
}

fn circuit_breaker(policy: &crate::CircuitBreaker) -> v1::CircuitBreakerPolicy {
    v1::CircuitBreakerPolicy {
        off: !policy.enabled,
        consecutive_failures: policy.consecutive_failures,
        error_rate: policy.error_rate,
        minimum_calls: policy.minimum_calls,
        window_ms: millis(policy.window),
        open_for_ms: millis(policy.open_for),
        max_open_for_ms: millis(policy.max_open_for),
    }
}

/// Returns the catalog with the file's prices applied.
fn models(config: &Config) -> Vec<v1::Model> {
    let mut models: BTreeMap<String, v1::Model> = catalog::models()
        .iter()
        .map(|model| {
            let wire = v1::Model {
                provider: model.provider.clone(),
                name: model.name.clone(),
                pricing: Some(pricing(&model.pricing)),
                max_output_tokens: model.max_output_tokens,
                bare: catalog::is_bare(model),
                context_tokens: model.context_window,
                limits: None,
                capabilities: capabilities(model).0,
                listed: true,
            };
            (format!("{}/{}", model.provider, model.name), wire)
        })
        .collect();
    for (id, price) in &config.prices {
        if let Some(model) = model_of(&mut models, id) {
            model.pricing = Some(pricing(&price.value));
        }
    }
    for (id, own) in &config.limits.models {
        if let Some(model) = model_of(&mut models, id) {
            model.limits = Some(own.value.into());
        }
    }
    models.into_values().collect()
}

/// Returns the capabilities of a model according to the catalog.
pub fn capabilities(model: &catalog::PricedModel) -> Capabilities {
    Capabilities::from_names(model.capabilities.iter().map(String::as_str))
}

/// Returns the entry of a model, which the catalog may not know.
fn model_of<'a>(
    models: &'a mut BTreeMap<String, v1::Model>,
    id: &str,
) -> Option<&'a mut v1::Model> {
    let (provider, name) = id.split_once('/')?;
    let entry = models.entry(id.to_owned());
    Some(entry.or_insert_with(|| v1::Model {
        provider: provider.to_owned(),
        name: name.to_owned(),
        ..v1::Model::default()
    }))
}

fn pricing(pricing: &Pricing) -> v1::Pricing {
    let dollars = |price: Option<opentracy_translate::cost::Usd>| price.map(|usd| usd.0);
    v1::Pricing {
        input: dollars(pricing.input),
        output: dollars(pricing.output),
        cache_read: dollars(pricing.cache_read),
        cache_write: dollars(pricing.cache_write),
        reasoning: dollars(pricing.reasoning),
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentracy_translate::wire_format::Format;

    fn snapshot(yaml: &str) -> Arc<ActiveConfig> {
        ActiveConfig::new(
            serde_saphyr::from_str(yaml).unwrap(),
            &Keys::default(),
            &Credentials::new(),
            &BudgetStatus::new(),
        )
    }

    #[test]
    fn the_version_is_of_the_content() {
        let yaml = "aliases:\n  smart:\n    candidates: [demo/echo]\n";
        assert_eq!(snapshot(yaml).version, snapshot(yaml).version);
        assert_ne!(
            snapshot(yaml).version,
            snapshot("traces:\n  redact: true\n").version
        );
    }

    #[test]
    fn the_files_prices_win() {
        let snapshot = snapshot(
            "prices:\n  openai/gpt-4o: {input: 1e-6, output: 2e-6}\n  openai/mine: {input: 0, output: 0}\n",
        );
        let price = |name: &str| {
            let model = snapshot
                .wire
                .models
                .iter()
                .find(|model| model.provider == "openai" && model.name == name);
            model.unwrap().pricing.unwrap()
        };
        assert_eq!(price("gpt-4o").input, Some(1e-6));
        assert_eq!(price("gpt-4o").cache_read, None);
        assert_eq!(price("mine").output, Some(0.0));
    }

    #[test]
    fn formats_have_the_numbers_of_the_contract() {
        for number in 1..=6 {
            let format = Format::of_wire("", number).unwrap();
            let in_contract = v1::Format::try_from(number).unwrap();
            let name = in_contract.as_str_name().to_lowercase();
            assert_eq!(name, format!("format_{}", format.name()));
            assert_eq!(format.number(), number);
        }
    }
}
