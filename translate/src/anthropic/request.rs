//! Translates a chat completion request into a Messages request.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::anthropic::model::Traits;
use crate::anthropic::platform::{Platform, VERTEX_VERSION};
use crate::anthropic::thinking::{ThinkingConfig, think};
use crate::anthropic::tools::{self, Tool, ToolChoice};
use crate::anthropic::turns::{self, Block};
use crate::error::ApiError;
use crate::exchange::Target;
use crate::json;
use crate::openai::request::{self, ChatRequest, ToolChoice as OpenAiToolChoice};
use crate::openai::unsupported;
use crate::turns::Turn;

/// The body of `POST /v1/messages`.
#[derive(Serialize)]
struct MessagesRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anthropic_version: Option<&'static str>,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Turn<Block<'a>>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ToolChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<ThinkingConfig>,
    #[serde(skip_serializing_if = "OutputConfig::is_empty")]
    output_config: OutputConfig<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<&'a RawValue>,
}

#[derive(Serialize, Default)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<OutputFormat<'a>>,
}

impl OutputConfig<'_> {
    fn is_empty(&self) -> bool {
        self.effort.is_none() && self.format.is_none()
    }
}

#[derive(Serialize)]
struct OutputFormat<'a> {
    r#type: &'static str,
    schema: &'a RawValue,
}

#[derive(Serialize)]
struct Metadata<'a> {
    user_id: &'a str,
}

/// Translates a body; also returns true if the answer is to be streamed.
///
/// A field that Anthropic does not support is a 400 that names it, if dropping it would change the
/// answer.
pub fn translate_request(
    body: &[u8],
    target: &Target<'_>,
    platform: Platform,
) -> Result<(Vec<u8>, bool), ApiError> {
    let Target {
        model,
        max_output_tokens,
        ..
    } = *target;
    let request = ChatRequest::parse(body)?;
    unsupported::reject(&request, "Anthropic", model)?;
    let traits = Traits::of(model);
    let max_tokens = request
        .max_completion_tokens
        .or(request.max_tokens)
        .unwrap_or_else(|| max_output_tokens.unwrap_or(traits.max_output_tokens));
    let tools = tools::translate_tools(request.tools.as_deref().unwrap_or_default(), body, model)?;
    let choice = request.choice()?;
    let forces_a_tool = matches!(
        choice,
        Some(OpenAiToolChoice::Required | OpenAiToolChoice::Function(_))
    );
    let tool_choice =
        tools::translate_choice(choice, request.parallel_tool_calls, !tools.is_empty())?;
    let mut conversation = turns::translate_messages(&request.messages, model)?;
    let mut output_config = OutputConfig::default();
    if let Some(format) = &request.response_format {
        match format.kind.as_ref() {
            "text" => {}
            "json_object" => conversation
                .system
                .push(Block::text("Answer with one JSON object and nothing else.")),
            "json_schema" => {
                output_config.format = Some(json_schema(format, &traits, model)?);
            }
            other => return Err(request::unknown_format(other, model)),
        }
    }
    let can_think = !forces_a_tool && !conversation.lacks_thoughts;
    let thinking = match request.reasoning_effort.as_deref() {
        None => None,
        Some(effort) => {
            let (thinking, effort) = think(effort, &traits, max_tokens, can_think, model)?;
            output_config.effort = effort;
            thinking
        }
    };
    let thinks = !matches!(thinking, None | Some(ThinkingConfig::Disabled));
    let sampling = traits.sampling && !thinks;
    let temperature = request.temperature.filter(|_| sampling);
    let stream = request.stream.unwrap_or(false);
    let translated = MessagesRequest {
        model: (platform == Platform::Anthropic).then_some(model),
        anthropic_version: (platform == Platform::Vertex).then_some(VERTEX_VERSION),
        max_tokens,
        system: conversation.system,
        messages: conversation.turns,
        tools,
        tool_choice,
        // OpenAI's scale ends at 2, Anthropic's at 1.
        temperature: temperature.map(|value| value.clamp(0.0, 1.0)),
        // Some models accept only one of the two, and none needs both.
        top_p: request
            .top_p
            .filter(|value| sampling && temperature.is_none() && *value < 1.0),
        stop_sequences: request.stop.map(|stop| stop.0).unwrap_or_default(),
        stream,
        thinking,
        output_config,
        metadata: request
            .safety_identifier
            .as_deref()
            .or(request.user.as_deref())
            .map(|user_id| Metadata { user_id }),
        service_tier: match request.service_tier.as_deref() {
            Some("auto") => Some("auto"),
            Some("default") => Some("standard_only"),
            _ => None,
        },
        cache_control: request
            .cache_control
            .filter(|raw| raw.get() != "null")
            .or_else(|| auto_cache(body, target)),
    };
    let mut out = Vec::with_capacity(body.len() + 256);
    json::write(&mut out, &translated);
    Ok((out, stream))
}

/// Lets Anthropic place the cache markers, if the operator enabled it and the client set none: it
/// caches up to the last block that can be cached.
fn auto_cache(body: &[u8], target: &Target<'_>) -> Option<&'static RawValue> {
    let is_marked = || memchr::memmem::find(body, b"\"cache_control\"").is_some();
    (target.auto_cache && !is_marked())
        .then(|| serde_json::from_str(r#"{"type":"ephemeral"}"#).ok())
        .flatten()
}

fn json_schema<'a>(
    format: &crate::openai::request::ResponseFormat<'a>,
    traits: &Traits,
    model: &str,
) -> Result<OutputFormat<'a>, ApiError> {
    let param = "response_format.json_schema";
    if !traits.json_schema {
        return Err(ApiError::unsupported(
            param,
            model,
            "only Claude 4.5 and later follow a schema; use json_object",
        ));
    }
    Ok(OutputFormat {
        r#type: "json_schema",
        schema: format.definition()?.schema()?,
    })
}
