//! A Messages request as a chat completion request.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::chat::{
    self, CalledFunction, Content, File, Function, JsonSchema, Message, Part, PartKind, Request,
    ResponseFormat, Tool, ToolCall, ToolChoice,
};
use crate::client::thoughts;
use crate::error::ApiError;
use crate::json;

/// The body of `POST /v1/messages`. What has no counterpart is refused where it stands.
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

/// A text or a list of blocks, read later.
#[derive(Deserialize)]
#[serde(transparent)]
struct Blocks<'a>(#[serde(borrow)] &'a RawValue);

/// Any block; which members are set goes by `kind`.
#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    source: Option<Source<'a>>,
    #[serde(default, borrow)]
    title: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    thinking: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    signature: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    data: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    input: Option<&'a RawValue>,
    #[serde(default, borrow)]
    tool_use_id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    content: Option<Blocks<'a>>,
    #[serde(default)]
    is_error: Option<bool>,
    #[serde(default, borrow)]
    cache_control: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Source<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    media_type: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    data: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    url: Option<Cow<'a, str>>,
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

/// Translates a body for a model of another provider than Anthropic.
pub fn translate(body: &[u8], model: &str) -> Result<Vec<u8>, ApiError> {
    let own: MessagesRequest<'_> = json::parse(body)?;
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
            "assistant" => messages.push(assistant(blocks, &at, model)?),
            "system" => {
                let parts = parts_of(blocks, &format!("{at}.content"), model)?;
                messages.push(Message::new("system", chat::content_of(parts)));
            }
            other => {
                let words = format!("`{at}.role` is \"{other}\"; use user or assistant");
                return Err(ApiError::invalid(format!("{at}.role"), words));
            }
        }
    }
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
        .or_else(|| effort_of(own.thinking?.budget_tokens?));
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
    for (is_asked_for, param, why) in [
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
    ] {
        if is_asked_for {
            return Err(ApiError::unsupported(param, model, why));
        }
    }
    Ok(())
}

/// A budget of thinking in words. Adaptive thinking needs none: a model that reasons does.
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
        // It is the default, and some providers know nothing else.
        _ => None,
    }
}

impl<'a> Blocks<'a> {
    fn read(&self, at: &str) -> Result<Vec<Block<'a>>, ApiError> {
        let raw = self.0.get();
        let wrong = |error: serde_json::Error| {
            ApiError::invalid(
                at,
                format!("`{at}` must be a text or a list of blocks: {error}"),
            )
        };
        match raw.as_bytes().first() {
            Some(b'"') => {
                let text: Cow<'a, str> = text(raw).map_err(wrong)?;
                Ok(vec![Block::of_text(text)])
            }
            Some(b'n') => Ok(Vec::new()),
            _ => serde_json::from_str(raw).map_err(wrong),
        }
    }
}

/// A JSON string, borrowed where it can be.
fn text(raw: &str) -> serde_json::Result<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'t>(#[serde(borrow)] Cow<'t, str>);
    serde_json::from_str::<Text<'_>>(raw).map(|text| text.0)
}

impl<'a> Block<'a> {
    fn of_text(text: Cow<'a, str>) -> Self {
        Self {
            kind: "text".into(),
            text: Some(text),
            source: None,
            title: None,
            thinking: None,
            signature: None,
            data: None,
            id: None,
            name: None,
            input: None,
            tool_use_id: None,
            content: None,
            is_error: None,
            cache_control: None,
        }
    }

    fn missing(&self, at: &str, field: &str) -> ApiError {
        let param = format!("{at}.{field}");
        let words = format!("`{param}` is missing in a block of type {}", self.kind);
        ApiError::invalid(param, words)
    }
}

/// The blocks that a chat message has parts for.
fn parts_of<'a>(blocks: Vec<Block<'a>>, at: &str, model: &str) -> Result<Vec<Part<'a>>, ApiError> {
    blocks
        .into_iter()
        .enumerate()
        .filter_map(|(index, block)| part(block, &format!("{at}[{index}]"), model).transpose())
        .collect()
}

/// A block as a part; `None` for an empty text.
fn part<'a>(block: Block<'a>, at: &str, model: &str) -> Result<Option<Part<'a>>, ApiError> {
    let missing_text = block.missing(at, "text");
    let kind = match (block.kind.as_ref(), block.source) {
        ("text", _) => {
            let text = block.text.ok_or(missing_text)?;
            if text.is_empty() {
                return Ok(None);
            }
            PartKind::Text { text }
        }
        ("image", Some(source)) => Part::image(url_of(source, at, model)?, None).kind,
        ("document", Some(source)) => match (source.kind.as_ref(), source.data) {
            ("base64", Some(data)) => {
                let media_type = source.media_type.as_deref().unwrap_or("application/pdf");
                PartKind::File {
                    file: File {
                        file_data: format!("data:{media_type};base64,{data}").into(),
                        filename: block.title.or(Some("document.pdf".into())),
                    },
                }
            }
            ("text", Some(data)) => PartKind::Text { text: data },
            _ => {
                let why = "send the document itself, as base64 or text";
                return Err(ApiError::unsupported(format!("{at}.source"), model, why));
            }
        },
        (kind, _) => {
            let why = format!("its provider takes no \"{kind}\" block here");
            return Err(ApiError::unsupported(format!("{at}.type"), model, &why));
        }
    };
    Ok(Some(Part {
        kind,
        cache_control: block.cache_control,
    }))
}

