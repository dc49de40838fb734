//! The `opentracy check` command.

use std::path::Path;

use anyhow::Context as _;

use crate::config::{self, Provider};

/// Loads the configuration and prints the active settings. The error lists every problem.
pub fn run(path: Option<&Path>) -> anyhow::Result<()> {
    let (config, keys) = config::load(path).context("the configuration can't be used")?;
    let providers = config::providers(&config, &keys);
    let usable: Vec<&str> = providers
        .values()
        .filter(|provider| provider.is_callable())
        .map(|provider| provider.name.as_str())
        .collect();
    println!("The configuration is good.");
    println!("gateway: http://{}", config.gateway.listen);
    println!("management: http://{}", config.management.listen);
    println!("providers that can be called: {}", usable.join(", "));
    let aliases: Vec<&str> = config.aliases.keys().map(String::as_str).collect();
    println!(
        "aliases: {}",
        if aliases.is_empty() {
            "none".to_owned()
        } else {
            aliases.join(", ")
        }
    );
    for (name, alias) in &config.aliases {
        let is_callable = |candidate: &str| {
            candidate
                .split_once('/')
                .and_then(|(provider, _)| providers.get(provider))
                .is_some_and(Provider::is_callable)
        };
        for candidate in &alias.value.candidates {
            if !is_callable(&candidate.value) {
                println!(
                    "warning: `{name}` skips {}: its provider has no key",
                    candidate.value
                );
            }
        }
    }
    Ok(())
}
