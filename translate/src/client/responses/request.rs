//! Translates a Responses request into a chat completion request.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::body;
use crate::client::chat::{
    Content, Function, JsonSchema, Message, Request, ResponseFormat, Tool, ToolChoice,
};
use crate::client::responses::items;
use crate::error::ApiError;
use crate::json;
use crate::openai::request;

/// The body of `POST /v1/responses`.
#[derive(Deserialize)]
struct ResponsesRequest<'a> {
    #[serde(borrow)]
    input: &'a RawValue,
    #[serde(default, borrow)]
    instructions: Option<Cow<'a, str>>,
    #[serde(default)]
    max_output_tokens: Option<u64>,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    top_p: Option<f64>,
    #[serde(default)]
    top_logprobs: Option<u64>,
    #[serde(default, borrow)]
    tools: Option<Vec<OwnTool<'a>>>,
    #[serde(default, borrow)]
    tool_choice: Option<&'a RawValue>,
    #[serde(default)]
    parallel_tool_calls: Option<bool>,
    #[serde(default, borrow)]
    text: Option<Text<'a>>,
    #[serde(default, borrow)]
    reasoning: Option<Reasoning<'a>>,
    #[serde(default, borrow)]
    include: Option<Vec<Cow<'a, str>>>,
    #[serde(default, borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    safety_identifier: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    prompt_cache_key: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(default, borrow)]
    service_tier: Option<Cow<'a, str>>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    background: Option<bool>,
    #[serde(default, borrow)]
    previous_response_id: Option<&'a RawValue>,
    #[serde(default, borrow)]
    conversation: Option<&'a RawValue>,
    #[serde(default, borrow)]
    prompt: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OwnTool<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    description: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(default)]
    strict: Option<bool>,
}

#[derive(Deserialize)]
struct Text<'a> {
    #[serde(default, borrow)]
    format: Option<Format<'a>>,
    #[serde(default, borrow)]
    verbosity: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Format<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    description: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    schema: Option<&'a RawValue>,
    #[serde(default)]
    strict: Option<bool>,
}

#[derive(Deserialize)]
struct Reasoning<'a> {
    #[serde(default, borrow)]
    effort: Option<Cow<'a, str>>,
}

/// Translates a body for a model whose provider doesn't support this API.
pub fn translate_request(body: &[u8], model: &str) -> Result<Vec<u8>, ApiError> {
    let own: ResponsesRequest<'_> = body::parse(body)?;
    refuse_the_inexpressible(&own, model)?;
    let mut messages = Vec::new();
    if let Some(instructions) = own.instructions {
        messages.push(Message::new("system", Content::Text(instructions)));
    }
    messages.extend(items::translate_items(own.input, model)?);
    let tools = own
        .tools
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(index, each)| tool(each, index, model))
        .collect::<Result<Vec<_>, _>>()?;
    let wants_logprobs = own.top_logprobs.is_some_and(|number| number > 0)
        || own
            .include
            .iter()
            .flatten()
            .any(|what| what == "message.output_text.logprobs");
    let (format, verbosity) = match own.text {
        Some(text) => (text.format, text.verbosity),
        None => (None, None),
    };
    let request = Request {
        model: model.into(),
        messages,
        max_tokens: own.max_output_tokens,
        temperature: own.temperature,
        top_p: own.top_p,
        tool_choice: own
            .tool_choice
            .map(|raw| choice(raw, model))
            .transpose()?
            .flatten()
            .filter(|_| !tools.is_empty()),
        parallel_tool_calls: own
            .parallel_tool_calls
            .filter(|&parallel| !parallel && !tools.is_empty()),
        tools,
        response_format: format.map(response_format).transpose()?.flatten(),
        reasoning_effort: own.reasoning.and_then(|reasoning| reasoning.effort),
        verbosity,
        logprobs: wants_logprobs.then_some(true),
        top_logprobs: own.top_logprobs.filter(|_| wants_logprobs),
        user: own.user,
        safety_identifier: own.safety_identifier,
        prompt_cache_key: own.prompt_cache_key,
        metadata: own.metadata,
        service_tier: own.service_tier,
        stream: own.stream.unwrap_or(false),
        ..Request::default()
    };
    let mut out = Vec::with_capacity(body.len() + 256);
    json::write(&mut out, &request);
    Ok(out)
}

fn refuse_the_inexpressible(request: &ResponsesRequest<'_>, model: &str) -> Result<(), ApiError> {
    let is_set = |raw: Option<&RawValue>| raw.is_some_and(|raw| raw.get() != "null");
    let refusals = [
        (
            is_set(request.previous_response_id),
            "previous_response_id",
            "its provider keeps no responses; send the items again in `input`",
        ),
        (
            is_set(request.conversation),
            "conversation",
            "its provider keeps no conversations; send the items in `input`",
        ),
        (
            is_set(request.prompt),
            "prompt",
            "its provider keeps no prompts; send `instructions` and `input`",
        ),
        (
            request.background == Some(true),
            "background",
            "its provider answers while you wait",
        ),
    ];
    request::refuse(model, refusals)
}

fn tool<'a>(tool: OwnTool<'a>, index: usize, model: &str) -> Result<Tool<'a>, ApiError> {
    let at = format!("tools[{index}]");
    if tool.kind != "function" {
        let why = format!(
            "only OpenAI runs a tool of type \"{}\"; define a function",
            tool.kind
        );
        return Err(ApiError::unsupported(format!("{at}.type"), model, &why));
    }
    let name = tool.name.ok_or_else(|| {
        ApiError::invalid(format!("{at}.name"), format!("`{at}.name` is missing"))
    })?;
    Ok(Tool {
        r#type: "function",
        function: Function {
            name,
            description: tool.description,
            parameters: tool.parameters.filter(|raw| raw.get() != "null"),
            // True by default in this API, unlike in Chat Completions.
            strict: tool.strict,
        },
        cache_control: None,
    })
}

fn choice<'a>(raw: &'a RawValue, model: &str) -> Result<Option<ToolChoice<'a>>, ApiError> {
    #[derive(Deserialize)]
    struct Named<'n> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'n, str>,
        #[serde(default, borrow)]
        name: Option<Cow<'n, str>>,
    }
    match raw.get() {
        "null" | "\"auto\"" => Ok(None),
        "\"none\"" => Ok(Some(ToolChoice::Word("none"))),
        "\"required\"" => Ok(Some(ToolChoice::Word("required"))),
        text => match serde_json::from_str::<Named<'a>>(text) {
            Ok(Named {
                kind,
                name: Some(name),
            }) if kind == "function" => Ok(Some(ToolChoice::function(name))),
            _ => Err(ApiError::unsupported(
                "tool_choice",
                model,
                "use \"auto\", \"none\", \"required\" or a function",
            )),
        },
    }
}

fn response_format(format: Format<'_>) -> Result<Option<ResponseFormat<'_>>, ApiError> {
    match format.kind.as_ref() {
        "json_object" => Ok(Some(ResponseFormat::JsonObject)),
        "json_schema" => {
            let param = "text.format.schema";
            let schema = format
                .schema
                .ok_or_else(|| ApiError::invalid(param, format!("`{param}` is missing")))?;
            Ok(Some(ResponseFormat::JsonSchema {
                json_schema: JsonSchema {
                    name: format.name.unwrap_or(Cow::Borrowed("answer")),
                    description: format.description,
                    schema,
                    strict: format.strict,
                },
            }))
        }
        "text" => Ok(None),
        other => Err(ApiError::invalid(
            "text.format.type",
            format!("`text.format.type` is \"{other}\"; use text, json_object or json_schema"),
        )),
    }
}
