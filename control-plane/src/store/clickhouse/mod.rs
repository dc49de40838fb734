//! Traces in ClickHouse, for those whom one machine is not enough.
//!
//! A record is one row. Before a batch is inserted, those of its ids that are there are left out: one control plane never
//! stores a record twice, however often it is given it. Two that are given the same record in the same moment may; ClickHouse
//! then merges the rows, and a page shows one of them.

mod filter;
mod row;
mod schema;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use clickhouse::{Client, Compression, Row};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OnceCell};
use uuid::Uuid;

use crate::config;
use crate::store::{
    Attempt, AuditEntry, Batch, Cursor, Dimension, Filter, Micros, Order, Page, PicoUsd, Place,
    Quantiles, Query, Record, Stats, StatsQuery, Store, StoreError, Trace,
};
use filter::{Conditions, Value};
use row::{AttemptRow, TraceRow};
use schema::Topology;

/// A change of rows is over when its statement returns.
const AND_WAIT: &str = "SETTINGS mutations_sync = 2";

pub struct ClickHouse {
    client: Client,
    topology: Topology,
    /// Set when the tables are those of this version.
    migrated: OnceCell<()>,
    /// Held by whoever writes traces, so that figures can be made anew without losing any.
    writing: Mutex<()>,
}

#[derive(Row, Deserialize)]
struct Id {
    id: u128,
}

impl ClickHouse {
    pub fn new(config: &config::ClickHouse, password: Option<&str>, retention_days: u64) -> Self {
        let mut client = Client::default()
            .with_url(config.url.as_str())
            .with_compression(match config.compression {
                config::Compression::None => Compression::None,
                config::Compression::Lz4 => Compression::Lz4,
            });
        if let Some(user) = &config.user {
            client = client.with_user(user);
        }
        if let Some(password) = password {
            client = client.with_password(password);
        }
        if config.cluster.is_some() {
            // A row is on its shard when an insert returns.
            client = client.with_setting("distributed_foreground_insert", "1");
        }
        Self {
            client,
            topology: Topology::new(config, retention_days),
            migrated: OnceCell::new(),
            writing: Mutex::new(()),
        }
    }

    /// Brings the tables to this version, once. A server that is away now is asked again with the next work.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.migrated.get_or_try_init(|| self.take_steps()).await?;
        Ok(())
    }

    async fn take_steps(&self) -> Result<(), StoreError> {
        for statement in self.topology.foundation() {
            self.execute(&statement).await?;
        }
        let versions = self.topology.table("schema_migrations");
        let applied: u32 = self
            .client
            .query(&format!("SELECT max(version) FROM {versions}"))
            .fetch_one()
            .await?;
        let migrations = self.topology.migrations();
        if applied as usize > migrations.len() {
            return Err(StoreError::Newer {
                found: applied,
                known: migrations.len(),
            });
        }
        for (index, migration) in migrations.iter().enumerate().skip(applied as usize) {
            for statement in &migration.statements {
                self.execute(statement).await?;
            }
            let sql = format!("INSERT INTO {versions} (version, name) VALUES (?, ?)");
            let note = self.client.query(&sql).bind(index + 1);
            note.bind(migration.name).execute().await?;
            tracing::info!("ClickHouse has new tables: {}", migration.name);
        }
        for statement in self.topology.set_retention() {
            self.execute(&statement).await?;
        }
        Ok(())
    }

    async fn execute(&self, statement: &str) -> Result<(), StoreError> {
        // A question mark is a value's place to the client, unless it is doubled.
        let query = self.client.query(&statement.replace('?', "??"));
        Ok(query.execute().await?)
    }

    fn traces(&self) -> String {
        self.topology.table("traces")
    }

    async fn insert<R>(&self, table: &str, rows: &[R]) -> Result<(), StoreError>
    where
        R: Row + for<'a> clickhouse::RowWrite<Value<'a> = R> + Serialize,
    {
        if rows.is_empty() {
            return Ok(());
        }
        let mut insert = self
            .client
            .insert_unescaped::<R>(&self.topology.table(table))
            .await?;
        for row in rows {
            insert.write(row).await?;
        }
        Ok(insert.end().await?)
    }

    /// Those of some records that are stored.
    async fn known(&self, records: &[Record]) -> Result<HashSet<u128>, StoreError> {
        let places = || records.iter().map(|record| record.place().0);
        let (Some(first), Some(last)) = (places().min(), places().max()) else {
            return Ok(HashSet::new());
        };
        let ids = records.iter().map(|record| number(record.id.as_u128()));
        let sql = format!(
            "SELECT id FROM {} WHERE place BETWEEN ? AND ? AND id IN ({})",
            self.traces(),
            list(ids)
        );
        let query = self.client.query(&sql).bind(first).bind(last);
        let found: Vec<Id> = query.fetch_all().await?;
        Ok(found.into_iter().map(|row| row.id).collect())
    }

    /// Whole traces, in no order.
    async fn read(&self, places: &[(i64, u128)]) -> Result<HashMap<u128, Trace>, StoreError> {
        if places.is_empty() {
            return Ok(HashMap::new());
        }
        let ids = list(places.iter().map(|(_, id)| number(*id)));
        let places = list(places.iter().map(|(place, _)| place.to_string()));
        let rows = format!(
            "SELECT * REPLACE ('' AS words) FROM {} WHERE place IN ({places}) AND id IN ({ids}) ORDER BY version",
            self.traces(),
        );
        let attempts = format!(
            "SELECT * FROM {} WHERE trace_id IN ({ids}) ORDER BY number LIMIT 1 BY trace_id, number",
            self.topology.table("attempts"),
        );
        let (rows, attempts) = tokio::try_join!(
            self.client.query(&rows).fetch_all::<TraceRow>(),
            self.client.query(&attempts).fetch_all::<AttemptRow>(),
        )?;
        let mut traces = HashMap::new();
        for row in rows {
            let id = row.id;
            let trace = Trace {
                record: row.into_record()?,
                attempts: Vec::new(),
            };
            traces.insert(id, trace);
        }
        for row in attempts {
            if let Some(trace) = traces.get_mut(&row.trace_id) {
                trace.attempts.push(Attempt::from(row));
            }
        }
        Ok(traces)
    }

    /// Makes the figures of some time anew, after rows of it were changed.
    async fn recount(&self, first: Micros, last: Micros) -> Result<(), StoreError> {
        for figures in &schema::ALL_FIGURES {
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
                self.topology.local(figures.name()),
                self.topology.on_cluster(),
                within(period)
            ))
            .await?;
            let source = self.traces();
            let condition = within(&format!("{of_time}(t.started_at)"));
            self.execute(&format!(
                "INSERT INTO {} {}",
                self.topology.table(figures.name()),
                figures.select(&source, &condition)
            ))
            .await?;
        }
        Ok(())
    }
}

