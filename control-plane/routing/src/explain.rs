//! The router's choice for a question, with its reasons, as JSON. REST and gRPC answer with it.

use opentracy_proto::v1;
use opentracy_router::Weights;
use opentracy_router::matrix;
use opentracy_translate::error::ApiError;
use opentracy_translate::json;
use opentracy_translate::openai::message::Message;
use opentracy_translate::openai::subject::Subject;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{About, Answer, Question, Router, RoutingError, candidates};
use opentracy_config::auto_alias;
use opentracy_config::snapshot::ActiveConfig;
use opentracy_ingest::live::Live;

const MAX_BATCH: usize = 256;
const MAX_CANDIDATES: usize = 100;

/// A question with one of `prompt`, `messages` and `embedding`, or a `batch` of questions.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteRequest<'a> {
    /// A prompt, as a user would write it.
    prompt: Option<String>,
    /// A conversation, in the format of chat completions.
    #[serde(borrow)]
    #[schema(value_type = Option<Vec<Object>>)]
    messages: Option<&'a RawValue>,
    /// A vector from the active pack's embedder.
    embedding: Option<Vec<f32>>,
    /// The alias whose candidates and weights are used; default `auto`.
    model: Option<String>,
    /// `provider/model`; overrides the alias's candidates.
    candidates: Option<Vec<String>>,
    /// Overrides the alias's.
    cost_weight: Option<f64>,
    /// `true` if the model must support tools.
    #[serde(default)]
    tools: bool,
    /// A list of questions. The other fields are defaults for them.
    #[serde(borrow)]
    #[schema(value_type = Option<Vec<Object>>)]
    batch: Option<Vec<&'a RawValue>>,
}

/// A decision.
#[derive(Serialize, ToSchema)]
#[schema(as = Route)]
pub struct RouteExplanation {
    /// `provider/model`.
    selected_model: String,
    /// The probability that its answer is not good enough.
    expected_error: f64,
    /// Expected error plus the weighted cost and latency. The lowest wins.
    cost_adjusted_score: f64,
    /// Best first.
    all_scores: Vec<Scored>,
    /// Candidates that don't meet the request's needs.
    excluded: Vec<Left>,
    /// The nearest cluster.
    cluster_id: u32,
    /// Clusters that the prompt belongs to, most probable first.
    cluster_probabilities: Vec<ClusterShare>,
    /// `true` if the prompt is unlike those that the pack was fitted on.
    is_far: bool,
    cache_hit: bool,
    /// `true` if the model was chosen to explore, because little is known of it.
    is_exploration: bool,
    cost_weight: f64,
    /// Excludes the embedding.
    routing_ms: f64,
    embedding_ms: f64,
    /// The version of the pack.
    pack: String,
    reason: String,
}

#[derive(Serialize, ToSchema)]
pub struct Scored {
    model: String,
    expected_error: f64,
    /// Cost relative to the most expensive candidate, from 0 to 1.
    cost_share: f64,
    /// Latency relative to the slowest candidate, from 0 to 1.
    latency_share: f64,
    score: f64,
}

#[derive(Serialize, ToSchema)]
pub struct Left {
    model: String,
    why: &'static str,
}

#[derive(Serialize, ToSchema)]
pub struct ClusterShare {
    cluster_id: u32,
    probability: f32,
}

/// One entry per question, in order: a decision, or an `error`.
#[derive(Serialize)]
struct Batch {
    data: Vec<Box<RawValue>>,
}

/// Validates a cost weight that overrides the alias's.
pub fn check_cost_weight(weight: Option<f64>) -> Result<(), ApiError> {
    match weight {
        Some(weight) if !weight.is_finite() || weight < 0.0 => Err(ApiError::invalid(
            "cost_weight",
            "`cost_weight` must be a number from 0",
        )),
        _ => Ok(()),
    }
}

