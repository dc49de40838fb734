//! What models cost, and since when: a call is priced with what was in force at its time.
//!
//! A file of the state folder remembers every change, a line each.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use opentracy_proto::v1;
use opentracy_translate::cost::{Pricing, Usage, Usd};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::snapshot::Snapshot;
use crate::store::{Cost, Micros, Record, Tokens};

/// Which prices a call is priced with.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum InForce {
    /// Those at the time of the call.
    #[default]
    Then,
    /// Those of now: for when they were wrong.
    Now,
}

#[derive(Serialize, Deserialize)]
struct Line {
    since: Micros,
    /// `provider/model`.
    model: String,
    pricing: Pricing,
}

/// A model's prices, each from its time on, in order.
type History = BTreeMap<String, Vec<(Micros, Pricing)>>;

pub struct Prices {
    path: PathBuf,
    history: Mutex<History>,
}

impl Prices {
    /// Reads what a state folder remembers.
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
        // The last line may be half of one.
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Line>(line).ok());
        for line in lines {
            let entries = history.entry(line.model).or_default();
            entries.push((line.since, line.pricing));
        }
        Ok(Self {
            path,
            history: Mutex::new(history),
        })
    }

    /// Remembers what is in force, now and whenever it changes.
    pub async fn keep(self: Arc<Self>, mut snapshot: watch::Receiver<Arc<Snapshot>>) {
        loop {
            let current = snapshot.borrow_and_update().clone();
            if let Err(error) = self.note(&current, Micros::now()) {
                tracing::error!("the history of prices can't be written: {error:#}");
            }
            if snapshot.changed().await.is_err() {
                return;
            }
        }
    }

    /// Remembers what has changed.
    pub fn note(&self, snapshot: &Snapshot, now: Micros) -> anyhow::Result<()> {
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
            crate::secrets::secure_fs::create_dir(folder)?;
        }
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.create(true).append(true).open(&self.path)?;
        file.write_all(&lines)?;
        Ok(())
    }

    /// What a call costs. What was before the first price known is priced with that. `None` where no price is known.
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

    /// What a stored call costs; `None` where it can't be told.
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
    use crate::config::Keys;
    use crate::credentials::source::Credentials;
    use crate::spend::owner::Standing;

    fn snapshot(input: &str) -> Arc<Snapshot> {
        let yaml = format!("prices:\n  openai/mine: {{input: {input}, output: 0}}\n");
        let config = serde_saphyr::from_str(&yaml).unwrap();
        Snapshot::new(
            config,
            &Keys::default(),
            &Credentials::new(),
            &Standing::new(),
        )
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
