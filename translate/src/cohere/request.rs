//! Translates a chat completion request into a request of Cohere's chat API. Cohere rejects every
//! unknown field.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::body;
use crate::cohere::messages::{self, Message};
use crate::error::ApiError;
use crate::json;
use crate::openai::request::{self, ChatRequest, Tool as OpenAiTool, ToolChoice};
use crate::openai::unsupported;

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    strict_tools: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    logprobs: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    documents: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    citation_options: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    safety_mode: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<&'a RawValue>,
}

/// Members in Cohere's format that a client may add.
#[derive(Deserialize)]
struct Own<'a> {
    #[serde(default, borrow)]
    documents: Option<&'a RawValue>,
    #[serde(default, borrow)]
    citation_options: Option<&'a RawValue>,
    #[serde(default, borrow)]
    safety_mode: Option<&'a RawValue>,
    #[serde(default, borrow)]
    k: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    parameters: &'a RawValue,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Thinking {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_budget: Option<u32>,
}

/// Translates a body.
///
/// A field that Cohere does not support is a 400 that names it, if dropping it would change the
/// answer.
pub fn translate_request(body: &[u8], model: &str) -> Result<Vec<u8>, ApiError> {
    let request = ChatRequest::parse(body)?;
    unsupported::reject(&request, "Cohere", model)?;
    let own: Own<'_> = body::parse(body)?;
    let choice = request.choice()?;
    let any_object = request::any_object();
    let all = request.tools.as_deref().unwrap_or_default();
    let mut tools = Vec::with_capacity(all.len());
    for (index, tool) in all.iter().enumerate() {
        tools.push(translate_tool(tool, index, &any_object, model)?);
    }
    if let Some(ToolChoice::Function(name)) = &choice {
        // Cohere can't force a named tool, but forcing any tool works if only that one is sent.
        tools.retain(|tool| tool.function.name == name);
        if tools.is_empty() {
            let words = format!("`tool_choice` names \"{name}\", which is not among `tools`");
            return Err(ApiError::invalid("tool_choice", words));
        }
    }
    let translated = Request {
        model,
        messages: messages::translate_messages(&request.messages, model)?,
        stream: request.stream.unwrap_or(false),
        strict_tools: !all.is_empty()
            && all
                .iter()
                .filter_map(|tool| tool.function.as_ref())
                .all(|function| function.strict == Some(true)),
        tool_choice: match choice {
            Some(ToolChoice::Required | ToolChoice::Function(_)) => Some("REQUIRED"),
            Some(ToolChoice::None) if !tools.is_empty() => Some("NONE"),
            _ => None,
        },
        tools,
        response_format: response_format(&request, model)?,
        max_tokens: request.max_completion_tokens.or(request.max_tokens),
        temperature: request.temperature,
        // 1 is the default, and Cohere rejects it as a value.
        p: request
            .top_p
            .filter(|&p| p < 1.0)
            .map(|p| p.clamp(0.01, 0.99)),
        seed: request.seed,
        frequency_penalty: request.frequency_penalty.map(|value| value.min(1.0)),
        presence_penalty: request.presence_penalty.map(|value| value.min(1.0)),
        logprobs: request.logprobs.unwrap_or(false),
        thinking: request.reasoning_effort.as_deref().map(think).transpose()?,
        stop_sequences: request.stop.map(|stop| stop.0).unwrap_or_default(),
        documents: own.documents,
        citation_options: own.citation_options,
        safety_mode: own.safety_mode,
        k: own.k,
    };
    let mut out = Vec::with_capacity(body.len() + 256);
    json::write(&mut out, &translated);
    Ok(out)
}

fn translate_tool<'a>(
    tool: &'a OpenAiTool<'a>,
    index: usize,
    any_object: &'a RawValue,
    model: &str,
) -> Result<Tool<'a>, ApiError> {
    let function = tool.as_function(&format!("tools[{index}]"), model, "Cohere")?;
    Ok(Tool {
        r#type: "function",
        function: Function {
            name: &function.name,
            description: function.description.as_deref(),
            parameters: function.schema().unwrap_or(any_object),
        },
    })
}

fn response_format<'a>(
    request: &ChatRequest<'a>,
    model: &str,
) -> Result<Option<ResponseFormat<'a>>, ApiError> {
    let Some(format) = &request.response_format else {
        return Ok(None);
    };
    let json_schema = match format.kind.as_ref() {
        "text" => return Ok(None),
        "json_object" => None,
        "json_schema" => Some(format.definition()?.schema()?),
        other => return Err(request::unknown_format(other, model)),
    };
    Ok(Some(ResponseFormat {
        r#type: "json_object",
        json_schema,
    }))
}

fn think(effort: &str) -> Result<Thinking, ApiError> {
    let token_budget = match effort {
        "none" => {
            return Ok(Thinking {
                r#type: "disabled",
                token_budget: None,
            });
        }
        "minimal" => Some(512),
        "low" => Some(2048),
        "medium" => Some(8192),
        // Unlimited.
        "high" | "xhigh" | "max" => None,
        _ => return Err(request::unknown_effort()),
    };
    Ok(Thinking {
        r#type: "enabled",
        token_budget,
    })
}
