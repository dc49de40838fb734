//! `/v1/analytics`: aggregates over traces.

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use opentracy_base::clock;
use opentracy_rest::endpoints::{Callers, Endpoints};
use opentracy_rest::error::Error;
use opentracy_rest::params::{self, FilterParams};
use opentracy_state::AppState;
use opentracy_store::{Dimension, Micros, Quantiles, Stats, StatsQuery};

/// Registers the endpoints of this file.
pub fn endpoints() -> Endpoints {
    Endpoints::of(Callers::Admins)
        .routes(routes!(summary))
        .routes(routes!(time_series))
}

/// Maximum number of points in a time series; more would be unreadable in a chart.
const MAX_POINTS: i64 = 10_000;

/// The grouping of a summary.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct SummaryParams {
    #[param(inline)]
    group_by: Option<Dimension>,
}

/// The grouping and the interval of a time series.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct SeriesParams {
    #[param(inline)]
    group_by: Option<Dimension>,
    /// Length of an interval, such as `5m`; default `1h`. Intervals are aligned to the epoch, in
    /// UTC.
    interval: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Figures)]
pub struct AnalyticsReport {
    data: Vec<Figure>,
}

#[derive(Serialize, ToSchema)]
pub struct Figure {
    /// RFC 3339: the start of the interval; not in a summary.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    /// The model, provider, alias, cluster, key or client; `null` for traces without one, and if
    /// nothing is grouped.
    group: Option<String>,
    requests: u64,
    /// Requests whose client got an error.
    errors: u64,
    tokens: TokenSums,
    /// USD.
    cost: f64,
    /// Requests with an unknown price, which are not in `cost`.
    unpriced: u64,
    latency_ms: Option<Percentiles>,
    /// Percentiles over the requests that had a first token.
    time_to_first_token_ms: Option<Percentiles>,
}

#[derive(Serialize, ToSchema)]
pub struct TokenSums {
    input: u64,
    output: u64,
}

/// Percentiles of `n` sorted values: each is the value at index ⌊q·n⌋, without interpolation.
#[derive(Serialize, ToSchema)]
pub struct Percentiles {
    p50: f64,
    p95: f64,
    p99: f64,
}

/// Returns requests, errors, tokens, cost and latencies of the traces that match all filters.
#[utoipa::path(
    get,
    path = "/v1/analytics/summary",
    params(FilterParams, SummaryParams),
    responses((status = OK, body = AnalyticsReport), (status = BAD_REQUEST, description = "An invalid filter"))
)]
pub async fn summary(
    State(shared): State<AppState>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<AnalyticsReport>, Error> {
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

/// Returns the same figures as a time series. Intervals without requests are omitted.
#[utoipa::path(
    get,
    path = "/v1/analytics/timeseries",
    params(FilterParams, SeriesParams),
    responses((status = OK, body = AnalyticsReport), (status = BAD_REQUEST, description = "An invalid filter"))
)]
pub async fn time_series(
    State(shared): State<AppState>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<AnalyticsReport>, Error> {
    let (mut filter, series) = params::read::<SeriesParams>(pairs)?;
    let interval = interval(series.interval.as_deref().unwrap_or("1h"))?;
    let until = filter.until.unwrap_or_else(clock::now);
    // Bounds the number of points: without `since`, the series starts at the earliest allowed time.
    let span = Micros(interval.0.saturating_mul(MAX_POINTS));
    let since = *filter
        .since
        .get_or_insert(Micros(until.0.saturating_sub(span.0).max(0)));
    if until.0.saturating_sub(since.0) > span.0 {
        let words = format!(
            "is too short for the time since `since`: the series would have more than {MAX_POINTS} points"
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

async fn figures(shared: &AppState, query: StatsQuery) -> Result<Json<AnalyticsReport>, Error> {
    let stats = shared.store.stats(query).await?;
    Ok(Json(AnalyticsReport {
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