/// Returns the status and the JSON response for a body.
pub async fn answer(
    router: &Router,
    snapshot: &ActiveConfig,
    live: &Live,
    body: &[u8],
) -> (u16, Vec<u8>) {
    let answered = async {
        let request: RouteRequest<'_> = parse(body)?;
        let Some(batch) = &request.batch else {
            let decided = decide(router, snapshot, live, &request, None).await?;
            return Ok::<_, ApiError>(serde_json::to_vec(&decided));
        };
        check_batch(&request, batch)?;
        let mut data = Vec::with_capacity(batch.len());
        for (index, each) in batch.iter().enumerate() {
            let decided = async {
                let own: RouteRequest<'_> = parse(each.get().as_bytes())?;
                decide(router, snapshot, live, &own, Some(&request)).await
            };
            data.push(match decided.await {
                Ok(route) => serde_json::value::to_raw_value(&route),
                Err(error) => {
                    let error = ApiError {
                        message: format!("batch[{index}]: {}", error.message),
                        ..error
                    };
                    let json = String::from_utf8_lossy(&error.to_json()).into_owned();
                    RawValue::from_string(json)
                }
            });
        }
        let data = data.into_iter().collect::<Result<_, _>>();
        Ok(data.and_then(|data| serde_json::to_vec(&Batch { data })))
    };
    match answered.await {
        Ok(json) => (200, json.unwrap_or_default()),
        Err(error) => (error.status, error.to_json()),
    }
}

fn parse<'a>(body: &'a [u8]) -> Result<RouteRequest<'a>, ApiError> {
    if !body.trim_ascii_start().starts_with(b"{") {
        let words = "The body must be a JSON object with `prompt`, `messages` or `embedding`";
        return Err(ApiError::new(400, words).with_code("invalid_json"));
    }
    serde_json::from_slice(body)
        .map_err(|error| ApiError::new(400, json::describe_error(&error)).with_code("invalid_json"))
}

fn check_batch(request: &RouteRequest<'_>, batch: &[&RawValue]) -> Result<(), ApiError> {
    if request.prompt.is_some() || request.messages.is_some() || request.embedding.is_some() {
        let words = "`batch` can't be combined with `prompt`, `messages` or `embedding`; put them into its entries";
        return Err(ApiError::invalid("batch", words));
    }
    if batch.is_empty() || batch.len() > MAX_BATCH {
        let words = format!("`batch` must have 1 to {MAX_BATCH} entries");
        return Err(ApiError::invalid("batch", words));
    }
    Ok(())
}

async fn decide(
    router: &Router,
    snapshot: &ActiveConfig,
    live: &Live,
    request: &RouteRequest<'_>,
    default: Option<&RouteRequest<'_>>,
) -> Result<RouteExplanation, ApiError> {
    let name = request.model.as_ref().or_else(|| default?.model.as_ref());
    let name = name.map_or(auto_alias::NAME, String::as_str);
    let alias = snapshot.config.aliases.get(name).map(|alias| &alias.value);
    let alias = alias.ok_or_else(|| {
        let words = format!("Unknown alias \"{name}\"; with `candidates` no alias is needed");
        ApiError::invalid("model", words)
    })?;
    let candidates = request.candidates.as_ref();
    let candidates = candidates.or_else(|| default?.candidates.as_ref());
    let ids = match candidates {
        Some(own) => check_candidates(own)?,
        None => alias.in_order(),
    };
    let cost_weight = request.cost_weight.or_else(|| default?.cost_weight);
    check_cost_weight(cost_weight)?;
    let (about, needs) = about(request, default.is_some_and(|default| default.tools))?;
    let question = Question {
        about,
        // No exploration: without a call, nothing can be learned from it.
        weights: Weights {
            exploration: 0.0,
            ..alias.routing.weights(cost_weight)
        },
    };
    router
        .decide(&question, |pack| {
            candidates::part(&ids, &needs, snapshot, pack, live)
        })
        .await
        .map(RouteExplanation::from)
        .map_err(|undecided| refusal(&undecided))
}

fn check_candidates(candidates: &[String]) -> Result<Vec<String>, ApiError> {
    if candidates.is_empty() || candidates.len() > MAX_CANDIDATES {
        let words = format!("`candidates` must name 1 to {MAX_CANDIDATES} models");
        return Err(ApiError::invalid("candidates", words));
    }
    let is_named = |id: &&String| id.split_once('/').is_none();
    if let Some(id) = candidates.iter().find(is_named) {
        let words = format!("\"{id}\" must be written as provider/model");
        return Err(ApiError::invalid("candidates", words));
    }
    Ok(candidates.to_vec())
}

