//! Spending against budgets.
//!
//! Calls are counted when their records are accepted, so that nobody can overspend while the store
//! is down. Records accepted by an earlier run are counted when this one stores them. The store is
//! queried from time to time, and its sums replace the counts.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use opentracy_proto::v1;
use tokio::sync::watch;
use uuid::Uuid;

use opentracy_base::clock;
use opentracy_config::owner::{BudgetStatus, Owner};
use opentracy_config::snapshot::ActiveConfig;
use opentracy_config::{Budget, Config, Period};
use opentracy_ingest::{Ingest, Observer};
use opentracy_store::{Dimension, Micros, PicoUsd, Record, Store, StoreError};

/// Interval between queries of the store.
const RECOUNT_EVERY: Duration = Duration::from_secs(300);
/// Maximum number of calls that were counted but not stored yet. Beyond it, calls are counted when
/// they are stored.
const MAX_AHEAD: usize = 500_000;

/// Spending in the current periods.
#[derive(Default)]
struct Spending {
    day: Tally,
    month: Tally,
    /// Calls that were counted but not stored yet.
    ahead: HashSet<u128>,
}

/// Spending in one period.
#[derive(Default)]
struct Tally {
    since: Micros,
    spent: BTreeMap<Owner, PicoUsd>,
}

impl Tally {
    /// Clears the sums if another period has started.
    fn begin(&mut self, since: Micros) {
        if self.since != since {
            self.since = since;
            self.spent.clear();
        }
    }
}

impl Spending {
    fn of(&self, period: Period) -> &Tally {
        match period {
            Period::Day => &self.day,
            Period::Month => &self.month,
        }
    }

    /// Adds the cost of a call to its owners.
    fn add(&mut self, started_at: Micros, owners: [Option<Owner>; 2], cost: PicoUsd) {
        for owner in owners.into_iter().flatten() {
            for tally in [&mut self.day, &mut self.month] {
                if started_at >= tally.since {
                    let spent = tally.spent.entry(owner.clone()).or_default();
                    spent.0 = spent.0.saturating_add(cost.0);
                }
            }
        }
    }
}

pub struct Ledger {
    spending: Mutex<Spending>,
    snapshot: watch::Receiver<Arc<ActiveConfig>>,
    standing: watch::Sender<BudgetStatus>,
}

impl Ledger {
    pub fn new(
        snapshot: watch::Receiver<Arc<ActiveConfig>>,
        standing: watch::Sender<BudgetStatus>,
    ) -> Arc<Self> {
        let ledger = Self {
            spending: Mutex::default(),
            snapshot,
            standing,
        };
        ledger.begin_periods(clock::now());
        Arc::new(ledger)
    }

    fn spending(&self) -> MutexGuard<'_, Spending> {
        self.spending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the task that keeps the ledger up to date for as long as the process runs.
    pub fn start(self: &Arc<Self>, store: Arc<dyn Store>, ingest: Ingest) {
        tokio::spawn(Arc::clone(self).keep(store, ingest));
    }