fn url_of<'a>(source: Source<'a>, at: &str, model: &str) -> Result<Cow<'a, str>, ApiError> {
    match (source.kind.as_ref(), source.url, source.data) {
        ("url", Some(url), _) => Ok(url),
        ("base64", _, Some(data)) => {
            let media_type = source.media_type.as_deref().unwrap_or("image/png");
            Ok(format!("data:{media_type};base64,{data}").into())
        }
        _ => {
            let why = "send the image itself, as base64, or its address";
            Err(ApiError::unsupported(format!("{at}.source"), model, why))
        }
    }
}

/// A user's turn: results become messages of their own, in front of what the user says.
fn user<'a>(
    blocks: Vec<Block<'a>>,
    at: &str,
    model: &str,
    messages: &mut Vec<Message<'a>>,
) -> Result<(), ApiError> {
    let (results, said): (Vec<_>, Vec<_>) = blocks
        .into_iter()
        .enumerate()
        .partition(|(_, block)| block.kind == "tool_result");
    let mut parts = Vec::new();
    for (index, block) in results {
        let at = format!("{at}.content[{index}]");
        let missing = block.missing(&at, "tool_use_id");
        let call = block.tool_use_id.ok_or(missing)?;
        let content = match &block.content {
            Some(content) => parts_of(content.read(&at)?, &at, model)?,
            None => Vec::new(),
        };
        let mut text = String::new();
        for part in content {
            match part.kind {
                PartKind::Text { text: more } => text.push_str(&more),
                // A tool's message holds text only, so the user shows what the tool did.
                _ => {
                    text.push_str("(See the next message.)");
                    parts.push(part);
                }
            }
        }
        if block.is_error == Some(true) {
            text = format!("Error: {text}");
        }
        messages.push(Message::result(call, text));
    }
    for (index, block) in said {
        parts.extend(part(block, &format!("{at}.content[{index}]"), model)?);
    }
    if !parts.is_empty() {
        messages.push(Message::new("user", chat::content_of(parts)));
    }
    Ok(())
}

fn assistant<'a>(blocks: Vec<Block<'a>>, at: &str, model: &str) -> Result<Message<'a>, ApiError> {
    let mut parts = Vec::new();
    let mut calls: Vec<ToolCall<'a>> = Vec::new();
    let mut reasoning = String::new();
    let mut signed: Vec<serde_json::Value> = Vec::new();
    let mut sealed = None;
    for (index, block) in blocks.into_iter().enumerate() {
        let at = format!("{at}.content[{index}]");
        match block.kind.as_ref() {
            "thinking" => {
                let thinking = block.thinking.unwrap_or_default();
                let signature = block.signature.unwrap_or_default();
                reasoning.push_str(&thinking);
                if signature.starts_with(thoughts::MARK) {
                    sealed = thoughts::open(&signature);
                } else if !signature.is_empty() {
                    signed.push(serde_json::json!({
                        "type": "thinking", "thinking": thinking, "signature": signature,
                    }));
                }
            }
            "redacted_thinking" => {
                let data = block.data.unwrap_or_default();
                if data.starts_with(thoughts::MARK) {
                    sealed = thoughts::open(&data);
                } else {
                    signed.push(serde_json::json!({"type": "redacted_thinking", "data": data}));
                }
            }
            "tool_use" => {
                let missing = block.missing(&at, "id");
                let (Some(id), Some(name)) = (block.id, block.name) else {
                    return Err(missing);
                };
                let extra_content = sealed.take().or_else(|| {
                    let blocks = std::mem::take(&mut signed);
                    (!blocks.is_empty()).then(|| {
                        json::raw(&serde_json::json!({"anthropic": {"thinking_blocks": blocks}}))
                    })
                });
                calls.push(ToolCall {
                    id,
                    r#type: "function",
                    function: CalledFunction {
                        name,
                        arguments: block.input.map_or("{}", RawValue::get).into(),
                    },
                    extra_content,
                });
            }
            _ => parts.extend(part(block, &at, model)?),
        }
    }
    Ok(Message {
        content: (!parts.is_empty()).then(|| joined(parts)),
        reasoning_content: (!reasoning.is_empty() && !calls.is_empty()).then_some(reasoning),
        tool_calls: calls,
        role: "assistant",
        tool_call_id: None,
    })
}

/// An assistant's texts as one: that is what most providers take.
fn joined(parts: Vec<Part<'_>>) -> Content<'_> {
    let is_plain = |part: &Part<'_>| {
        matches!(part.kind, PartKind::Text { .. }) && part.cache_control.is_none()
    };
    if !parts.iter().all(is_plain) {
        return Content::Parts(parts);
    }
    let texts = parts.into_iter().filter_map(|part| match part.kind {
        PartKind::Text { text } => Some(text),
        _ => None,
    });
    Content::Text(texts.reduce(|all, text| all + text).unwrap_or_default())
}