/// A number of an id's size. As a bare number ClickHouse would take it for an inexact one.
fn number(id: u128) -> String {
    format!("toUInt128('{id}')")
}

/// For `IN`: numbers only, so that nothing of a caller's is among them.
fn list(numbers: impl Iterator<Item = String>) -> String {
    numbers.collect::<Vec<_>>().join(", ")
}

#[async_trait]
impl Store for ClickHouse {
    async fn write(&self, batch: Batch) -> Result<Vec<Record>, StoreError> {
        self.migrate().await?;
        let _turn = self.writing.lock().await;
        let Batch { records, attempts } = batch;
        let (records, words): (Vec<Record>, Vec<String>) = records.into_iter().unzip();
        let mut known = self.known(&records).await?;
        let mut new = Vec::new();
        let mut rows = Vec::new();
        for (record, words) in records.into_iter().zip(words) {
            if known.insert(record.id.as_u128()) {
                rows.push(TraceRow::new(&record, words, 0));
                new.push(record);
            }
        }
        // Attempts first: they may be given again, and a trace that is there has all it had.
        let attempts: Vec<AttemptRow> = attempts.into_iter().map(AttemptRow::from).collect();
        self.insert("attempts", &attempts).await?;
        self.insert("traces", &rows).await?;
        Ok(new)
    }

    async fn list(&self, query: Query) -> Result<Page, StoreError> {
        self.migrate().await?;
        #[derive(Row, Deserialize)]
        struct At {
            place: i64,
            id: u128,
        }
        let mut conditions = Conditions::new(&query.filter);
        let (direction, beyond) = match query.order {
            Order::NewestFirst => ("DESC", "<"),
            Order::OldestFirst => ("ASC", ">"),
        };
        if let Some(after) = query.after {
            conditions.and(
                format!("(place, id) {beyond} (?, toUInt128(?))"),
                Value::Number(after.place.0),
            );
            conditions.push(Value::Text(after.id.to_string()));
        }
        let limit = query.limit as usize;
        // Places first: what else a row holds is read only of those that make the page.
        let sql = format!(
            "SELECT place, id FROM {} WHERE {} ORDER BY place {direction}, id {direction} LIMIT 1 BY place, id LIMIT {}",
            self.traces(),
            conditions.sql(),
            limit + 1
        );
        let found: Vec<At> = conditions.bind(self.client.query(&sql)).fetch_all().await?;
        let mut places: Vec<(i64, u128)> = found.iter().map(|at| (at.place, at.id)).collect();
        let has_more = places.len() > limit;
        places.truncate(limit);
        let next = places
            .last()
            .filter(|_| has_more)
            .map(|&(place, id)| Cursor {
                place: Place(place),
                id,
            });
        let mut traces = self.read(&places).await?;
        let in_order = |(_, id): &(i64, u128)| traces.remove(id);
        Ok(Page {
            traces: places.iter().filter_map(in_order).collect(),
            next,
        })
    }

