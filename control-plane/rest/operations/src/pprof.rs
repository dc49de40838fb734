//! `/debug/pprof/*`: CPU and memory profiles of the control plane. Disabled unless
//! `management.profiling` is set, and then only for callers with a key.

use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use opentracy_translate::error::ApiError;
use pprof::ProfilerGuardBuilder;
use pprof::protos::Message as _;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use opentracy_rest::access::Caller;
use opentracy_rest::endpoints::{Callers, Endpoints};
use opentracy_rest::error::Error;
use opentracy_state::AppState;

/// Registers the endpoints of this file.
pub fn endpoints() -> Endpoints {
    Endpoints::of(Callers::Admins)
        .routes(routes!(profile))
        .routes(routes!(flamegraph))
        .routes(routes!(heap))
}

/// Samples per second. Not a round number, to avoid aliasing with periodic work.
const FREQUENCY: i32 = 99;
const SECONDS: u64 = 10;
const MAX_SECONDS: u64 = 60;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ProfileParams {
    /// Duration in seconds: 1 to 60, default 10.
    seconds: Option<u64>,
}

impl ProfileParams {
    fn duration(&self) -> Result<Duration, ApiError> {
        match self.seconds.unwrap_or(SECONDS) {
            seconds @ 1..=MAX_SECONDS => Ok(Duration::from_secs(seconds)),
            _ => Err(ApiError::invalid(
                "seconds",
                format!("`seconds` must be from 1 to {MAX_SECONDS}"),
            )),
        }
    }
}

fn check(shared: &AppState, caller: &Caller) -> Result<(), ApiError> {
    if !shared.snapshot.borrow().config.management.profiling {
        let words = "Profiling is off; set `management.profiling: true`";
        return Err(ApiError::new(404, words).with_code("profiling_off"));
    }
    if caller.0.is_none() {
        let words = "Profiles need an API key; create one with the role `read-only` or `admin`";
        return Err(ApiError::new(401, words).with_code("missing_api_key"));
    }
    Ok(())
}

fn failed(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(503, format!("Profiling failed: {error}"))
}

/// Samples the CPU for the requested duration.
async fn sample(
    shared: &AppState,
    caller: &Caller,
    params: &ProfileParams,
) -> Result<pprof::Report, ApiError> {
    check(shared, caller)?;
    let duration = params.duration()?;
    let guard = ProfilerGuardBuilder::default()
        .frequency(FREQUENCY)
        .blocklist(&["libc", "libgcc", "pthread", "vdso"])
        .build()
        .map_err(failed)?;
    tokio::time::sleep(duration).await;
    let report = guard.report().build().map_err(failed)?;
    if report.data.is_empty() {
        return Err(failed("no samples were taken; raise `seconds`"));
    }
    Ok(report)
}

/// Returns a CPU profile in pprof's format.
#[utoipa::path(
    get,
    path = "/debug/pprof/profile",
    params(ProfileParams),
    responses((status = OK, content_type = "application/octet-stream"), (status = NOT_FOUND, description = "Profiling is off"))
)]
pub async fn profile(
    State(shared): State<AppState>,
    axum::Extension(caller): axum::Extension<Caller>,
    Query(params): Query<ProfileParams>,
) -> Result<Response, Error> {
    let report = sample(&shared, &caller, &params).await?;
    let bytes = report.pprof().map_err(failed)?.encode_to_vec();
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

/// Returns a CPU profile as a flame graph.
#[utoipa::path(
    get,
    path = "/debug/pprof/flamegraph",
    params(ProfileParams),
    responses((status = OK, content_type = "image/svg+xml"), (status = NOT_FOUND, description = "Profiling is off"))
)]
pub async fn flamegraph(
    State(shared): State<AppState>,
    axum::Extension(caller): axum::Extension<Caller>,
    Query(params): Query<ProfileParams>,
) -> Result<Response, Error> {
    let report = sample(&shared, &caller, &params).await?;
    let mut picture = Vec::new();
    report.flamegraph(&mut picture).map_err(failed)?;
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], picture).into_response())
}

/// Returns a heap profile in pprof's format. Covers allocations since the first request for a
/// profile.
#[utoipa::path(
    get,
    path = "/debug/pprof/heap",
    responses((status = OK, content_type = "application/gzip"), (status = NOT_FOUND, description = "Profiling is off"))
)]
pub async fn heap(
    State(shared): State<AppState>,
    axum::Extension(caller): axum::Extension<Caller>,
) -> Result<Response, Error> {
    check(&shared, &caller)?;
    let control = jemalloc_pprof::PROF_CTL.as_ref();
    let control = control.ok_or_else(|| failed("the allocator does not support profiling"))?;
    let mut control = control.lock().await;
    if !control.activated() {
        control.activate().map_err(failed)?;
    }
    let bytes = control.dump_pprof().map_err(failed)?;
    Ok(([(header::CONTENT_TYPE, "application/gzip")], bytes).into_response())
}
