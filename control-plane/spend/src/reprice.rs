//! Reprices stored calls: over REST, and by `opentracy reprice`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::prices::{InForce, Prices};
use opentracy_store::{Actor, AuditEntry, Filter, Order, Query, Store, StoreError};

/// Number of calls that are read and written at a time.
const PAGE: u32 = 5000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Repriced {
    /// Traces whose cost has changed.
    pub changed: u64,
    /// Traces whose cost has not changed, or whose price is not known.
    pub unchanged: u64,
}

/// Reprices the traces that a filter matches and adds an entry to the audit log. Traces without a
/// known price keep their cost.
pub async fn run(
    store: &dyn Store,
    prices: &Prices,
    filter: Filter,
    in_force: InForce,
    by: Actor,
) -> Result<Repriced, StoreError> {
    let mut outcome = Repriced::default();
    let mut query = Query {
        filter,
        order: Order::OldestFirst,
        limit: PAGE,
        after: None,
    };
    loop {
        let page = store.list(query.clone()).await?;
        let count = page.traces.len() as u64;
        let mut changed = Vec::new();
        for trace in page.traces {
            let mut record = trace.record;
            let cost = prices.cost_of(&record, in_force);
            if cost.is_some() && cost != record.cost {
                record.cost = cost;
                changed.push(record);
            }
        }
        outcome.changed += changed.len() as u64;
        outcome.unchanged += count - changed.len() as u64;
        if !changed.is_empty() {
            store.replace(changed).await?;
        }
        let Some(next) = page.next else { break };
        query.after = Some(next);
    }
    let subject = format!("{in_force:?}").to_lowercase();
    let entry = AuditEntry::new("reprice", by, subject, outcome.changed);
    store.note(entry).await?;
    Ok(outcome)
}
