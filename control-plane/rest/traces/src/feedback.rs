//! `POST /v1/feedback`: records ratings of answers by users or judges.

use axum::Json;
use axum::extract::State;
use opentracy_translate::error::ApiError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use opentracy_base::clock;
use opentracy_rest::endpoints::{Callers, Endpoints};
use opentracy_rest::error::Error;
use opentracy_rest::json::Body;
use opentracy_routing::learn;
use opentracy_state::AppState;
use opentracy_store::Feedback;

/// Registers the endpoints of this file.
pub fn endpoints() -> Endpoints {
    Endpoints::of(Callers::Users).routes(routes!(give))
}

const MAX_SOURCE: usize = 100;

/// A rating of a trace: `thumbs` or `score`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// As in the response header `X-OpenTracy-Trace-Id`.
    trace_id: Uuid,
    thumbs: Option<Thumbs>,
    /// From 0 (useless) to 1 (good enough).
    score: Option<f64>,
    /// The source of the rating; default `user`. A source's newest rating of a trace replaces its
    /// earlier ones.
    source: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Thumbs {
    Up,
    Down,
}

#[derive(Serialize, ToSchema)]
pub struct Taken {
    /// `true` if the router learns from it, within seconds: the prompt was recorded, and the active
    /// pack knows the model.
    learned: bool,
}

/// Stores a rating and updates the active router pack with it.
#[utoipa::path(
    post,
    path = "/v1/feedback",
    request_body = Verdict,
    responses((status = OK, body = Taken), (status = NOT_FOUND, description = "No such trace"))
)]
pub async fn give(
    State(shared): State<AppState>,
    Body(verdict): Body<Verdict>,
) -> Result<Json<Taken>, Error> {
    let error = match (verdict.thumbs, verdict.score) {
        (Some(Thumbs::Up), None) => 0.0,
        (Some(Thumbs::Down), None) => 1.0,
        (None, Some(score)) if (0.0..=1.0).contains(&score) => 1.0 - score,
        _ => {
            let words = "Send `thumbs`, which is up or down, or `score`, which is from 0 to 1";
            return Err(ApiError::invalid("score", words).into());
        }
    };
    let source = verdict.source.unwrap_or_else(|| "user".to_owned());
    if source.is_empty() || source.len() > MAX_SOURCE {
        let words = format!("`source` must have 1 to {MAX_SOURCE} bytes");
        return Err(ApiError::invalid("source", words).into());
    }
    let feedback = Feedback {
        trace_id: verdict.trace_id,
        at: clock::now(),
        source,
        error,
    };
    let Some(trace) = shared.store.get(feedback.trace_id).await? else {
        let words = format!("Unknown trace \"{}\"", feedback.trace_id);
        return Err(ApiError::new(404, words).into());
    };
    shared.store.add_feedback(vec![feedback.clone()]).await?;
    let outcome = learn::outcome(&trace.record, &feedback);
    let known = |model: &str| {
        let active = shared.router.active();
        active.is_some_and(|active| active.pack.profile_of(model).is_some())
    };
    let outcome = outcome.filter(|outcome| known(&outcome.model));
    let learned = outcome.is_some_and(|outcome| shared.heard.try_send(outcome).is_ok());
    Ok(Json(Taken { learned }))
}
