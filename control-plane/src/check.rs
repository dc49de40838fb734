//! The `opentracy check` command.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;

use opentracy_config::{self as config, Config, Keys, ResolvedProvider};

/// The form of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum CheckFormat {
    #[default]
    Text,
    Json,
}

/// The active settings of a valid configuration.
#[derive(Debug, Serialize)]
struct Report {
    gateway: SocketAddr,
    management: SocketAddr,
    /// Names of the providers that can be called.
    providers: Vec<String>,
    aliases: Vec<String>,
    warnings: Vec<String>,
}

/// Loads the configuration and prints the active settings. The error lists every problem.
pub fn run(path: Option<&Path>, format: CheckFormat) -> anyhow::Result<()> {
    let (config, keys) = config::load(path).context("the configuration can't be used")?;
    let report = Report::of(&config, &keys);
    match format {
        CheckFormat::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        CheckFormat::Text => report.print(),
    }
    Ok(())
}

impl Report {
    fn of(config: &Config, keys: &Keys) -> Self {
        let providers = config::providers(config, keys);
        let is_callable = |candidate: &str| {
            candidate
                .split_once('/')
                .and_then(|(provider, _)| providers.get(provider))
                .is_some_and(ResolvedProvider::is_callable)
        };
        let mut warnings = Vec::new();
        for (name, alias) in &config.aliases {
            let candidates = alias.value.candidates.iter().map(|each| &each.value);
            for candidate in candidates.filter(|candidate| !is_callable(candidate)) {
                warnings.push(format!(
                    "`{name}` skips {candidate}: its provider has no key"
                ));
            }
        }
        Self {
            gateway: config.gateway.listen,
            management: config.management.listen,
            providers: providers
                .values()
                .filter(|provider| provider.is_callable())
                .map(|provider| provider.name.clone())
                .collect(),
            aliases: config.aliases.keys().cloned().collect(),
            warnings,
        }
    }

    fn print(&self) {
        println!("The configuration is good.");
        println!("gateway: http://{}", self.gateway);
        println!("management: http://{}", self.management);
        println!(
            "providers that can be called: {}",
            self.providers.join(", ")
        );
        let aliases = match self.aliases.as_slice() {
            [] => "none".to_owned(),
            aliases => aliases.join(", "),
        };
        println!("aliases: {aliases}");
        for warning in &self.warnings {
            println!("warning: {warning}");
        }
    }
}
