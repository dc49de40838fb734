//! A configuration, indexed for planning.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use opentracy_proto::v1;
use opentracy_translate::access::{self, Keyring};
use opentracy_translate::model_list::{Capabilities, Facts, ListedModel};
use opentracy_translate::redact::Redactor;

use super::catalog::{CatalogEntry, pricing};
use super::client::{Client, key};
use super::provider::Provider;

/// The time for which a removed provider can still be called. The two stages poll independently, so
/// a plan may be older than the configuration that it is executed with.
const RETIRED_FOR: Duration = Duration::from_secs(10);

/// Holds a configuration by its names. The maps are ordered, because a wasm VM takes longer to hash
/// a name than to compare it with a few.
#[derive(Default)]
pub struct Snapshot {
    pub version: String,
    pub providers: BTreeMap<String, Rc<Provider>>,
    pub aliases: BTreeMap<String, v1::Alias>,
    models: BTreeMap<String, BTreeMap<String, CatalogEntry>>,
    /// The provider of each model that clients may name without one.
    pub bare_models: BTreeMap<String, String>,
    pub traces: v1::TracePolicy,
    /// The deadline for the control plane's routing decisions.
    pub route_deadline: Duration,
    pub keyring: Keyring,
    /// By name.
    pub clients: BTreeMap<String, Rc<Client>>,
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
    retired: BTreeMap<String, (Rc<Provider>, Instant)>,
    /// Built on first use.
    redactor: OnceCell<Redactor>,
}

impl Snapshot {
    pub fn new(version: String, wire: v1::Snapshot) -> Self {
        let mut models: BTreeMap<String, BTreeMap<String, CatalogEntry>> = BTreeMap::new();
        let mut bare_models = BTreeMap::new();
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
            providers: by_name(wire.providers.into_iter().map(|provider| {
                let name = provider.name.clone();
                (name, Rc::new(Provider::new(provider)))
            })),
            aliases: by_name(
                wire.aliases
                    .into_iter()
                    .map(|alias| (alias.name.clone(), alias)),
            ),
            models,
            bare_models,
            traces: wire.traces.unwrap_or_default(),
            route_deadline: Duration::from_millis(wire.route_deadline_ms.into()),
            keyring: wire.keys.iter().map(key).collect(),
            clients: by_name(wire.keys.into_iter().map(|wire| {
                let rights = key(&wire).rights;
                (wire.name.clone(), Rc::new(Client { wire, rights }))
            })),
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
            retired: BTreeMap::new(),
            redactor: OnceCell::new(),
        }
    }

    /// Keeps the providers of an older configuration that this one lacks.
    pub(super) fn retire_providers(&mut self, old: &Self, now: Instant) {
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
        let aliases = self.aliases.values().filter(|alias| !alias.hidden);
        let aliases =
            aliases.map(|alias| ListedModel::of_alias(&alias.name, alias.candidates.clone()));
        let is_callable = |provider: &str| {
            let provider = self.providers.get(provider);
            provider.is_some_and(|provider| provider.missing_key_variable.is_none())
        };
        let models = self
            .models
            .iter()
            .filter(move |(provider, _)| is_callable(provider))
            .flat_map(|(provider, models)| {
                let listed = models.iter().filter(|(_, model)| model.is_listed);
                listed.map(move |(name, model)| (provider.as_str(), name.as_str(), model))
            });
        let models = models.map(|(provider, name, model)| {
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

/// Returns a map. `collect` would compile a sort for each type.
fn by_name<T>(named: impl Iterator<Item = (String, T)>) -> BTreeMap<String, T> {
    let mut map = BTreeMap::new();
    map.extend(named);
    map
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