    async fn get(&self, id: Uuid) -> Result<Option<Trace>, StoreError> {
        self.migrate().await?;
        let id = id.as_u128();
        let sql = format!(
            "SELECT place FROM {} WHERE id = {} LIMIT 1",
            self.traces(),
            number(id)
        );
        let place: Option<i64> = self.client.query(&sql).fetch_optional().await?;
        match place {
            Some(place) => Ok(self.read(&[(place, id)]).await?.remove(&id)),
            None => Ok(None),
        }
    }

    async fn stats(&self, query: StatsQuery) -> Result<Vec<Stats>, StoreError> {
        self.migrate().await?;
        #[derive(Row, Deserialize)]
        struct Figures {
            name: String,
            start: i64,
            requests: u64,
            errors: u64,
            input: u64,
            output: u64,
            cost: i64,
            unpriced: u64,
            latency: Vec<i64>,
            first_tokens: u64,
            first_token: Vec<i64>,
        }
        let conditions = Conditions::new(&query.filter);
        let name = match query.group_by {
            None => "''",
            Some(Dimension::Model) => {
                "if(provider = '' OR model = '', '', concat(provider, '/', model))"
            }
            Some(Dimension::Provider) => "provider",
            Some(Dimension::Alias) => "alias",
            Some(Dimension::Cluster) => "ifNull(toString(cluster_id), '')",
            Some(Dimension::Key) => "client_key",
        };
        let start = match query.interval {
            Some(Micros(piece)) => format!("intDiv(bitShiftRight(place, 10), {piece}) * {piece}"),
            None => "toInt64(0)".to_owned(),
        };
        let [p50, p95, p99] = Quantiles::LEVELS;
        let levels = format!("{p50}, {p95}, {p99}");
        let sql = format!(
            "SELECT toString({name}) AS name, {start} AS start, count() AS requests, countIf(error_type != '') AS errors,
                sum(ifNull(tokens_input, 0)) AS input, sum(ifNull(tokens_output, 0)) AS output,
                sum(ifNull(cost_total, 0)) AS cost, countIf(isNull(cost_total)) AS unpriced,
                quantilesExact({levels})(latency_us) AS latency, countIf(isNotNull(time_to_first_token_us)) AS first_tokens,
                quantilesExactIf({levels})(ifNull(time_to_first_token_us, 0), isNotNull(time_to_first_token_us)) AS first_token
            FROM {} WHERE {} GROUP BY name, start ORDER BY start, name",
            self.traces(),
            conditions.sql()
        );
        let found: Vec<Figures> = conditions.bind(self.client.query(&sql)).fetch_all().await?;
        let quantiles = |values: &[i64]| match *values {
            [p50, p95, p99] => Some(Quantiles {
                p50: Micros(p50),
                p95: Micros(p95),
                p99: Micros(p99),
            }),
            _ => None,
        };
        Ok(found
            .into_iter()
            .filter(|figures| figures.requests > 0)
            .map(|figures| Stats {
                group: (!figures.name.is_empty()).then_some(figures.name),
                start: query.interval.map(|_| Micros(figures.start)),
                requests: figures.requests,
                errors: figures.errors,
                tokens_input: figures.input,
                tokens_output: figures.output,
                cost: PicoUsd(figures.cost),
                unpriced: figures.unpriced,
                latency: quantiles(&figures.latency),
                time_to_first_token: quantiles(&figures.first_token)
                    .filter(|_| figures.first_tokens > 0),
            })
            .collect())
    }

