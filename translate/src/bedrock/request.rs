//! Translates a chat completion request into a Converse request.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::anthropic::model::Traits;
use crate::anthropic::thinking::{ThinkingConfig, think};
use crate::bedrock::blocks::{Block, CachePoint};
use crate::bedrock::family::Family;
use crate::bedrock::tools::{self, ToolConfig};
use crate::bedrock::turns::{self, Manner};
use crate::body;
use crate::error::ApiError;
use crate::json as text;
use crate::openai::request::{self, ChatRequest, ToolChoice};
use crate::openai::unsupported;
use crate::turns::{Role, Turn};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConverseRequest<'a> {
    messages: Vec<Turn<Block<'a>>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    #[serde(skip_serializing_if = "InferenceConfig::is_empty")]
    inference_config: InferenceConfig<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'a>>,
    #[serde(skip_serializing_if = "OutputConfig::is_empty")]
    output_config: OutputConfig,
    #[serde(skip_serializing_if = "Map::is_empty")]
    additional_model_request_fields: Map<String, Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    request_metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<ServiceTier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guardrail_config: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    performance_config: Option<&'a RawValue>,
}

#[derive(Serialize, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
struct InferenceConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<Cow<'a, str>>,
}

impl InferenceConfig<'_> {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct OutputConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_format: Option<Value>,
}

impl OutputConfig {
    fn is_empty(&self) -> bool {
        self.effort.is_none() && self.text_format.is_none()
    }
}

#[derive(Serialize)]
struct ServiceTier {
    r#type: &'static str,
}

/// Members in Bedrock's format that a client may add.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Own<'a> {
    #[serde(default, borrow)]
    guardrail_config: Option<&'a RawValue>,
    #[serde(default, borrow)]
    performance_config: Option<&'a RawValue>,
    #[serde(default)]
    additional_model_request_fields: Option<Map<String, Value>>,
}

