//! Writes traces, and changes or deletes their rows.

use std::collections::{HashMap, HashSet};

use clickhouse::Row;
use serde::Deserialize;

use crate::clickhouse::ClickHouse;
use crate::traces::clickhouse::ALL_FIGURES;
use crate::traces::clickhouse::filter::Conditions;
use crate::traces::clickhouse::row::{AttemptRow, BodyRow, CallRow};
use crate::traces::clickhouse::sql::{list, number};
use crate::{Batch, Filter, Micros, Record, SortKey, StoreError};
use opentracy_base::clock;

/// Makes a mutation finish before its statement returns.
const AND_WAIT: &str = "SETTINGS mutations_sync = 2";

#[derive(Row, Deserialize)]
struct Id {
    id: u128,
}

impl ClickHouse {
    /// Returns the ids that are already stored.
    async fn known(&self, records: &[Record]) -> Result<HashSet<u128>, StoreError> {
        let places = || records.iter().map(|record| SortKey::of_record(record).0);
        let (Some(first), Some(last)) = (places().min(), places().max()) else {
            return Ok(HashSet::new());
        };
        let ids = records.iter().map(|record| number(record.id.as_u128()));
        let sql = format!(
            "SELECT id FROM {} WHERE place BETWEEN ? AND ? AND id IN ({})",
            self.calls(),
            list(ids)
        );
        let query = self.client().query(&sql).bind(first).bind(last);
        let found: Vec<Id> = query.fetch_all().await?;
        Ok(found.into_iter().map(|row| row.id).collect())
    }

    pub(super) async fn insert_batch(&self, batch: Batch) -> Result<Vec<Record>, StoreError> {
        let _turn = self.turn_to_write().await;
        let Batch { records, attempts } = batch;
        let (records, words): (Vec<Record>, Vec<String>) = records.into_iter().unzip();
        let mut known = self.known(&records).await?;
        let mut new = Vec::new();
        let (mut calls, mut bodies) = (Vec::new(), Vec::new());
        for (record, words) in records.into_iter().zip(words) {
            if known.insert(record.id.as_u128()) {
                calls.push(CallRow::new(&record, words, 0));
                bodies.push(BodyRow::new(&record, 0)?);
                new.push(record);
            }
        }
        // Attempts and bodies first: they can be written twice, and a stored call is then always
        // complete.
        let attempts: Vec<AttemptRow> = attempts.into_iter().map(AttemptRow::from).collect();
        self.insert("attempts", &attempts).await?;
        self.insert("bodies", &bodies).await?;
        self.insert("calls", &calls).await?;
        Ok(new)
    }

    pub(super) async fn put(&self, records: Vec<Record>) -> Result<(), StoreError> {
        let _turn = self.turn_to_write().await;
        let times = || records.iter().map(|record| record.started_at);
        let (Some(first), Some(last)) = (times().min(), times().max()) else {
            return Ok(());
        };
        // A later write needs a greater version.
        let version = u32::try_from(clock::now().0 / 1_000_000).unwrap_or(u32::MAX);
        let ids = records.iter().map(|record| number(record.id.as_u128()));
        let which = format!(
            "id IN ({}) AND started_at >= fromUnixTimestamp64Micro({}) AND started_at <= fromUnixTimestamp64Micro({})",
            list(ids),
            first.0,
            last.0
        );
        #[derive(Row, Deserialize)]
        struct Words {
            id: u128,
            words: String,
        }
        let sql = format!("SELECT id, words FROM {} WHERE {which}", self.calls());
        let words: Vec<Words> = self.client().query(&sql).fetch_all().await?;
        let mut words: HashMap<u128, String> =
            words.into_iter().map(|row| (row.id, row.words)).collect();
        let (mut calls, mut bodies) = (Vec::new(), Vec::new());
        for record in &records {
            if let Some(words) = words.remove(&record.id.as_u128()) {
                calls.push(CallRow::new(record, words, version));
                bodies.push(BodyRow::new(record, version)?);
            }
        }
        self.insert("bodies", &bodies).await?;
        self.insert("calls", &calls).await?;
        for table in ["calls", "bodies"] {
            self.execute(&format!(
                "ALTER TABLE {}{} DELETE WHERE {which} AND version < {version} {AND_WAIT}",
                self.topology().local(table),
                self.topology().on_cluster(),
            ))
            .await?;
        }
        self.recount(first, last).await
    }

    pub(super) async fn remove(&self, filter: Filter) -> Result<u64, StoreError> {
        #[derive(Row, Deserialize)]
        struct Extent {
            count: u64,
            first: i64,
            last: i64,
        }
        let _turn = self.turn_to_write().await;
        let conditions = Conditions::new(&filter);
        let (calls, everywhere) = (self.calls(), self.topology().on_cluster());
        let sql = format!(
            "SELECT uniqExact(id) AS count, min(toUnixTimestamp64Micro(started_at)) AS first,
                max(toUnixTimestamp64Micro(started_at)) AS last FROM {calls} WHERE {}",
            conditions.sql()
        );
        let extent: Extent = conditions
            .bind(self.client().query(&sql))
            .fetch_one()
            .await?;
        if extent.count == 0 {
            return Ok(0);
        }
        let of_traces = self.schema().tables();
        let of_traces = of_traces.filter_map(|table| Some((table.name, table.trace_id?)));
        for (table, id) in of_traces.chain([("bodies", "id")]) {
            let about_them = format!(
                "ALTER TABLE {}{everywhere} DELETE WHERE {id} IN (SELECT id FROM {calls} WHERE {}) {AND_WAIT}",
                self.topology().local(table),
                conditions.sql()
            );
            let query = conditions.bind(self.client().query(&about_them));
            query.execute().await?;
        }
        let rows = format!(
            "ALTER TABLE {}{everywhere} DELETE WHERE {} {AND_WAIT}",
            self.topology().local("calls"),
            conditions.sql()
        );
        conditions
            .bind(self.client().query(&rows))
            .execute()
            .await?;
        self.recount(Micros(extent.first), Micros(extent.last))
            .await?;
        Ok(extent.count)
    }

    /// Recomputes the statistics of a time range after rows in it changed.
    async fn recount(&self, first: Micros, last: Micros) -> Result<(), StoreError> {
        for figures in &ALL_FIGURES {
            let (period, of_time) = figures.period;
            let bound =
                |time: Micros| format!("{of_time}(fromUnixTimestamp64Micro({}, 'UTC'))", time.0);
            let within = |column: &str| {
                format!(
                    "{column} >= {} AND {column} <= {}",
                    bound(first),
                    bound(last)
                )
            };
            self.execute(&format!(
                "ALTER TABLE {}{} DELETE WHERE {} {AND_WAIT}",
                self.topology().local(figures.name()),
                self.topology().on_cluster(),
                within(period)
            ))
            .await?;
            let source = self.calls();
            let condition = within(&format!("{of_time}(t.started_at)"));
            self.execute(&format!(
                "INSERT INTO {} {}",
                self.topology().table(figures.name()),
                figures.select(&source, &condition)
            ))
            .await?;
        }
        Ok(())
    }
}