    async fn spent(
        &self,
        since: Micros,
        by: Dimension,
    ) -> Result<Vec<(String, PicoUsd)>, StoreError> {
        self.migrate().await?;
        #[derive(Row, Deserialize)]
        struct Spent {
            name: String,
            cost: i64,
        }
        let name = match by {
            Dimension::Key => "client_key",
            Dimension::Alias => "alias",
            Dimension::Provider => "provider",
            Dimension::Model | Dimension::Cluster => "concat(provider, '/', model)",
        };
        let sql = format!(
            "SELECT toString({name}) AS name, sum(cost_total) AS cost FROM {}
            WHERE hour >= toStartOfHour(fromUnixTimestamp64Micro(?, 'UTC')) AND name != '' GROUP BY name",
            self.topology.table("model_stats_hourly")
        );
        let found: Vec<Spent> = self.client.query(&sql).bind(since.0).fetch_all().await?;
        Ok(found
            .into_iter()
            .map(|spent| (spent.name, PicoUsd(spent.cost)))
            .collect())
    }

    async fn replace(&self, records: Vec<Record>) -> Result<(), StoreError> {
        self.migrate().await?;
        let _turn = self.writing.lock().await;
        let times = || records.iter().map(|record| record.started_at);
        let (Some(first), Some(last)) = (times().min(), times().max()) else {
            return Ok(());
        };
        // A later writing has a greater number.
        let version = u32::try_from(Micros::now().0 / 1_000_000).unwrap_or(u32::MAX);
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
        let sql = format!("SELECT id, words FROM {} WHERE {which}", self.traces());
        let words: Vec<Words> = self.client.query(&sql).fetch_all().await?;
        let mut words: HashMap<u128, String> =
            words.into_iter().map(|row| (row.id, row.words)).collect();
        let rows: Vec<TraceRow> = records
            .iter()
            .filter_map(|record| {
                let words = words.remove(&record.id.as_u128())?;
                Some(TraceRow::new(record, words, version))
            })
            .collect();
        self.insert("traces", &rows).await?;
        self.execute(&format!(
            "ALTER TABLE {}{} DELETE WHERE {which} AND version < {version} {AND_WAIT}",
            self.topology.local("traces"),
            self.topology.on_cluster(),
        ))
        .await?;
        self.recount(first, last).await
    }

    async fn delete(&self, filter: Filter) -> Result<u64, StoreError> {
        self.migrate().await?;
        #[derive(Row, Deserialize)]
        struct Extent {
            count: u64,
            first: i64,
            last: i64,
        }
        let _turn = self.writing.lock().await;
        let conditions = Conditions::new(&filter);
        let (traces, everywhere) = (self.traces(), self.topology.on_cluster());
        let sql = format!(
            "SELECT uniqExact(id) AS count, min(toUnixTimestamp64Micro(started_at)) AS first,
                max(toUnixTimestamp64Micro(started_at)) AS last FROM {traces} WHERE {}",
            conditions.sql()
        );
        let extent: Extent = conditions.bind(self.client.query(&sql)).fetch_one().await?;
        if extent.count == 0 {
            return Ok(0);
        }
        let attempts = format!(
            "ALTER TABLE {}{everywhere} DELETE WHERE trace_id IN (SELECT id FROM {traces} WHERE {}) {AND_WAIT}",
            self.topology.local("attempts"),
            conditions.sql()
        );
        conditions
            .bind(self.client.query(&attempts))
            .execute()
            .await?;
        let rows = format!(
            "ALTER TABLE {}{everywhere} DELETE WHERE {} {AND_WAIT}",
            self.topology.local("traces"),
            conditions.sql()
        );
        conditions.bind(self.client.query(&rows)).execute().await?;
        self.recount(Micros(extent.first), Micros(extent.last))
            .await?;
        Ok(extent.count)
    }

    /// The tables' own TTL does this.
    async fn expire(&self, _: Micros) -> Result<(), StoreError> {
        Ok(())
    }

    async fn note(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.migrate().await?;
        let row = AuditRow {
            at: entry.at.0,
            action: entry.action,
            request_id: entry.request_id,
            subject: entry.subject,
            count: entry.count,
        };
        self.insert("audit", &[row]).await
    }

    async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.migrate().await?;
        let sql = format!(
            "SELECT * FROM {} ORDER BY at DESC LIMIT {limit}",
            self.topology.table("audit")
        );
        let rows: Vec<AuditRow> = self.client.query(&sql).fetch_all().await?;
        Ok(rows
            .into_iter()
            .map(|row| AuditEntry {
                at: Micros(row.at),
                action: row.action,
                request_id: row.request_id,
                subject: row.subject,
                count: row.count,
            })
            .collect())
    }
}

#[derive(Row, Serialize, Deserialize)]
struct AuditRow {
    at: i64,
    action: String,
    request_id: String,
    subject: String,
    count: u64,
}
