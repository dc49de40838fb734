//! Records into tables.

use std::collections::BTreeMap;

use opentracy_proto::v1;
use rusqlite::{Connection, Transaction, named_params, params};

use crate::store::content;

/// Writes batches as one transaction, which is on disk when this returns.
pub fn transaction<'a>(
    connection: &mut Connection,
    requests: impl IntoIterator<Item = &'a v1::IngestRequest>,
) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction()?;
    for request in requests {
        for trace in &request.traces {
            insert_trace(&transaction, trace)?;
        }
        for attempt in &request.attempts {
            insert_attempt(&transaction, attempt)?;
        }
    }
    transaction.commit()
}

/// An empty text is none.
fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// SQLite's integers are signed; nothing counted here comes near their end.
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn insert_trace(transaction: &Transaction<'_>, trace: &v1::Trace) -> Result<(), rusqlite::Error> {
    let request = content::request(&trace.request);
    let api = content::api_of(trace.api());
    let response = content::response(api, &trace.response);
    let metadata: BTreeMap<_, _> = trace.metadata.iter().collect();
    let error = trace.error.as_ref();
    let usage = trace.usage.as_ref();
    let cost = trace.cost.as_ref();
    let inserted = transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO traces (
                id, started_at, requested_model, alias, provider, model, stream, status, outcome,
                error_type, error_code, error_message, latency_us, time_to_first_token_us, routing_us,
                tokens_input, tokens_output, tokens_cache_read, tokens_cache_write, tokens_reasoning,
                cost_input, cost_output, cost_cache_read, cost_cache_write, cost_total,
                session_id, cluster_id, expected_error, user, metadata, request, response, content_truncated,
                api
            ) VALUES (
                :id, :started_at, :requested_model, :alias, :provider, :model, :stream, :status, :outcome,
                :error_type, :error_code, :error_message, :latency_us, :time_to_first_token_us, :routing_us,
                :tokens_input, :tokens_output, :tokens_cache_read, :tokens_cache_write, :tokens_reasoning,
                :cost_input, :cost_output, :cost_cache_read, :cost_cache_write, :cost_total,
                :session_id, :cluster_id, :expected_error, :user, :metadata, :request, :response, :content_truncated,
                :api
            )",
        )?
        .execute(named_params! {
            ":id": trace.id,
            ":started_at": int(trace.start_unix_micros),
            ":requested_model": trace.requested_model,
            ":alias": some(&trace.alias),
            ":provider": some(&trace.provider),
            ":model": some(&trace.model),
            ":stream": trace.stream,
            ":status": trace.status,
            ":outcome": trace.outcome,
            ":error_type": error.map(|error| &error.r#type),
            ":error_code": error.and_then(|error| some(&error.code)),
            ":error_message": error.map(|error| &error.message),
            ":latency_us": int(trace.latency_micros),
            ":time_to_first_token_us": trace.time_to_first_token_micros.map(int),
            ":routing_us": int(trace.routing_micros),
            ":tokens_input": usage.map(|usage| int(usage.input)),
            ":tokens_output": usage.map(|usage| int(usage.output)),
            ":tokens_cache_read": usage.map(|usage| int(usage.cache_read)),
            ":tokens_cache_write": usage.map(|usage| int(usage.cache_write)),
            ":tokens_reasoning": usage.map(|usage| int(usage.reasoning)),
            ":cost_input": cost.map(|cost| cost.input),
            ":cost_output": cost.map(|cost| cost.output),
            ":cost_cache_read": cost.map(|cost| cost.cache_read),
            ":cost_cache_write": cost.map(|cost| cost.cache_write),
            ":cost_total": cost.map(|cost| cost.total),
            ":session_id": some(&trace.session_id),
            ":cluster_id": trace.cluster_id,
            ":expected_error": trace.expected_error,
            ":user": some(&trace.user),
            ":metadata": serde_json::to_string(&metadata).unwrap_or_default(),
            ":request": request.as_ref().map(ToString::to_string),
            ":response": response.as_ref().map(ToString::to_string),
            ":content_truncated": trace.content_truncated,
            ":api": api.name(),
        })?;
    if inserted == 0 {
        return Ok(());
    }
    let words = content::searchable_text(request.as_ref(), response.as_ref());
    if !words.is_empty() {
        transaction
            .prepare_cached(
                "INSERT INTO trace_words (rowid, words) VALUES (last_insert_rowid(), ?)",
            )?
            .execute([words])?;
    }
    Ok(())
}

fn insert_attempt(
    transaction: &Transaction<'_>,
    attempt: &v1::Attempt,
) -> Result<(), rusqlite::Error> {
    transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO attempts
                (trace_id, number, started_at, provider, model, status, error, latency_us)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            attempt.trace_id,
            attempt.number,
            int(attempt.start_unix_micros),
            attempt.provider,
            attempt.model,
            (attempt.status != 0).then_some(attempt.status),
            some(&attempt.error),
            int(attempt.latency_micros),
        ])?;
    Ok(())
}
