//! `/v1/traces`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use opentracy_translate::error::ApiError;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

use crate::import;
use crate::timeline::{self, TraceInSession};
use opentracy_rest::audit_entry;
use opentracy_rest::endpoints::{Callers, Endpoints};
use opentracy_rest::error::Error;
use opentracy_rest::lines;
use opentracy_rest::params::{self, FilterParams};
use opentracy_spend::prices::InForce;
use opentracy_spend::reprice::{self, Repriced};
use opentracy_state::AppState;
use opentracy_store::{self as store, Actor, AuditEntry, Filter, Order};
use opentracy_trace::json::Trace;

/// Registers the endpoints of this file.
pub fn endpoints() -> Endpoints {
    Endpoints::of(Callers::Admins)
        .routes(routes!(list, import, delete))
        .routes(routes!(reprice))
        .routes(routes!(get))
}

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 500;

/// The paging of a list of traces.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    #[param(inline)]
    order: Order,
    /// Page size: 1 to 500, default 50.
    limit: Option<u32>,
    /// `next_cursor` of the previous page.
    cursor: Option<String>,
}

/// A page of traces.
#[derive(Serialize, ToSchema)]
#[schema(as = Page)]
pub struct TracePage {
    data: Vec<Trace>,
    /// The `cursor` of the next page; `null` on the last page.
    next_cursor: Option<String>,
}

/// Lists the traces that match all filters, newest first.
#[utoipa::path(
    get,
    path = "/v1/traces",
    params(FilterParams, ListParams),
    responses((status = OK, body = TracePage), (status = BAD_REQUEST, description = "An invalid filter"))
)]
pub async fn list(
    State(shared): State<AppState>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<TracePage>, Error> {
    let (filter, list) = params::read::<ListParams>(pairs)?;
    let after = list.cursor.map(|cursor| cursor.parse()).transpose();
    let query = store::Query {
        filter,
        order: list.order,
        limit: params::limit(list.limit, DEFAULT_LIMIT, MAX_LIMIT)?,
        after: after
            .map_err(|error: store::NoCursor| params::wrong("cursor", &error.to_string()))?,
    };
    let page = shared.store.list(query).await?;
    Ok(Json(TracePage {
        data: page.traces.into_iter().map(Trace::from).collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    }))
}

/// Returns one trace, by the id in the response header `X-OpenTracy-Trace-Id`.
#[utoipa::path(
    get,
    path = "/v1/traces/{id}",
    params(("id" = String, Path, description = "The trace's id")),
    responses((status = OK, body = TraceInSession), (status = NOT_FOUND, description = "No such trace"))
)]
pub async fn get(
    State(shared): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<TraceInSession>, Error> {
    let found = match Uuid::try_parse(&id) {
        Ok(id) => shared.store.get(id).await?,
        Err(_) => None,
    };
    let Some(trace) = found else {
        let words = format!(
            "Unknown trace \"{id}\". A new trace is available within a second after its answer ends"
        );
        return Err(ApiError::new(404, words).into());
    };
    let timeline = match &trace.record.session_id {
        Some(session) => Some(timeline_of(&shared, session.clone()).await?),
        None => None,
    };
    Ok(Json(TraceInSession {
        trace: trace.into(),
        timeline,
    }))
}

async fn timeline_of(
    shared: &AppState,
    session: String,
) -> Result<Vec<timeline::TimelineEvent>, Error> {
    let query = store::Query {
        filter: Filter {
            session: Some(session),
            ..Filter::default()
        },
        order: Order::OldestFirst,
        limit: timeline::MAX_TURNS,
        after: None,
    };
    let page = shared.store.list(query).await?;
    Ok(timeline::of(page.traces.iter().map(|trace| &trace.record)))
}

/// The result of an import.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Imported {
    /// Number of accepted traces. A trace whose id exists is left unchanged.
    imported: u64,
    /// The first hundred objects that could not be parsed.
    failed: Vec<Failed>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Failed {
    /// Line number in the body, from 1. In a list, the number of the object.
    line: u64,
    message: String,
}

const MAX_FAILED_TOLD: usize = 100;
/// Records per fsync of the journal.
const IMPORT_AT_ONCE: usize = 500;

/// Imports calls that were made elsewhere: exported traces or OpenAI-style logs, as JSON Lines, a
/// list, or a single object.
#[utoipa::path(
    post,
    path = "/v1/traces",
    request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = OK, body = Imported), (status = BAD_REQUEST, description = "No object could be parsed"))
)]
pub async fn import(
    State(shared): State<AppState>,
    Extension(by): Extension<Actor>,
    body: Body,
) -> Result<Json<Imported>, Error> {
    let mut outcome = Imported::default();
    let mut lines = lines::Objects::new(body);
    let rules = import::Rules::new(&shared);
    let mut waiting = opentracy_proto::v1::IngestRequest::default();
    while let Some((number, line)) = lines.next().await? {
        match import::read(&line) {
            Ok((mut request, is_log)) => {
                outcome.imported += 1;
                for trace in &mut request.traces {
                    rules.apply(trace, is_log);
                }
                waiting.traces.extend(request.traces);
                waiting.attempts.extend(request.attempts);
            }
            Err(message) if outcome.failed.len() < MAX_FAILED_TOLD => {
                outcome.failed.push(Failed {
                    line: number,
                    message,
                });
            }
            Err(_) => {}
        }
        if waiting.traces.len() >= IMPORT_AT_ONCE {
            shared.ingest.import(&waiting).await?;
            waiting = opentracy_proto::v1::IngestRequest::default();
        }
    }
    if !waiting.traces.is_empty() {
        shared.ingest.import(&waiting).await?;
    }
    if outcome.imported > 0 {
        audit_entry::note(&shared, AuditEntry::new("import", by, "", outcome.imported)).await;
    }
    match outcome.failed.first() {
        Some(failed) if outcome.imported == 0 => {
            let words = format!("Line {}: {}", failed.line, failed.message);
            Err(ApiError::invalid(String::new(), words).into())
        }
        _ => Ok(Json(outcome)),
    }
}

