//! Translates a chat completion request into a `generateContent` request.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::ApiError;
use crate::gemini::parts::{self, Content};
use crate::json;
use crate::openai::request::{self, ChatRequest, Tool, ToolChoice};
use crate::openai::unsupported;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerateContentRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content<'a>>,
    contents: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tools<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'a>>,
    generation_config: GenerationConfig<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tools<'a> {
    function_declarations: Vec<Declaration<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Declaration<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    /// Unlike `parameters`, it supports all of JSON Schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfig<'a> {
    function_calling_config: CallingConfig<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallingConfig<'a> {
    mode: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_function_names: Vec<Cow<'a, str>>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<ThinkingConfig>,
}

/// A model accepts a budget or a level, never both.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ThinkingConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_budget: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_level: Option<&'static str>,
    include_thoughts: bool,
}

/// Translates a body; also returns true if the answer is to be streamed.
///
/// A field that Gemini does not support is a 400 that names it, if dropping it would change the
/// answer.
pub fn translate_request(body: &[u8], model: &str) -> Result<(Vec<u8>, bool), ApiError> {
    let request = ChatRequest::parse(body)?;
    unsupported::reject(&request, "Gemini", model)?;
    let (system, contents) = parts::translate_messages(&request.messages, model)?;
    let declarations = request
        .tools
        .iter()
        .flatten()
        .enumerate()
        .map(|(index, tool)| declaration(tool, index, model))
        .collect::<Result<Vec<_>, _>>()?;
    let choice = request.choice()?;
    let mut config = GenerationConfig {
        max_output_tokens: request.max_completion_tokens.or(request.max_tokens),
        temperature: request.temperature,
        top_p: request.top_p,
        seed: request.seed,
        candidate_count: request.n.filter(|&n| n != 1),
        presence_penalty: request.presence_penalty,
        frequency_penalty: request.frequency_penalty,
        response_logprobs: request.logprobs.filter(|&wanted| wanted),
        logprobs: request
            .top_logprobs
            .filter(|&number| number > 0 && request.logprobs == Some(true)),
        ..GenerationConfig::default()
    };
    if let Some(format) = &request.response_format {
        match format.kind.as_ref() {
            "text" => {}
            "json_object" => config.response_mime_type = Some("application/json"),
            "json_schema" => {
                config.response_mime_type = Some("application/json");
                config.response_json_schema = Some(format.definition()?.schema()?);
            }
            other => return Err(request::unknown_format(other, model)),
        }
    }
    if let Some(effort) = request.reasoning_effort.as_deref() {
        config.thinking_config = Some(think(effort, model)?);
    }
    config.stop_sequences = request.stop.map(|stop| stop.0).unwrap_or_default();
    let translated = GenerateContentRequest {
        system_instruction: system,
        contents,
        tool_config: choice
            .filter(|_| !declarations.is_empty())
            .map(|choice| ToolConfig {
                function_calling_config: calling_config(choice),
            }),
        tools: if declarations.is_empty() {
            Vec::new()
        } else {
            vec![Tools {
                function_declarations: declarations,
            }]
        },
        generation_config: config,
    };
    let mut out = Vec::with_capacity(body.len() + 256);
    json::write(&mut out, &translated);
    Ok((out, request.stream.unwrap_or(false)))
}

fn declaration<'a>(
    tool: &'a Tool<'a>,
    index: usize,
    model: &str,
) -> Result<Declaration<'a>, ApiError> {
    let at = format!("tools[{index}]");
    let function = tool.as_function(&at, model, "Gemini")?;
    Ok(Declaration {
        name: &function.name,
        description: function.description.as_deref(),
        parameters_json_schema: function.schema(),
    })
}

fn calling_config(choice: ToolChoice<'_>) -> CallingConfig<'_> {
    let (mode, allowed_function_names) = match choice {
        ToolChoice::Auto => ("AUTO", Vec::new()),
        ToolChoice::None => ("NONE", Vec::new()),
        ToolChoice::Required => ("ANY", Vec::new()),
        ToolChoice::Function(name) => ("ANY", vec![name]),
    };
    CallingConfig {
        mode,
        allowed_function_names,
    }
}

/// Gemini 2.5 has a token budget, newer models have levels.
fn think(effort: &str, model: &str) -> Result<ThinkingConfig, ApiError> {
    let (budget, level) = match effort {
        "none" => (0, "minimal"),
        "minimal" => (512, "minimal"),
        "low" => (2048, "low"),
        "medium" => (8192, "medium"),
        "high" | "xhigh" | "max" => (24_576, "high"),
        _ => return Err(request::unknown_effort()),
    };
    let has_budget = model.starts_with("gemini-2.");
    Ok(ThinkingConfig {
        thinking_budget: has_budget.then_some(budget),
        thinking_level: (!has_budget).then_some(level),
        include_thoughts: effort != "none",
    })
}