/// Translates a body; also returns true if the answer is to be streamed.
///
/// A field that Bedrock does not support is a 400 that names it, if dropping it would change the
/// answer.
pub fn translate_request(
    body: &[u8],
    model: &str,
    max_output_tokens: Option<u64>,
) -> Result<(Vec<u8>, bool), ApiError> {
    let request = ChatRequest::parse(body)?;
    let mut own: Own<'_> = body::parse(body)?;
    unsupported::reject(&request, "Bedrock", model)?;
    let family = Family::of(model);
    let choice = request.choice()?;
    let forces_a_tool = matches!(choice, Some(ToolChoice::Required | ToolChoice::Function(_)));
    let any_object = request::any_object();
    let tools = tools::translate_tools(
        request.tools.as_deref().unwrap_or_default(),
        choice,
        request.parallel_tool_calls,
        &request.messages,
        &any_object,
        model,
    )?;
    let manner = Manner {
        model,
        family,
        tell_calls: tools.tell_calls,
    };
    let mut conversation = turns::translate_messages(&request.messages, manner)?;
    cache_all(&request, family, &mut conversation.turns);
    let mut additional = own
        .additional_model_request_fields
        .take()
        .unwrap_or_default();
    if let Some(choice) = tools.additional {
        additional.insert("tool_choice".to_owned(), choice);
    }
    let mut output_config = OutputConfig::default();
    if let Some(format) = &request.response_format {
        match format.kind.as_ref() {
            "text" => {}
            "json_object" => conversation
                .system
                .push(Block::text("Answer with one JSON object and nothing else.")),
            "json_schema" => output_config.text_format = Some(text_format(format)?),
            other => return Err(request::unknown_format(other, model)),
        }
    }
    let traits = Traits::of(model);
    let max_tokens = request.max_completion_tokens.or(request.max_tokens);
    let mut thinks = false;
    if let Some(effort) = request.reasoning_effort.as_deref() {
        let can_think = !forces_a_tool && !conversation.lacks_thoughts && !manner.tell_calls;
        let limit = max_tokens
            .or(max_output_tokens)
            .unwrap_or(traits.max_output_tokens);
        let (fields, own_effort) = reason(effort, family, &traits, limit, can_think, model)?;
        thinks = fields.contains_key("thinking") && effort != "none";
        additional.extend(fields);
        output_config.effort = own_effort;
    }
    let sampling = family != Family::Claude || (traits.sampling && !thinks);
    let temperature = request.temperature.filter(|_| sampling);
    let translated = ConverseRequest {
        messages: conversation.turns,
        system: conversation.system,
        inference_config: InferenceConfig {
            max_tokens: max_tokens.or(max_output_tokens.filter(|_| thinks)),
            // OpenAI's scale ends at 2, Bedrock's at 1.
            temperature: temperature.map(|value| value.clamp(0.0, 1.0)),
            // Claude accepts only one of the two, and needs no more.
            top_p: request
                .top_p
                .filter(|_| sampling && (family != Family::Claude || temperature.is_none())),
            stop_sequences: request.stop.map(|stop| stop.0).unwrap_or_default(),
        },
        tool_config: tools.config,
        output_config,
        additional_model_request_fields: additional,
        request_metadata: labels(body, request.user.as_deref()),
        service_tier: match request.service_tier.as_deref() {
            Some("default") => Some(ServiceTier { r#type: "default" }),
            Some("flex") => Some(ServiceTier { r#type: "flex" }),
            Some("priority") => Some(ServiceTier { r#type: "priority" }),
            _ => None,
        },
        guardrail_config: own.guardrail_config,
        performance_config: own.performance_config,
    };
    let mut out = Vec::with_capacity(body.len() + 256);
    text::write(&mut out, &translated);
    Ok((out, request.stream.unwrap_or(false)))
}

/// Adds a cache point at the end if the request itself carries a cache marker.
fn cache_all(request: &ChatRequest<'_>, family: Family, turns: &mut [Turn<Block<'_>>]) {
    if let Some(point) = CachePoint::of_marker(request.cache_control)
        && family.caches()
        && let Some(last) = turns.last_mut()
        && last.role == Role::User
        && !matches!(last.content.last(), Some(Block::CachePoint(_)))
    {
        last.content.push(Block::CachePoint(point));
    }
}

fn text_format(format: &request::ResponseFormat<'_>) -> Result<Value, ApiError> {
    let definition = format.definition()?;
    let mut schema = json!({"schema": definition.schema()?.get()});
    for (name, value) in [
        ("name", definition.name.as_deref()),
        ("description", definition.description.as_deref()),
    ] {
        if let (Some(value), Some(members)) = (value, schema.as_object_mut()) {
            members.insert(name.to_owned(), value.into());
        }
    }
    Ok(json!({"type": "json_schema", "structure": {"jsonSchema": schema}}))
}

/// Maps a reasoning effort to a model's own fields and to Converse's `effort`.
fn reason(
    effort: &str,
    family: Family,
    traits: &Traits,
    max_tokens: u64,
    can_think: bool,
    model: &str,
) -> Result<(Map<String, Value>, Option<&'static str>), ApiError> {
    let mut fields = Map::new();
    let level = match effort {
        "none" => None,
        "minimal" | "low" => Some("low"),
        "medium" => Some("medium"),
        "high" | "xhigh" | "max" => Some("high"),
        _ => return Err(request::unknown_effort()),
    };
    let mut own_effort = None;
    match (family, level) {
        (Family::Claude, _) => {
            let (thinking, effort) = think(effort, traits, max_tokens, can_think, model)?;
            // Thinking is off by default.
            if let Some(thinking) = thinking.filter(|&it| it != ThinkingConfig::Disabled) {
                fields.insert("thinking".to_owned(), json!(thinking));
            }
            own_effort = effort;
        }
        (_, None) => {}
        (Family::Nova, Some(level)) if family.may_think(model) => {
            let config = json!({"type": "enabled", "maxReasoningEffort": level});
            fields.insert("reasoningConfig".to_owned(), config);
        }
        (Family::GptOss, Some(level)) => {
            fields.insert("reasoning_effort".to_owned(), level.into());
        }
        (Family::Nova | Family::Other, Some(_)) => {
            let why = "it can't be told how much to reason";
            return Err(ApiError::unsupported("reasoning_effort", model, why));
        }
    }
    Ok((fields, own_effort))
}

/// Returns the client's metadata and user, limited to what Bedrock accepts.
fn labels(body: &[u8], user: Option<&str>) -> BTreeMap<String, String> {
    const MAX: usize = 16;
    const MAX_LENGTH: usize = 256;
    #[derive(Deserialize)]
    struct Labels {
        #[serde(default)]
        metadata: Option<BTreeMap<String, Value>>,
    }
    let is_legal = |text: &str| {
        text.len() <= MAX_LENGTH
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b" :_@$#=/+,-.".contains(&byte))
    };
    let metadata = text::from_bytes::<Labels>(body)
        .ok()
        .and_then(|labels| labels.metadata)
        .unwrap_or_default();
    user.map(|user| ("user".to_owned(), user.to_owned()))
        .into_iter()
        .chain(
            metadata
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))),
        )
        .filter(|(name, value)| !name.is_empty() && is_legal(name) && is_legal(value))
        .take(MAX)
        .collect()
}
