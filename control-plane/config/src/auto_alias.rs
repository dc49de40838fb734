//! The alias `auto`, used if the file defines none: a good and a cheap model of every provider that
//! can be called.

use std::collections::BTreeMap;

use crate::{Alias, Config, DEMO, ResolvedProvider, RouteStrategy, unplaced};

pub const NAME: &str = "auto";

/// Candidates in order of preference; the first that can be called is the default.
const CANDIDATES: [(&str, &str); 12] = [
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-haiku-4-5"),
    ("openai", "gpt-4.1"),
    ("openai", "gpt-4.1-mini"),
    ("openai", "gpt-4.1-nano"),
    ("gemini", "gemini-2.5-pro"),
    ("gemini", "gemini-2.5-flash"),
    ("vertex", "gemini-2.5-pro"),
    ("vertex", "gemini-2.5-flash"),
    ("deepseek", "deepseek-chat"),
    (DEMO, "large"),
    (DEMO, "small"),
];

/// Adds the alias unless the file defines it. The demo provider's models are included only if no
/// other provider can be called.
pub fn add(config: &mut Config, providers: &BTreeMap<String, ResolvedProvider>) {
    if config.aliases.contains_key(NAME) {
        return;
    }
    let is_callable = |name: &str| {
        providers
            .get(name)
            .is_some_and(ResolvedProvider::is_callable)
    };
    let has_real = CANDIDATES
        .iter()
        .any(|(provider, _)| *provider != DEMO && is_callable(provider));
    let alias = Alias {
        candidates: CANDIDATES
            .iter()
            .filter(|(provider, _)| is_callable(provider) && !(has_real && *provider == DEMO))
            .map(|(provider, model)| unplaced(format!("{provider}/{model}")))
            .collect(),
        route: RouteStrategy::Auto,
        ..Alias::default()
    };
    config.aliases.insert(NAME.to_owned(), unplaced(alias));
}
