//! Translates tool definitions and `tool_choice`.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::body;
use crate::error::ApiError;
use crate::openai::request::{Tool as OpenAiTool, ToolChoice as OpenAiToolChoice};

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Tool<'a> {
    Function(FunctionTool<'a>),
    /// A tool that Anthropic runs, unchanged from the client's request.
    Server(&'a RawValue),
}

#[derive(Serialize)]
pub(super) struct FunctionTool<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    input_schema: Schema<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Schema<'a> {
    AsGiven(&'a RawValue),
    Completed(Map<String, Value>),
}

#[derive(Serialize)]
pub(super) struct ToolChoice<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_parallel_tool_use: Option<bool>,
}

/// Translates a request's tools; `body` holds their original text.
pub(super) fn translate_tools<'a>(
    tools: &'a [OpenAiTool<'a>],
    body: &'a [u8],
    model: &str,
) -> Result<Vec<Tool<'a>>, ApiError> {
    #[derive(serde::Deserialize)]
    struct Written<'w> {
        #[serde(default, borrow)]
        tools: Option<Vec<&'w RawValue>>,
    }
    let written = if tools.iter().any(|tool| is_server_tool(&tool.kind)) {
        body::parse::<Written<'_>>(body)?.tools.unwrap_or_default()
    } else {
        Vec::new()
    };
    tools
        .iter()
        .enumerate()
        .map(|(index, tool)| match written.get(index) {
            Some(raw) if is_server_tool(&tool.kind) => Ok(Tool::Server(raw)),
            _ => function(tool, &format!("tools[{index}]"), model).map(Tool::Function),
        })
        .collect()
}

/// Returns true for a tool type that Anthropic runs itself: their names end with a release date,
/// such as `web_search_20250305`.
fn is_server_tool(kind: &str) -> bool {
    kind.rsplit_once('_')
        .is_some_and(|(_, day)| day.len() == 8 && day.bytes().all(|byte| byte.is_ascii_digit()))
}

fn function<'a>(
    tool: &'a OpenAiTool<'a>,
    at: &str,
    model: &str,
) -> Result<FunctionTool<'a>, ApiError> {
    let function = tool
        .function
        .as_ref()
        .filter(|_| tool.kind == "function")
        .ok_or_else(|| {
            let why = "Anthropic takes functions, and its own tools by their dated types";
            ApiError::unsupported(format!("{at}.type"), model, why)
        })?;
    Ok(FunctionTool {
        name: &function.name,
        description: function.description.as_deref(),
        input_schema: schema(function.parameters, at)?,
        strict: function.strict,
        cache_control: tool.cache_control.filter(|raw| raw.get() != "null"),
    })
}

/// Returns the schema of an object: Anthropic requires `type: object` and rejects schemas without
/// it.
fn schema<'a>(parameters: Option<&'a RawValue>, at: &str) -> Result<Schema<'a>, ApiError> {
    #[derive(serde::Deserialize)]
    struct Head {
        r#type: Option<Value>,
    }
    let raw = parameters.filter(|raw| raw.get() != "null");
    if let Some(raw) = raw
        && let Ok(head) = serde_json::from_str::<Head>(raw.get())
        && head.r#type == Some(Value::String("object".to_owned()))
    {
        return Ok(Schema::AsGiven(raw));
    }
    let mut schema: Map<String, Value> = match raw {
        None => Map::new(),
        Some(raw) => serde_json::from_str(raw.get()).map_err(|_| {
            let param = format!("{at}.function.parameters");
            let message = format!("`{param}` must be a JSON Schema of an object");
            ApiError::invalid(param, message)
        })?,
    };
    schema.insert("type".to_owned(), "object".into());
    schema
        .entry("properties")
        .or_insert_with(|| Value::Object(Map::new()));
    Ok(Schema::Completed(schema))
}

pub(super) fn translate_choice<'a>(
    choice: Option<OpenAiToolChoice<'a>>,
    parallel: Option<bool>,
    has_tools: bool,
) -> Result<Option<ToolChoice<'a>>, ApiError> {
    if !has_tools {
        return match choice {
            None | Some(OpenAiToolChoice::None | OpenAiToolChoice::Auto) => Ok(None),
            Some(_) => Err(ApiError::invalid(
                "tool_choice",
                "`tool_choice` is only allowed with `tools`",
            )),
        };
    }
    let one_at_a_time = (parallel == Some(false)).then_some(true);
    let (kind, name) = match choice {
        None if one_at_a_time.is_none() => return Ok(None),
        None | Some(OpenAiToolChoice::Auto) => ("auto", None),
        Some(OpenAiToolChoice::None) => ("none", None),
        Some(OpenAiToolChoice::Required) => ("any", None),
        Some(OpenAiToolChoice::Function(name)) => ("tool", Some(name)),
    };
    Ok(Some(ToolChoice {
        r#type: kind,
        name,
        disable_parallel_tool_use: one_at_a_time.filter(|_| kind != "none"),
    }))
}
