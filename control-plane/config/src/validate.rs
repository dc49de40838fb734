//! Validation beyond the types of the configuration.

use std::fmt;

use opentracy_translate::endpoint::Endpoint;
use opentracy_translate::model::{self, ModelId};
use opentracy_translate::provider as registry;
use opentracy_translate::redact::{self, Redactor};
use opentracy_translate::wire_format::{Cloud, Format};
use serde_saphyr::{Location, Spanned};

use crate::catalog;
use crate::{AgentConfig, Alias, Budget, ClientKey, Config, ProviderEntry, providers};
use opentracy_proto::constants::MAX_ATTEMPTS;

/// A problem of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub file: String,
    pub line: Option<u64>,
    pub key: String,
    /// The cause and the fix.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": `{}`: {}", self.key, self.message)
    }
}

struct Checker<'a> {
    file: &'a str,
    config: &'a Config,
    problems: Vec<Problem>,
}

/// Returns all problems.
pub(super) fn problems(config: &Config, file: &str) -> Vec<Problem> {
    let mut checker = Checker {
        file,
        config,
        problems: Vec::new(),
    };
    for (name, entry) in &config.providers {
        checker.check_provider(name, entry);
    }
    for (name, alias) in &config.aliases {
        checker.check_alias(name, alias);
    }
    for (name, price) in &config.prices {
        if ModelId::parse(name).is_none() {
            checker.complain(
                price.referenced,
                format!("prices.{name}"),
                "name the model as provider/model, such as openai/gpt-4o",
            );
        }
    }
    for (name, limits) in &config.limits.models {
        if ModelId::parse(name).is_none() {
            let message = "name the model as provider/model, such as openai/gpt-4o";
            checker.complain(limits.referenced, format!("limits.models.{name}"), message);
        }
    }
    for (name, key) in &config.keys {
        checker.check_key(name, key);
    }
    checker.check_access();
    for (name, agent) in &config.agents {
        checker.check_agent(name, agent);
    }
    checker.check_endpoints();
    checker.check_traces();
    checker.problems
}

/// Returns the first line of a parser's message without the location, which is reported separately.
pub(super) fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.split_once(": ")
        .filter(|(head, _)| head.starts_with("error") || head.starts_with("line"))
        .map_or(line, |(_, rest)| rest)
        .to_owned()
}

