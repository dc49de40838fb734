//! The configuration as the control plane last sent it, indexed for planning.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use opentracy_proto::v1;
use opentracy_translate::aws::sigv4::Credentials;
use opentracy_translate::client::responses;
use opentracy_translate::cost::{Pricing, Usd};
use opentracy_translate::format::Target;
use opentracy_translate::model;
use opentracy_translate::openai;
use opentracy_translate::openai::dialect::{self, Dialect};
use opentracy_translate::provider::{self as registry, Format};
use opentracy_translate::redact::Redactor;
use sha2::{Digest as _, Sha256};

/// A provider that requests can go to.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    pub name: String,
    pub format: Format,
    pub envoy_cluster: String,
    pub authority: String,
    pub scheme: String,
    pub base_path: String,
    /// What follows it, with `{model}` for the model; the format's own path where there is none.
    path: Option<String>,
    pub headers: Vec<(String, String)>,
    pub missing_key_variable: Option<String>,
    pub timeout_ms: u32,
    pub dialect: &'static Dialect,
    /// Requests are signed with these, for this region.
    pub aws: Option<(Credentials, String)>,
    pub auto_cache: bool,
}

/// What the catalog knows of a model.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Model {
    pub pricing: Option<Pricing>,
    pub max_output_tokens: Option<u64>,
}

#[derive(Default)]
pub struct Snapshot {
    pub version: String,
    pub providers: HashMap<String, Rc<Provider>>,
    pub aliases: HashMap<String, v1::Alias>,
    models: HashMap<String, HashMap<String, Model>>,
    /// The provider of each model that may be named without one.
    pub bare_models: HashMap<String, String>,
    pub traces: v1::TracePolicy,
    /// For the control plane's decisions.
    pub route_deadline: Duration,
    /// By their SHA-256.
    keys: HashMap<Vec<u8>, Rc<v1::ClientKey>>,
    /// Made when it is first wanted.
    redactor: OnceCell<Redactor>,
}

thread_local! {
    // One per VM, and an Envoy worker runs each VM on one thread.
    static CURRENT: RefCell<Option<Rc<Snapshot>>> = const { RefCell::new(None) };
}

/// The configuration in force; `None` until the control plane has sent one.
pub fn current() -> Option<Rc<Snapshot>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Puts a configuration in force. Requests under way keep the one they began with.
pub fn replace(snapshot: Snapshot) {
    CURRENT.with_borrow_mut(|current| *current = Some(Rc::new(snapshot)));
}

impl Snapshot {
    pub fn new(version: String, wire: v1::Snapshot) -> Self {
        let mut models: HashMap<String, HashMap<String, Model>> = HashMap::new();
        let mut bare_models = HashMap::new();
        for model in wire.models {
            if model.bare {
                bare_models
                    .entry(model.name.clone())
                    .or_insert_with(|| model.provider.clone());
            }
            let known = Model {
                pricing: model.pricing.map(|wire| pricing(&wire)),
                max_output_tokens: model.max_output_tokens.map(u64::from),
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
            keys: wire
                .keys
                .into_iter()
                .map(|key| (key.sha256.clone(), Rc::new(key)))
                .collect(),
            redactor: OnceCell::new(),
        }
    }

    /// The client's key, by what it sent.
    pub fn key(&self, secret: &str) -> Option<Rc<v1::ClientKey>> {
        if self.keys.is_empty() {
            return None;
        }
        let digest = Sha256::digest(secret.as_bytes());
        self.keys.get(digest.as_slice()).map(Rc::clone)
    }

    /// What masks. A policy that can't be followed masks with every detector there is: the control plane checks it before.
    pub fn redactor(&self) -> &Redactor {
        self.redactor.get_or_init(|| {
            let names = self.traces.detectors.iter().map(String::as_str);
            let patterns = self.traces.patterns.iter();
            let own = patterns.map(|pattern| (pattern.name.as_str(), pattern.regex.as_str()));
            Redactor::new(names, own).unwrap_or_else(|error| {
                log::error!("the trace policy can't be followed: {error}");
                Redactor::default()
            })
        })
    }

    /// What is known of a model; nothing where the catalog has no entry.
    pub fn model(&self, provider: &str, name: &str) -> Model {
        self.models
            .get(provider)
            .and_then(|models| models.get(name))
            .copied()
            .unwrap_or_default()
    }
}

impl Provider {
    /// The path of a request; `of_format` is what its format has for it.
    pub fn path(&self, model: &str, of_format: &str) -> String {
        match &self.path {
            None => format!("{}{of_format}", self.base_path),
            Some(path) => {
                let path = path.replace("{model}", &model::encode_in_path(model));
                // An OpenAI server's two APIs are neighbours.
                let path = match path.strip_suffix(openai::PATH) {
                    Some(root) if of_format == responses::PATH => format!("{root}{of_format}"),
                    _ => path,
                };
                format!("{}{path}", self.base_path)
            }
        }
    }

    /// What a model of this provider wants of a translation.
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
            format: match wire.format() {
                v1::Format::Anthropic => Format::Anthropic,
                v1::Format::Gemini => Format::Gemini,
                v1::Format::Vertex => Format::Vertex,
                v1::Format::Bedrock => Format::Bedrock,
                v1::Format::Cohere => Format::Cohere,
                v1::Format::Openai | v1::Format::Unspecified => Format::OpenAi,
            },
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
                let credentials = Credentials {
                    access_key_id: aws.access_key_id,
                    secret_access_key: aws.secret_access_key,
                    session_token: aws.session_token,
                };
                (credentials, aws.region)
            }),
            auto_cache: wire.auto_cache,
        }
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
