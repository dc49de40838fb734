//! Tables into traces.

use opentracy_proto::v1;
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter};

use crate::store::trace::timestamp;
use crate::store::{Attempt, Cost, Order, Outcome, Page, Query, Tokens, Trace, TraceError};

const COLUMNS: &str = "SELECT * FROM traces";

pub fn get(connection: &Connection, id: &str) -> Result<Option<Trace>, rusqlite::Error> {
    let trace = connection
        .query_row(&format!("{COLUMNS} WHERE id = ?"), [id], trace)
        .optional()?;
    trace
        .map(|trace| with_attempts(connection, trace))
        .transpose()
}

/// Ids grow with time, so they are the order and the cursor alike: a page stays where it is whatever is added.
pub fn list(connection: &Connection, query: &Query) -> Result<Page, rusqlite::Error> {
    let (conditions, mut values) = conditions(query);
    let direction = match query.order {
        Order::NewestFirst => "DESC",
        Order::OldestFirst => "ASC",
    };
    values.push(i64::from(query.limit + 1).into());
    let sql = format!(
        "{COLUMNS} WHERE {} ORDER BY id {direction} LIMIT ?",
        conditions.join(" AND ")
    );
    let mut traces = connection
        .prepare(&sql)?
        .query_map(params_from_iter(values), trace)?
        .collect::<Result<Vec<_>, _>>()?;
    let has_more = traces.len() > query.limit as usize;
    traces.truncate(query.limit as usize);
    let next_cursor = traces
        .last()
        .filter(|_| has_more)
        .map(|last| last.id.clone());
    let data = traces
        .into_iter()
        .map(|trace| with_attempts(connection, trace))
        .collect::<Result<_, _>>()?;
    Ok(Page { data, next_cursor })
}

fn conditions(query: &Query) -> (Vec<&'static str>, Vec<SqlValue>) {
    let mut conditions = vec!["TRUE"];
    let mut values: Vec<SqlValue> = Vec::new();
    let mut add = |condition, value: SqlValue| {
        conditions.push(condition);
        values.push(value);
    };
    let text = |text: &String| SqlValue::from(text.clone());
    if let Some(provider) = &query.provider {
        add("provider = ?", text(provider));
    }
    if let Some(model) = &query.model {
        add("? IN (model, provider || '/' || model)", text(model));
    }
    if let Some(alias) = &query.alias {
        add("alias = ?", text(alias));
    }
    if let Some(session) = &query.session {
        add("session_id = ?", text(session));
    }
    if let Some(status) = query.status {
        add("status = ?", i64::from(status).into());
    }
    if let Some(since) = query.since {
        add("started_at >= ?", since.into());
    }
    if let Some(until) = query.until {
        add("started_at < ?", until.into());
    }
    if let Some(cost) = query.min_cost {
        add("cost_total >= ?", cost.into());
    }
    if let Some(cost) = query.max_cost {
        add("cost_total <= ?", cost.into());
    }
    if !query.metadata.is_empty() {
        let labels = serde_json::to_string(&query.metadata).unwrap_or_default();
        add(
            "NOT EXISTS (SELECT 1 FROM json_each(?) AS wanted WHERE NOT EXISTS (
                SELECT 1 FROM json_each(traces.metadata) AS own
                WHERE own.key = wanted.key AND own.value = wanted.value))",
            labels.into(),
        );
    }
    if let Some(words) = &query.text {
        // Each word in quotes: the search's own operators are no business of the caller's.
        let quoted: Vec<String> = words
            .split_whitespace()
            .map(|word| format!("\"{}\"", word.replace('"', "\"\"")))
            .collect();
        add(
            "seq IN (SELECT rowid FROM trace_words WHERE trace_words MATCH ?)",
            quoted.join(" ").into(),
        );
    }
    if let Some(after) = &query.after {
        let condition = match query.order {
            Order::NewestFirst => "id < ?",
            Order::OldestFirst => "id > ?",
        };
        add(condition, text(after));
    }
    (conditions, values)
}

fn with_attempts(connection: &Connection, mut trace: Trace) -> Result<Trace, rusqlite::Error> {
    trace.attempts = connection
        .prepare_cached(
            "SELECT number, provider, model, status, error, latency_us FROM attempts
                WHERE trace_id = ? ORDER BY number",
        )?
        .query_map([&trace.id], |row| {
            Ok(Attempt {
                number: row.get(0)?,
                provider: row.get(1)?,
                model: row.get(2)?,
                status: row.get(3)?,
                error: row.get(4)?,
                latency_ms: millis(row.get(5)?),
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(trace)
}

fn millis(micros: i64) -> f64 {
    micros as f64 / 1000.0
}

fn trace(row: &Row<'_>) -> Result<Trace, rusqlite::Error> {
    let count = |name: &str| -> Result<u64, rusqlite::Error> {
        let value: i64 = row.get(name)?;
        Ok(u64::try_from(value).unwrap_or_default())
    };
    let json = |name: &str| -> Result<Option<serde_json::Value>, rusqlite::Error> {
        let text: Option<String> = row.get(name)?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    };
    let tokens = match row.get::<_, Option<i64>>("tokens_input")? {
        None => None,
        Some(_) => Some(Tokens {
            input: count("tokens_input")?,
            output: count("tokens_output")?,
            cache_read: count("tokens_cache_read")?,
            cache_write: count("tokens_cache_write")?,
            reasoning: count("tokens_reasoning")?,
        }),
    };
    let cost = match row.get::<_, Option<f64>>("cost_total")? {
        None => None,
        Some(total) => Some(Cost {
            input: row.get("cost_input")?,
            output: row.get("cost_output")?,
            cache_read: row.get("cost_cache_read")?,
            cache_write: row.get("cost_cache_write")?,
            total,
        }),
    };
    let error = match row.get::<_, Option<String>>("error_type")? {
        None => None,
        Some(kind) => Some(TraceError {
            r#type: kind,
            code: row.get("error_code")?,
            message: row.get("error_message")?,
        }),
    };
    let metadata: String = row.get("metadata")?;
    let outcome = v1::Outcome::try_from(row.get::<_, i32>("outcome")?).unwrap_or_default();
    Ok(Trace {
        id: row.get("id")?,
        started_at: timestamp(row.get("started_at")?),
        api: row.get("api")?,
        requested_model: row.get("requested_model")?,
        alias: row.get("alias")?,
        provider: row.get("provider")?,
        model: row.get("model")?,
        stream: row.get("stream")?,
        status: row.get("status")?,
        outcome: Outcome::of_wire(outcome),
        error,
        latency_ms: millis(row.get("latency_us")?),
        time_to_first_token_ms: row
            .get::<_, Option<i64>>("time_to_first_token_us")?
            .map(millis),
        routing_ms: millis(row.get("routing_us")?),
        tokens,
        cost,
        session_id: row.get("session_id")?,
        cluster_id: row.get("cluster_id")?,
        expected_error: row.get("expected_error")?,
        user: row.get("user")?,
        metadata: serde_json::from_str(&metadata).unwrap_or_default(),
        attempts: Vec::new(),
        request: json("request")?,
        response: json("response")?,
        content_truncated: row.get("content_truncated")?,
    })
}