    async fn keep(self: Arc<Self>, store: Arc<dyn Store>, ingest: Ingest) {
        let mut snapshot = self.snapshot.clone();
        let mut recount = tokio::time::interval(RECOUNT_EVERY);
        loop {
            tokio::select! {
                // A new configuration may have other limits.
                changed = snapshot.changed() => if changed.is_err() { return },
                _ = recount.tick() => {
                    // Records that are still on their way would be missing from the store's sums.
                    if ingest.settled(Duration::from_secs(5)).await
                        && let Err(error) = self.recount(&*store).await
                    {
                        tracing::warn!("spending can't be queried from the store: {error}");
                    }
                }
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
            self.begin_periods(clock::now());
            self.publish();
        }
    }

    async fn recount(&self, store: &dyn Store) -> Result<(), StoreError> {
        if !has_budgets(&self.snapshot.borrow().config) {
            return Ok(());
        }
        let (day, month) = {
            let spending = self.spending();
            (spending.day.since, spending.month.since)
        };
        let mut counted = Vec::new();
        for since in [day, month] {
            let mut all = BTreeMap::new();
            for (name, spent) in store.spent(since, Dimension::Key).await? {
                all.insert(Owner::Key(name), spent);
            }
            for (name, spent) in store.spent(since, Dimension::Alias).await? {
                all.insert(Owner::Alias(name), spent);
            }
            counted.push(all);
        }
        let mut spending = self.spending();
        if (spending.day.since, spending.month.since) == (day, month) {
            spending.month.spent = counted.pop().unwrap_or_default();
            spending.day.spent = counted.pop().unwrap_or_default();
            spending.ahead.clear();
        }
        Ok(())
    }

    fn begin_periods(&self, now: Micros) {
        let (day, month) = periods(now);
        let mut spending = self.spending();
        spending.day.begin(day);
        spending.month.begin(month);
    }

    fn publish(&self) {
        let standing = self.stand();
        self.standing.send_if_modified(|current| {
            let is_news = *current != standing;
            if is_news {
                for (owner, budget) in &standing {
                    if current.get(owner) != Some(budget) {
                        tracing::warn!(?owner, ?budget, "a budget has passed a limit");
                    }
                }
                *current = standing;
            }
            is_news
        });
    }

    fn stand(&self) -> BudgetStatus {
        self.report()
            .into_iter()
            .filter_map(|(owner, budget, spent)| {
                let beyond = |limit: Option<f64>| limit.is_some_and(|limit| spent.usd() >= limit);
                let stands = match () {
                    () if beyond(budget.hard) => v1::Budget::HardLimit,
                    () if beyond(budget.soft) => v1::Budget::SoftLimit,
                    () => return None,
                };
                Some((owner, stands))
            })
            .collect()
    }

    /// Returns every budget with its limits and the amount spent.
    pub fn report(&self) -> Vec<(Owner, Budget, PicoUsd)> {
        let snapshot = self.snapshot.borrow().clone();
        let spending = self.spending();
        budgets(&snapshot.config)
            .map(|(owner, budget)| {
                let spent = spending.of(budget.period).spent.get(&owner);
                let spent = spent.copied().unwrap_or_default();
                (owner, budget, spent)
            })
            .collect()
    }
}

fn budgets(config: &Config) -> impl Iterator<Item = (Owner, Budget)> {
    let keys = config.keys.iter().filter_map(|(name, key)| {
        Some((Owner::Key(name.clone()), key.value.budget.as_ref()?.value))
    });
    let aliases = config.aliases.iter().filter_map(|(name, alias)| {
        Some((
            Owner::Alias(name.clone()),
            alias.value.budget.as_ref()?.value,
        ))
    });
    keys.chain(aliases)
}

fn has_budgets(config: &Config) -> bool {
    budgets(config).next().is_some()
}

/// Returns the start of a time's day and of its month, in UTC.
fn periods(now: Micros) -> (Micros, Micros) {
    let time = jiff::Timestamp::from_microsecond(now.0).unwrap_or_default();
    let date = time.to_zoned(TimeZone::UTC).date();
    let micros = |date: jiff::civil::Date| {
        let start = date.to_zoned(TimeZone::UTC).map(|start| start.timestamp());
        Micros(start.map_or(0, |start| start.as_microsecond()))
    };
    (micros(date), micros(date.first_of_month()))
}

impl Observer for Ledger {
    fn on_taken(&self, request: &v1::IngestRequest) {
        let mut spending = self.spending();
        for trace in &request.traces {
            let Some(cost) = trace.cost else { continue };
            let Ok(id) = Uuid::try_parse(&trace.id) else {
                continue;
            };
            if spending.ahead.len() >= MAX_AHEAD || !spending.ahead.insert(id.as_u128()) {
                continue;
            }
            let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
            let owners = [
                named(&trace.key).map(Owner::Key),
                named(&trace.alias).map(Owner::Alias),
            ];
            let cost = PicoUsd::from_usd(cost.total);
            spending.add(trace.start_unix_micros.into(), owners, cost);
        }
        drop(spending);
        self.publish();
    }

    fn on_stored(&self, records: &[Record]) {
        let mut spending = self.spending();
        for record in records {
            let was_counted = spending.ahead.remove(&record.id.as_u128());
            if let Some(cost) = record.cost
                && !was_counted
            {
                let owners = [
                    record.key.clone().map(Owner::Key),
                    record.alias.clone().map(Owner::Alias),
                ];
                spending.add(record.started_at, owners, cost.total);
            }
        }
        drop(spending);
        self.publish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_begin_at_midnight() {
        let at = |text: &str| Micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond());
        assert_eq!(
            periods(at("2026-11-21T15:04:05Z")),
            (at("2026-11-21T00:00:00Z"), at("2026-11-01T00:00:00Z"))
        );
    }
}
