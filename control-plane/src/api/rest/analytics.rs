//! `/v1/analytics`: figures of the traces that filters fit.

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::rest::error::Error;
use crate::api::rest::params::{self, FilterParams};
use crate::state::AppState;
use crate::store::{Dimension, Micros, Quantiles, Stats, StatsQuery};

/// Beyond this many points nobody can read a curve.
const MAX_POINTS: i64 = 10_000;

/// How figures are told apart.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct SummaryParams {
    #[param(inline)]
    group_by: Option<Dimension>,
}

/// How figures are told apart, in time too.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct SeriesParams {
    #[param(inline)]
    group_by: Option<Dimension>,
    /// The length of a piece of time, such as `5m`; `1h` without it. Pieces are counted from the epoch, in UTC.
    interval: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Figures {
    data: Vec<Figure>,
}

#[derive(Serialize, ToSchema)]
pub struct Figure {
    /// RFC 3339: where the piece of time begins; not in a summary.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    /// The model, provider, alias, cluster or key; `null` for traces without, and where nothing is grouped.
    group: Option<String>,
    requests: u64,
    /// Requests whose client got an error.
    errors: u64,
    tokens: TokenSums,
    /// USD.
    cost: f64,
    /// Requests whose price is not known, and which are not in `cost`.
    unpriced: u64,
    latency_ms: Option<Percentiles>,
    /// Of the requests that had a first token.
    time_to_first_token_ms: Option<Percentiles>,
}

#[derive(Serialize, ToSchema)]
pub struct TokenSums {
    input: u64,
    output: u64,
}

/// Of `n` sorted values each is the one at index ⌊q·n⌋: a value that was there.
#[derive(Serialize, ToSchema)]
pub struct Percentiles {
    p50: f64,
    p95: f64,
    p99: f64,
}

/// Requests, errors, tokens, cost and latencies of the traces that all filters fit.
#[utoipa::path(
    get,
    path = "/v1/analytics/summary",
    params(FilterParams, SummaryParams),
    responses((status = OK, body = Figures), (status = BAD_REQUEST, description = "A filter that can't be read"))
)]
pub async fn summary(
    State(shared): State<AppState>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Figures>, Error> {
    let (filter, SummaryParams { group_by }) = params::read(pairs)?;
    figures(
        &shared,
        StatsQuery {
            filter,
            group_by,
            interval: None,
        },
    )
    .await
}

/// The same over time. Pieces in which nothing happened are left out.
#[utoipa::path(
    get,
    path = "/v1/analytics/timeseries",
    params(FilterParams, SeriesParams),
    responses((status = OK, body = Figures), (status = BAD_REQUEST, description = "A filter that can't be read"))
)]
pub async fn time_series(
    State(shared): State<AppState>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Figures>, Error> {
    let (mut filter, series) = params::read::<SeriesParams>(pairs)?;
    let interval = interval(series.interval.as_deref().unwrap_or("1h"))?;
    let until = filter.until.unwrap_or_else(Micros::now);
    // A curve has a bounded number of points: without a beginning it begins there.
    let span = Micros(interval.0.saturating_mul(MAX_POINTS));
    let since = *filter
        .since
        .get_or_insert(Micros(until.0.saturating_sub(span.0).max(0)));
    if until.0.saturating_sub(since.0) > span.0 {
        let words = format!(
            "is too short for the time from `since`: that makes more than {MAX_POINTS} points"
        );
        return Err(params::wrong("interval", &words));
    }
    figures(
        &shared,
        StatsQuery {
            filter,
            group_by: series.group_by,
            interval: Some(interval),
        },
    )
    .await
}

async fn figures(shared: &AppState, query: StatsQuery) -> Result<Json<Figures>, Error> {
    let stats = shared.store.stats(query).await?;
    Ok(Json(Figures {
        data: stats.into_iter().map(Figure::from).collect(),
    }))
}

fn interval(text: &str) -> Result<Micros, Error> {
    text.parse::<humantime::Duration>()
        .ok()
        .and_then(|duration| i64::try_from(duration.as_micros()).ok())
        .filter(|&micros| micros >= 1_000_000)
        .map(Micros)
        .ok_or_else(|| params::wrong("interval", "must be a second or longer, such as 5m or 1h"))
}

impl From<Stats> for Figure {
    fn from(stats: Stats) -> Self {
        Self {
            start: stats.start.map(Micros::timestamp),
            group: stats.group,
            requests: stats.requests,
            errors: stats.errors,
            tokens: TokenSums {
                input: stats.tokens_input,
                output: stats.tokens_output,
            },
            cost: stats.cost.usd(),
            unpriced: stats.unpriced,
            latency_ms: stats.latency.map(Percentiles::from),
            time_to_first_token_ms: stats.time_to_first_token.map(Percentiles::from),
        }
    }
}

impl From<Quantiles> for Percentiles {
    fn from(quantiles: Quantiles) -> Self {
        Self {
            p50: quantiles.p50.millis(),
            p95: quantiles.p95.millis(),
            p99: quantiles.p99.millis(),
        }
    }
}