/// The prices that a repricing uses.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct RepriceParams {
    #[param(inline)]
    prices: InForce,
}

/// Recalculates the cost of the traces that match all filters: those imported without a price, or
/// all after a price was wrong.
#[utoipa::path(
    post,
    path = "/v1/traces/reprice",
    params(FilterParams, RepriceParams),
    responses((status = OK, body = Repriced), (status = BAD_REQUEST, description = "An invalid filter"))
)]
pub async fn reprice(
    State(shared): State<AppState>,
    Extension(by): Extension<Actor>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Repriced>, Error> {
    let (filter, RepriceParams { prices }) = params::read(pairs)?;
    settle(&shared).await?;
    let repriced = reprice::run(&*shared.store, &shared.prices, filter, prices, by).await?;
    Ok(Json(repriced))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Deleted {
    /// Number of deleted traces.
    deleted: u64,
}

/// Parameters of an endpoint that takes only filters.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
pub struct NoParams {}

/// Time limit for records on their way to the store, before a deletion or repricing starts.
const SETTLE_WITHIN: Duration = Duration::from_secs(30);

/// Deletes the traces that match all filters permanently; `?user=…` matches one person's. The audit
/// records the deletion, without the content.
#[utoipa::path(
    delete,
    path = "/v1/traces",
    params(FilterParams),
    responses((status = OK, body = Deleted), (status = BAD_REQUEST, description = "No filter, or an invalid one"))
)]
pub async fn delete(
    State(shared): State<AppState>,
    Extension(by): Extension<Actor>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Deleted>, Error> {
    let subject = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("&");
    let (filter, NoParams {}) = params::read(pairs)?;
    if filter == Filter::default() {
        let words =
            "Name at least one filter, such as `user`: without one, all traces would be deleted";
        return Err(ApiError::invalid(String::new(), words).into());
    }
    settle(&shared).await?;
    let count = shared.store.delete(filter).await?;
    let entry = AuditEntry::new("delete", by, subject, count);
    shared.store.note(entry).await?;
    Ok(Json(Deleted { deleted: count }))
}

/// Waits until everything acknowledged so far is in the store.
async fn settle(shared: &AppState) -> Result<(), Error> {
    if shared.ingest.settled(SETTLE_WITHIN).await {
        return Ok(());
    }
    let words = "The trace store is behind the journal; try again once it has caught up";
    Err(ApiError::new(503, words).into())
}
