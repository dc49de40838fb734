//! Translates a Messages request into a chat completion request.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::body;
use crate::client::chat::{
    self, Function, JsonSchema, Message, Request, ResponseFormat, Tool, ToolChoice,
};
use crate::client::messages::blocks::{Blocks, assistant, parts_of, user};
use crate::error::ApiError;
use crate::json;
use crate::openai::{request, unanswered};

/// The body of `POST /v1/messages`. Members without a counterpart are rejected.
#[derive(Deserialize)]
struct MessagesRequest<'a> {
    #[serde(borrow)]
    messages: Vec<Turn<'a>>,
    #[serde(default, borrow)]
    system: Option<Blocks<'a>>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default, borrow)]
    stop_sequences: Option<Vec<Cow<'a, str>>>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    top_p: Option<f64>,
    #[serde(default, borrow)]
    top_k: Option<&'a RawValue>,
    #[serde(default, borrow)]
    tools: Option<Vec<OwnTool<'a>>>,
    #[serde(default, borrow)]
    tool_choice: Option<OwnChoice<'a>>,
    #[serde(default)]
    thinking: Option<Thinking>,
    #[serde(default, borrow)]
    output_config: Option<OutputConfig<'a>>,
    #[serde(default, borrow)]
    metadata: Option<Metadata<'a>>,
    #[serde(default, borrow)]
    service_tier: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    cache_control: Option<&'a RawValue>,
    #[serde(default, borrow)]
    mcp_servers: Option<&'a RawValue>,
    #[serde(default, borrow)]
    container: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: Blocks<'a>,
}

#[derive(Deserialize)]
struct OwnTool<'a> {
    #[serde(rename = "type", default, borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default, borrow)]
    description: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    input_schema: Option<&'a RawValue>,
    #[serde(default)]
    strict: Option<bool>,
    #[serde(default, borrow)]
    cache_control: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OwnChoice<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(default)]
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Deserialize)]
struct Thinking {
    #[serde(default)]
    budget_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct OutputConfig<'a> {
    #[serde(default, borrow)]
    effort: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    format: Option<OutputFormat<'a>>,
}

#[derive(Deserialize)]
struct OutputFormat<'a> {
    #[serde(borrow)]
    schema: &'a RawValue,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(default, borrow)]
    user_id: Option<Cow<'a, str>>,
}

/// Translates a body for a model of a provider other than Anthropic.
///
/// Coding agents send a thinking budget to every model, so it is ignored for a model that doesn't
/// reason. An effort is an explicit choice and is sent to every model.
pub fn translate_request(body: &[u8], model: &str, may_think: bool) -> Result<Vec<u8>, ApiError> {
    let own: MessagesRequest<'_> = body::parse(body)?;
    refuse_the_inexpressible(&own, model)?;
    let mut messages = Vec::new();
    if let Some(system) = &own.system {
        let parts = parts_of(system.read("system")?, "system", model)?;
        if !parts.is_empty() {
            messages.push(Message::new("system", chat::content_of(parts)));
        }
    }
    for (index, turn) in own.messages.iter().enumerate() {
        let at = format!("messages[{index}]");
        let blocks = turn.content.read(&format!("{at}.content"))?;
        match turn.role.as_ref() {
            "user" => user(blocks, &at, model, &mut messages)?,
            "assistant" => messages.extend(assistant(blocks, &at, model)?),
            "system" => {
                let parts = parts_of(blocks, &format!("{at}.content"), model)?;
                if !parts.is_empty() {
                    messages.push(Message::new("system", chat::content_of(parts)));
                }
            }
            other => {
                let words = format!("`{at}.role` is \"{other}\"; use user or assistant");
                return Err(ApiError::invalid(format!("{at}.role"), words));
            }
        }
    }
    unanswered::answer_all(&mut messages);
    let tools = own
        .tools
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(index, each)| tool(each, index, model))
        .collect::<Result<Vec<_>, _>>()?;
    let one_at_a_time = own
        .tool_choice
        .as_ref()
        .is_some_and(|choice| choice.disable_parallel_tool_use == Some(true));
    let output_config = own.output_config;
    let effort = output_config
        .as_ref()
        .and_then(|config| config.effort.clone())
        .or_else(|| effort_of(own.thinking.filter(|_| may_think)?.budget_tokens?));
    let request = Request {
        model: model.into(),
        messages,
        max_tokens: own.max_tokens,
        temperature: own.temperature,
        top_p: own.top_p,
        stop: own.stop_sequences.unwrap_or_default(),
        parallel_tool_calls: (one_at_a_time && !tools.is_empty()).then_some(false),
        tool_choice: own.tool_choice.and_then(choice),
        tools,
        response_format: output_config
            .and_then(|config| config.format)
            .map(|format| ResponseFormat::JsonSchema {
                json_schema: JsonSchema {
                    name: "answer".into(),
                    description: None,
                    schema: format.schema,
                    strict: Some(true),
                },
            }),
        reasoning_effort: effort,
        user: own.metadata.and_then(|metadata| metadata.user_id),
        service_tier: own
            .service_tier
            .filter(|tier| tier == "standard_only")
            .map(|_| "default".into()),
        cache_control: own.cache_control,
        stream: own.stream.unwrap_or(false),
        ..Request::default()
    };
    let mut out = Vec::with_capacity(body.len() + 256);
    json::write(&mut out, &request);
    Ok(out)
}

fn refuse_the_inexpressible(request: &MessagesRequest<'_>, model: &str) -> Result<(), ApiError> {
    let is_set =
        |raw: Option<&RawValue>| raw.is_some_and(|raw| !matches!(raw.get(), "null" | "[]"));
    let refusals = [
        (
            is_set(request.top_k),
            "top_k",
            "its provider has no such field; use top_p",
        ),
        (
            is_set(request.mcp_servers),
            "mcp_servers",
            "only Anthropic calls MCP servers itself",
        ),
        (
            is_set(request.container),
            "container",
            "only Anthropic has containers",
        ),
    ];
    request::refuse(model, refusals)
}

/// Maps a thinking budget to an effort. Adaptive thinking needs none: a reasoning model does that
/// by default.
fn effort_of(budget: u64) -> Option<Cow<'static, str>> {
    Some(
        match budget {
            ..=2048 => "low",
            2049..=12_000 => "medium",
            _ => "high",
        }
        .into(),
    )
}

fn tool<'a>(tool: OwnTool<'a>, index: usize, model: &str) -> Result<Tool<'a>, ApiError> {
    if tool.kind.as_deref().is_some_and(|kind| kind != "custom") {
        let why = "only Anthropic runs this tool; define one of your own";
        return Err(ApiError::unsupported(
            format!("tools[{index}].type"),
            model,
            why,
        ));
    }
    Ok(Tool {
        r#type: "function",
        function: Function {
            name: tool.name,
            description: tool.description,
            parameters: tool.input_schema,
            strict: tool.strict,
        },
        cache_control: tool.cache_control,
    })
}

fn choice(choice: OwnChoice<'_>) -> Option<ToolChoice<'_>> {
    match (choice.kind.as_ref(), choice.name) {
        ("any", _) => Some(ToolChoice::Word("required")),
        ("none", _) => Some(ToolChoice::Word("none")),
        ("tool", Some(name)) => Some(ToolChoice::function(name)),
        // `auto` is the default, and some providers support nothing else.
        _ => None,
    }
}