fn about(request: &RouteRequest<'_>, tools: bool) -> Result<(About, v1::Needs), ApiError> {
    let tools = tools || request.tools;
    let needs = |bytes: usize, images: bool| v1::Needs {
        conversation_bytes: bytes as u64,
        tools,
        images,
    };
    match (&request.prompt, &request.messages, &request.embedding) {
        (Some(prompt), None, None) if !prompt.trim().is_empty() => {
            let message = Message {
                role: "user".into(),
                content: Some(opentracy_translate::openai::message::Content::Text(
                    prompt.into(),
                )),
                ..Message::default()
            };
            let subject = Subject::of(&[message]);
            Ok((About::Text(subject.text), needs(prompt.len(), false)))
        }
        (None, Some(messages), None) => {
            let parsed: Vec<Message<'_>> =
                serde_json::from_str(messages.get()).map_err(|error| {
                    let words = format!("`messages`: {}", json::describe_error(&error));
                    ApiError::invalid("messages", words)
                })?;
            let subject = Subject::of(&parsed);
            if subject.text.is_empty() {
                let words = "`messages` must contain a message with text";
                return Err(ApiError::invalid("messages", words));
            }
            let needs = needs(messages.get().len(), subject.has_images);
            Ok((About::Text(subject.text), needs))
        }
        (None, None, Some(embedding)) => {
            let mut embedding = embedding.clone();
            matrix::normalize(&mut embedding);
            let is_sound = embedding.iter().all(|value| value.is_finite());
            if !is_sound || matrix::dot(&embedding, &embedding) < 0.5 {
                let words = "`embedding` must be numbers that are not all 0";
                return Err(ApiError::invalid("embedding", words));
            }
            Ok((About::Embedding(embedding), needs(0, false)))
        }
        _ => {
            let words = "Send one of `prompt`, `messages` and `embedding`; it can't be empty";
            Err(ApiError::invalid("prompt", words).with_code("missing_required_parameter"))
        }
    }
}

fn refusal(undecided: &RoutingError) -> ApiError {
    match undecided {
        RoutingError::Dimensions { .. } => ApiError::invalid("embedding", undecided.to_string()),
        _ => {
            let words = format!("The router can't decide: {undecided}");
            ApiError::new(503, words).with_code(undecided.word())
        }
    }
}

impl From<Answer> for RouteExplanation {
    fn from(answer: Answer) -> Self {
        let first = answer.scores.first();
        Self {
            selected_model: answer.order.first().cloned().unwrap_or_default(),
            expected_error: first.map_or(0.0, |score| score.error),
            cost_adjusted_score: first.map_or(0.0, |score| score.total),
            all_scores: answer
                .order
                .iter()
                .zip(&answer.scores)
                .map(|(model, score)| Scored {
                    model: model.clone(),
                    expected_error: score.error,
                    cost_share: score.cost_share,
                    latency_share: score.latency_share,
                    score: score.total,
                })
                .collect(),
            excluded: answer
                .excluded
                .iter()
                .map(|excluded| Left {
                    model: excluded.id.clone(),
                    why: excluded.why,
                })
                .collect(),
            cluster_id: answer.assessment.membership.cluster,
            cluster_probabilities: answer
                .assessment
                .membership
                .probabilities
                .iter()
                .map(|&(cluster_id, probability)| ClusterShare {
                    cluster_id,
                    probability,
                })
                .collect(),
            is_far: answer.assessment.is_far,
            cache_hit: answer.is_cached,
            is_exploration: answer.is_exploration,
            cost_weight: answer.cost_weight,
            routing_ms: answer.routing.as_secs_f64() * 1e3,
            embedding_ms: answer.embedding.as_secs_f64() * 1e3,
            pack: answer.pack.clone(),
            reason: answer.reason(),
        }
    }
}