impl Checker<'_> {
    fn complain(&mut self, at: Location, key: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem {
            file: self.file.to_owned(),
            line: (at.line() > 0).then(|| at.line()),
            key: key.into(),
            message: message.into(),
        });
    }

    fn check_provider(&mut self, name: &str, entry: &Spanned<ProviderEntry>) {
        let key = format!("providers.{name}");
        let at = entry.referenced;
        let is_plain = !name.is_empty()
            && name.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
            });
        if !is_plain {
            self.complain(
                at,
                &key,
                "a provider's name must consist of a-z, 0-9, - and _",
            );
        }
        if let Some(path) = &entry.value.path
            && (!path.value.starts_with('/') || !is_visible(&path.value))
        {
            let message = "must begin with a slash and hold no spaces, such as /v2/{model}/chat";
            self.complain(path.referenced, format!("{key}.path"), message);
        }
        if let Some(version) = &entry.value.api_version
            && !version
                .value
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            let message = "must be a version such as 2024-10-21";
            self.complain(version.referenced, format!("{key}.api_version"), message);
        }
        self.check_place(name, &key, entry);
        if registry::find(name).is_none() && name != providers::DEMO {
            if entry.value.format.is_none() {
                self.complain(
                    at,
                    format!("{key}.format"),
                    format!(
                        "is missing; write {}, whichever the server speaks",
                        format_names()
                    ),
                );
            }
            if let Some(dialect) = &entry.value.dialect
                && registry::find(&dialect.value).is_none()
            {
                self.complain(
                    dialect.referenced,
                    format!("{key}.dialect"),
                    "is not a built-in provider; write the name of one, such as mistral",
                );
            }
            let cloud = entry.value.format.and_then(|format| format.facts().cloud);
            let has_place = cloud.is_some();
            if entry.value.base_url.is_none() && !has_place {
                self.complain(
                    at,
                    format!("{key}.base_url"),
                    "is missing; write the server's address, such as https://llm.example.com/v1",
                );
            }
        }
        if let Some(url) = &entry.value.base_url
            && let Err(why) = providers::parse_base_url(&url.value)
        {
            self.complain(url.referenced, format!("{key}.base_url"), why);
        }
        for (header, value) in &entry.value.headers {
            let is_name = !header.is_empty()
                && header
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
            let is_ours = matches!(
                header.to_ascii_lowercase().as_str(),
                "host" | "content-length" | "content-type" | "transfer-encoding" | "connection"
            );
            if !is_name || is_ours || value.value.bytes().any(|byte| byte.is_ascii_control()) {
                self.complain(
                    value.referenced,
                    format!("{key}.headers.{header}"),
                    "write a valid header name and a value of one line; the gateway sets host, content-type and similar headers itself",
                );
            }
        }
    }

    /// Checks the location of a provider whose address depends on the account.
    fn check_place(&mut self, name: &str, key: &str, entry: &Spanned<ProviderEntry>) {
        let at = entry.referenced;
        let row = registry::find(name);
        let format = entry.value.format.or(row.map(|row| row.format));
        for (field, value) in [
            ("region", &entry.value.region),
            ("project", &entry.value.project),
        ] {
            if let Some(value) = value
                && !is_label(&value.value)
            {
                let message = "must consist of a-z, 0-9 and -";
                self.complain(value.referenced, format!("{key}.{field}"), message);
            }
        }
        if entry.value.base_url.is_some() {
            return;
        }
        let missing = match format.and_then(|format| format.facts().cloud) {
            Some(Cloud::Aws) => providers::aws_region(&entry.value)
                .is_none()
                .then_some(("region", "write the region, such as us-east-1")),
            Some(Cloud::Google) => providers::vertex_url(&entry.value)
                .is_none()
                .then_some(("project", "write the id of your Google Cloud project")),
            None => row.filter(|row| row.base_url.is_empty()).map(|_| {
                let what =
                    "write your resource's address, such as https://my-resource.openai.azure.com";
                ("base_url", what)
            }),
        };
        if let Some((field, what)) = missing {
            self.complain(at, format!("{key}.{field}"), format!("is missing; {what}"));
        }
    }

    fn check_routing(&mut self, key: &str, alias: &Alias) {
        let routing = &alias.routing;
        if let Some(default) = &routing.default
            && !alias
                .candidates
                .iter()
                .any(|candidate| candidate.value == default.value)
        {
            let message = format!("\"{}\" is not one of the alias's candidates", default.value);
            self.complain(
                default.referenced,
                format!("{key}.routing.default"),
                message,
            );
        }
        let figures = [
            ("cost_weight", &routing.cost_weight, f64::MAX),
            ("latency_weight", &routing.latency_weight, f64::MAX),
            ("exploration", &routing.exploration, 1.0),
        ];
        for (name, figure, greatest) in figures {
            let Some(figure) = figure else { continue };
            if !(0.0..=greatest).contains(&figure.value) {
                let message = match greatest {
                    1.0 => "must be a share, from 0 to 1",
                    _ => "must be 0 or more",
                };
                self.complain(figure.referenced, format!("{key}.routing.{name}"), message);
            }
        }
    }

    fn check_alias(&mut self, name: &str, alias: &Spanned<Alias>) {
        let key = format!("aliases.{name}");
        let at = alias.referenced;
        if !model::is_plausible_name(name) || name.contains('/') {
            self.complain(
                at,
                &key,
                "an alias's name must be a word without spaces or slashes",
            );
        }
        self.check_budget(&key, alias.value.budget.as_ref());
        if alias.value.candidates.is_empty() {
            self.complain(
                at,
                format!("{key}.candidates"),
                "is empty; list at least one provider/model",
            );
        }
        let attempts = alias
            .value
            .candidates
            .len()
            .saturating_mul(alias.value.retries as usize + 1);
        if attempts > MAX_ATTEMPTS {
            self.complain(
                at,
                format!("{key}.retries"),
                format!("leads to {attempts} attempts, and at most {MAX_ATTEMPTS} are allowed; list fewer candidates or lower `retries`"),
            );
        }
        self.check_routing(&key, &alias.value);
        for (id, weight) in &alias.value.weights {
            if !alias
                .value
                .candidates
                .iter()
                .any(|candidate| candidate.value == *id)
            {
                let message = format!("\"{id}\" is not one of the alias's candidates");
                self.complain(weight.referenced, format!("{key}.weights"), message);
            }
        }
        for candidate in &alias.value.candidates {
            if let Some(message) = self.candidate_problem(&candidate.value) {
                self.complain(candidate.referenced, format!("{key}.candidates"), message);
            }
        }
    }

    fn check_key(&mut self, name: &str, key: &Spanned<ClientKey>) {
        let place = format!("keys.{name}");
        let at = key.referenced;
        if !model::is_plausible_name(name) {
            self.complain(at, &place, "a key's name must be a word without spaces");
        }
        let ClientKey {
            sha256, key_env, ..
        } = &key.value;
        match (sha256, key_env) {
            (Some(sha256), _) => {
                let text = &sha256.value;
                if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    let message =
                        "is not a SHA-256 in hexadecimal; `printf %s KEY | sha256sum` prints it";
                    self.complain(sha256.referenced, format!("{place}.sha256"), message);
                }
            }
            (None, Some(variable)) => {
                if !std::env::var(variable).is_ok_and(|key| !key.trim().is_empty()) {
                    let message = format!("names {variable}, which is not set");
                    self.complain(at, format!("{place}.key_env"), message);
                }
            }
            (None, None) => self.complain(at, &place, "needs `sha256` or `key_env`"),
        }
        self.check_budget(&place, key.value.budget.as_ref());
    }

    fn check_agent(&mut self, name: &str, agent: &Spanned<AgentConfig>) {
        let key = format!("agents.{name}");
        let at = agent.referenced;
        if !model::is_plausible_name(name) || name.contains('/') {
            self.complain(
                at,
                &key,
                "an agent's name must be a word without spaces or slashes",
            );
        }
        if self.config.aliases.contains_key(name) {
            self.complain(at, &key, "is already the name of an alias");
        }
        if agent.value.candidates.is_empty() {
            let message = "is empty; list at least one provider/model";
            self.complain(at, format!("{key}.candidates"), message);
        }
        for candidate in &agent.value.candidates {
            if let Some(message) = self.candidate_problem(&candidate.value) {
                self.complain(candidate.referenced, format!("{key}.candidates"), message);
            }
        }
        for (server, config) in &agent.value.mcp_servers {
            let key = format!("{key}.mcp_servers.{server}");
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if server.is_empty() || !server.bytes().all(is_word) || server.contains("__") {
                let message = "a server's name must consist of letters, digits, - and single _";
                self.complain(config.referenced, &key, message);
            }
            if config.value.url.is_some() != config.value.command.is_empty() {
                self.complain(
                    config.referenced,
                    &key,
                    "needs either `url` or `command`, not both",
                );
            }
        }
    }

    fn check_access(&mut self) {
        let Some(jwt) = &self.config.access.jwt else {
            return;
        };
        if jwt.value.jwks_file.is_some() == jwt.value.jwks_url.is_some() {
            let message = "needs either `jwks_file` or `jwks_url`, not both";
            self.complain(jwt.referenced, "access.jwt", message);
        }
    }

    fn check_endpoints(&mut self) {
        for (name, target) in &self.config.endpoints {
            let key = format!("endpoints.{name}");
            let endpoint = Endpoint::named(name);
            if endpoint
                .is_none_or(|endpoint| endpoint.api().is_some() || endpoint == Endpoint::Proxy)
            {
                let message = "is not an endpoint with a default; write embeddings, images, transcriptions, translations, speech, moderations, rerank, completions, files or batches";
                self.complain(target.referenced, &key, message);
            }
            let provider = target.value.split('/').next().unwrap_or_default();
            if !self.provider_names().any(|name| name == provider) {
                let message = format!(
                    "\"{provider}\" is not a provider; write `provider` or `provider/model`"
                );
                self.complain(target.referenced, &key, message);
            }
        }
    }

    fn provider_names(&self) -> impl Iterator<Item = &str> {
        registry::PROVIDERS
            .iter()
            .map(|provider| provider.name)
            .chain(self.config.providers.keys().map(String::as_str))
            .chain([providers::DEMO])
    }

    fn check_budget(&mut self, place: &str, budget: Option<&Spanned<Budget>>) {
        let Some(budget) = budget else { return };
        if let Some(problem) = budget.value.problem() {
            self.complain(budget.referenced, format!("{place}.budget"), problem);
        }
    }

    fn check_traces(&mut self) {
        for detector in &self.config.traces.detectors {
            if let Err(error) = Redactor::new([detector.value.as_str()], []) {
                let known = redact::DEFAULT.iter().chain(&redact::NATIONAL_IDS);
                let known: Vec<&str> = known.copied().collect();
                let message = format!("{error}; write one of {}", known.join(", "));
                self.complain(detector.referenced, "traces.detectors", message);
            }
        }
        for (name, pattern) in &self.config.traces.patterns {
            if let Err(error) = Redactor::new([], [(name.as_str(), pattern.value.as_str())]) {
                let key = format!("traces.patterns.{name}");
                self.complain(pattern.referenced, key, error.to_string());
            }
        }
    }

    fn candidate_problem(&self, candidate: &str) -> Option<String> {
        if !model::is_plausible_name(candidate) {
            return Some(format!(
                "\"{candidate}\" is not a model's name; write provider/model"
            ));
        }
        let Some(id) = ModelId::parse(candidate) else {
            return Some(match catalog::provider_of(candidate) {
                Some(provider) => {
                    format!("\"{candidate}\" has no provider; write {provider}/{candidate}")
                }
                None => format!("\"{candidate}\" has no provider; write provider/model"),
            });
        };
        let names: Vec<&str> = self.provider_names().collect();
        if names.contains(&id.provider.as_str()) {
            return None;
        }
        let nearest = names
            .into_iter()
            .max_by(|a, b| {
                strsim::jaro_winkler(&id.provider, a)
                    .total_cmp(&strsim::jaro_winkler(&id.provider, b))
            })
            .unwrap_or_default();
        Some(format!(
            "\"{}\" is not a provider; did you mean {nearest}/{}? A provider of your own needs an entry under `providers`",
            id.provider, id.name
        ))
    }
}

/// Returns true if a text can be part of a host name.
fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Returns true if a text can be used in a path without escaping.
fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Returns the names of the wire formats, as a choice.
fn format_names() -> String {
    match Format::names() {
        [others @ .., last] => format!("{} or {last}", others.join(", ")),
        [] => String::new(),
    }
}
