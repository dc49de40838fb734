//! History of model prices: a call costs what applied at its time.
//!
//! A file in the state folder records every change, one per line.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use opentracy_proto::v1;
use opentracy_translate::cost::{Pricing, Usage, Usd};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use opentracy_base::clock;
use opentracy_config::snapshot::ActiveConfig;
use opentracy_store::{Cost, Micros, Record, Tokens};

/// The prices that a call is priced with.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum InForce {
    /// Those at the time of the call.
    #[default]
    Then,
    /// The current ones, for when earlier ones were wrong.
    Now,
}

#[derive(Serialize, Deserialize)]
struct Line {
    since: Micros,
    /// `provider/model`.
    model: String,
    pricing: Pricing,
}

/// Prices by model, each with the time from which it applies, in order.
type History = BTreeMap<String, Vec<(Micros, Pricing)>>;

pub struct Prices {
    path: PathBuf,
    history: Mutex<History>,
    /// Set if the file ends with an incomplete line.
    is_torn: AtomicBool,
}

impl Prices {
    /// Reads the history from a state folder.
    pub fn open(state: &Path) -> anyhow::Result<Self> {
        let path = state.join("prices.jsonl");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("{} can't be read", path.display()));
            }
        };
        let mut history = History::new();
        // The last line may be incomplete after a crash.
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Line>(line).ok());
        for line in lines {
            let entries = history.entry(line.model).or_default();
            entries.push((line.since, line.pricing));
        }
        let is_torn = !text.is_empty() && !text.ends_with('\n');
        Ok(Self {
            path,
            history: Mutex::new(history),
            is_torn: AtomicBool::new(is_torn),
        })
    }

    /// Starts the task that records the current prices, at the start and whenever they change.
    pub fn start(self: &Arc<Self>, snapshot: watch::Receiver<Arc<ActiveConfig>>) {
        tokio::spawn(Arc::clone(self).keep(snapshot));
    }

    async fn keep(self: Arc<Self>, mut snapshot: watch::Receiver<Arc<ActiveConfig>>) {
        loop {
            let current = snapshot.borrow_and_update().clone();
            if let Err(error) = self.note(&current, clock::now()) {
                tracing::error!("the history of prices can't be written: {error:#}");
            }
            if snapshot.changed().await.is_err() {
                return;
            }
        }
    }

    /// Records prices that have changed.
    pub fn note(&self, snapshot: &ActiveConfig, now: Micros) -> anyhow::Result<()> {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = Vec::new();
        for (model, pricing) in snapshot.wire.models.iter().filter_map(priced) {
            let entries = history.entry(model.clone()).or_default();
            if entries.last().is_none_or(|(_, last)| *last != pricing) {
                entries.push((now, pricing));
                let since = now;
                serde_json::to_writer(
                    &mut lines,
                    &Line {
                        since,
                        model,
                        pricing,
                    },
                )?;
                lines.push(b'\n');
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        if let Some(folder) = self.path.parent() {
            opentracy_base::secure_fs::create_dir(folder)?;
        }
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.create(true).append(true).open(&self.path)?;
        if self.is_torn.swap(false, Ordering::Relaxed) {
            // A line that a crash cut off must not take the next one with it.
            lines.insert(0, b'\n');
        }
        file.write_all(&lines)?;
        Ok(())
    }

    /// Returns the cost of a call, or `None` if no price is known. A call from before the first
    /// known price is priced with that one.
    pub fn cost(
        &self,
        provider: &str,
        model: &str,
        tokens: &Tokens,
        time: Option<Micros>,
    ) -> Option<Cost> {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = history.get(&format!("{provider}/{model}"))?;
        let in_force = match time {
            Some(time) => entries.iter().rev().find(|(since, _)| *since <= time),
            None => entries.last(),
        };
        let (_, pricing) = in_force.or(entries.first())?;
        let usage = Usage {
            input: tokens.input,
            output: tokens.output,
            cache_read: tokens.cache_read,
            cache_write: tokens.cache_write,
            reasoning: tokens.reasoning,
        };
        let cost = pricing.cost(&usage)?;
        Some(Cost {
            input: cost.input.into(),
            output: cost.output.into(),
            cache_read: cost.cache_read.into(),
            cache_write: cost.cache_write.into(),
            total: cost.total.into(),
        })
    }

    /// Returns the cost of a stored call, or `None` if it can't be determined.
    pub fn cost_of(&self, record: &Record, in_force: InForce) -> Option<Cost> {
        let time = (in_force == InForce::Then).then_some(record.started_at);
        let (provider, model) = (record.provider.as_ref()?, record.model.as_ref()?);
        self.cost(provider, model, record.tokens.as_ref()?, time)
    }
}

fn priced(model: &v1::Model) -> Option<(String, Pricing)> {
    let wire = model.pricing.as_ref()?;
    let pricing = Pricing {
        input: wire.input.map(Usd),
        output: wire.output.map(Usd),
        cache_read: wire.cache_read.map(Usd),
        cache_write: wire.cache_write.map(Usd),
        reasoning: wire.reasoning.map(Usd),
    };
    Some((format!("{}/{}", model.provider, model.name), pricing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentracy_config::Keys;
    use opentracy_config::credential::Credentials;
    use opentracy_config::owner::BudgetStatus;

    fn snapshot(input: &str) -> Arc<ActiveConfig> {
        let yaml = format!("prices:\n  openai/mine: {{input: {input}, output: 0}}\n");
        let config = serde_saphyr::from_str(&yaml).unwrap();
        ActiveConfig::new(
            config,
            &Keys::default(),
            &Credentials::new(),
            &BudgetStatus::new(),
        )
    }

    #[test]
    fn an_incomplete_last_line_does_not_take_the_next_with_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("prices.jsonl"), "{\"since\":1,\"mod").unwrap();
        let prices = Prices::open(folder.path()).unwrap();
        prices.note(&snapshot("1e-6"), Micros(100)).unwrap();
        let again = Prices::open(folder.path()).unwrap();
        let tokens = Tokens {
            input: 1_000_000,
            ..Tokens::default()
        };
        let cost = again.cost("openai", "mine", &tokens, None);
        assert_eq!(cost.unwrap().total.usd(), 1.0);
    }

    #[test]
    fn a_call_costs_what_it_cost_then() {
        let folder = tempfile::tempdir().unwrap();
        {
            let prices = Prices::open(folder.path()).unwrap();
            prices.note(&snapshot("1e-6"), Micros(100)).unwrap();
            prices.note(&snapshot("1e-6"), Micros(150)).unwrap();
            prices.note(&snapshot("2e-6"), Micros(200)).unwrap();
        }
        let prices = Prices::open(folder.path()).unwrap();
        let tokens = Tokens {
            input: 1_000_000,
            ..Tokens::default()
        };
        let cost = |time: Option<i64>| {
            let cost = prices.cost("openai", "mine", &tokens, time.map(Micros));
            cost.unwrap().total.usd()
        };
        assert_eq!(cost(Some(50)), 1.0);
        assert_eq!(cost(Some(199)), 1.0);
        assert_eq!(cost(Some(200)), 2.0);
        assert_eq!(cost(None), 2.0);
        assert!(prices.cost("openai", "unknown", &tokens, None).is_none());
        let lines = std::fs::read_to_string(folder.path().join("prices.jsonl")).unwrap();
        assert_eq!(
            lines
                .lines()
                .filter(|line| line.contains("openai/mine"))
                .count(),
            2
        );
    }
}
