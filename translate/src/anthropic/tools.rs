//! Tool definitions and the choice among them.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::openai::request::{Tool as OpenAiTool, ToolChoice as OpenAiToolChoice};

#[derive(Serialize)]
pub(super) struct Tool<'a> {
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

pub(super) fn translate_tools<'a>(tools: &'a [OpenAiTool<'a>]) -> Result<Vec<Tool<'a>>, ApiError> {
    tools
        .iter()
        .enumerate()
        .map(|(index, tool)| {
            let at = format!("tools[{index}]");
            if tool.kind != "function" {
                return Err(ApiError::invalid(
                    format!("{at}.type"),
                    format!(
                        "`{at}.type` is \"{}\"; Anthropic takes functions only",
                        tool.kind
                    ),
                ));
            }
            let function = tool.function.as_ref().ok_or_else(|| {
                ApiError::invalid(
                    format!("{at}.function"),
                    format!("`{at}.function` is missing"),
                )
            })?;
            Ok(Tool {
                name: &function.name,
                description: function.description.as_deref(),
                input_schema: schema(function.parameters, &at)?,
                strict: function.strict,
                cache_control: tool.cache_control.filter(|raw| raw.get() != "null"),
            })
        })
        .collect()
}

/// Anthropic wants the schema of an object, and says so of every schema without `type`.
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
