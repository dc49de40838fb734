//! Statistics, computed from rows.

use std::collections::BTreeMap;

use rusqlite::{Connection, params_from_iter};

use crate::sqlite::names;
use crate::traces::sqlite::filter::Selection;
use crate::{Dimension, Micros, PicoUsd, Quantiles, Stats, StatsQuery, StoreError};

/// The start of an interval, and the numbers of one or two names.
type Group = (Option<i64>, Option<i64>, Option<i64>);

/// Accumulates one group in one interval.
#[derive(Default)]
struct Gathered {
    stats: Stats,
    latencies: Vec<u64>,
    first_tokens: Vec<u64>,
}

pub fn stats(connection: &Connection, query: &StatsQuery) -> Result<Vec<Stats>, StoreError> {
    let selection = Selection::new(connection, &query.filter)?;
    // A place is the time in microseconds, shifted left by ten bits.
    let piece = query.interval.map(|interval| interval.0.max(1));
    let sql = format!(
        "SELECT {}, traces.place >> 10, error_type IS NOT NULL, tokens_input, tokens_output, cost, latency,
            time_to_first_token {}",
        match query.group_by {
            None => "NULL, NULL".to_owned(),
            // A provider or model without the other names no model.
            Some(Dimension::Model) => {
                "IIF(model IS NULL, NULL, provider), IIF(provider IS NULL, NULL, model)".to_owned()
            }
            Some(by) => format!("{}, NULL", by.column().unwrap_or("cluster_id")),
        },
        selection.sql()
    );
    let mut groups: BTreeMap<Group, Gathered> = BTreeMap::new();
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(&selection.values))?;
    while let Some(row) = rows.next()? {
        let start = match piece {
            None => None,
            Some(piece) => Some(row.get::<_, i64>(2)? / piece * piece),
        };
        let gathered = groups.entry((start, row.get(0)?, row.get(1)?)).or_default();
        let stats = &mut gathered.stats;
        stats.requests += 1;
        stats.errors += u64::from(row.get::<_, bool>(3)?);
        stats.tokens_input += row.get::<_, Option<i64>>(4)?.unwrap_or(0).unsigned_abs();
        stats.tokens_output += row.get::<_, Option<i64>>(5)?.unwrap_or(0).unsigned_abs();
        match row.get::<_, Option<i64>>(6)? {
            Some(cost) => stats.cost.0 = stats.cost.0.saturating_add(cost),
            None => stats.unpriced += 1,
        }
        gathered.latencies.push(micros(row.get(7)?));
        gathered
            .first_tokens
            .extend(row.get::<_, Option<i64>>(8)?.map(micros));
    }
    let names = names::all(connection)?;
    let name = |number: Option<i64>| number.and_then(|number| names.get(&number));
    let mut all: Vec<Stats> = groups
        .into_iter()
        .map(|((start, first, second), mut gathered)| Stats {
            start: start.map(Micros),
            group: match query.group_by {
                Some(Dimension::Model) => name(first)
                    .zip(name(second))
                    .map(|(provider, model)| format!("{provider}/{model}")),
                Some(Dimension::Cluster) => first.map(|cluster| cluster.to_string()),
                _ => name(first).cloned(),
            },
            latency: Quantiles::of(&mut gathered.latencies),
            time_to_first_token: Quantiles::of(&mut gathered.first_tokens),
            ..gathered.stats
        })
        .collect();
    all.sort_by(|a, b| (a.start, &a.group).cmp(&(b.start, &b.group)));
    Ok(all)
}

pub fn spent(
    connection: &Connection,
    since: Micros,
    by: Dimension,
) -> Result<Vec<(String, PicoUsd)>, StoreError> {
    let query = StatsQuery::spending(since, by);
    let named = |stats: Stats| Some((stats.group?, stats.cost));
    Ok(stats(connection, &query)?
        .into_iter()
        .filter_map(named)
        .collect())
}

/// Converts a duration in microseconds; one that a clock made negative is 0.
fn micros(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use opentracy_proto::v1;
    use uuid::Uuid;

    use super::*;
    use crate::{Batch, Sqlite, TraceStore as _};

    #[tokio::test]
    async fn a_call_of_hours_keeps_its_latency() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("traces.db")).unwrap();
        let hours = |hours: u64| hours * 3600 * 1_000_000;
        let traces = [hours(1), hours(2), hours(5)].map(|latency_micros| v1::Trace {
            id: Uuid::now_v7().to_string(),
            latency_micros,
            time_to_first_token_micros: Some(latency_micros),
            ..v1::Trace::default()
        });
        let mut batch = Batch::default();
        batch.add(v1::IngestRequest {
            traces: traces.into(),
            attempts: Vec::new(),
        });
        store.write(batch).await.unwrap();
        let query = StatsQuery {
            filter: crate::Filter::default(),
            group_by: None,
            interval: None,
        };
        let stats = store.stats(query).await.unwrap();
        let quantiles = Quantiles {
            p50: Micros::from(hours(2)),
            p95: Micros::from(hours(5)),
            p99: Micros::from(hours(5)),
        };
        assert_eq!(stats[0].latency, Some(quantiles));
        assert_eq!(stats[0].time_to_first_token, Some(quantiles));
    }
}
