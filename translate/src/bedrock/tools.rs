//! Translates tool definitions and `tool_choice`.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::bedrock::blocks::CachePoint;
use crate::bedrock::family::Family;
use crate::error::ApiError;
use crate::openai::message::Message;
use crate::openai::request::{Tool as OpenAiTool, ToolChoice as OpenAiToolChoice};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolConfig<'a> {
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Tool<'a> {
    ToolSpec(ToolSpec<'a>),
    CachePoint(CachePoint),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolSpec<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    input_schema: InputSchema<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
struct InputSchema<'a> {
    json: &'a RawValue,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Choice<'a> {
    Any {},
    Tool { name: std::borrow::Cow<'a, str> },
}

/// The translated tools and choice, including the parts that only the model's own fields can
/// express.
pub(super) struct Translated<'a> {
    pub config: Option<ToolConfig<'a>>,
    /// Claude's own `tool_choice`.
    pub additional: Option<serde_json::Value>,
    /// Set if the conversation's calls and results must be rendered as text, because no tools are
    /// sent.
    pub tell_calls: bool,
}

const MAX_NAME: usize = 64;

pub(super) fn translate_tools<'a>(
    tools: &'a [OpenAiTool<'a>],
    choice: Option<OpenAiToolChoice<'a>>,
    parallel: Option<bool>,
    messages: &'a [Message<'a>],
    any_object: &'a RawValue,
    model: &str,
) -> Result<Translated<'a>, ApiError> {
    let family = Family::of(model);
    let mut list = Vec::with_capacity(tools.len());
    for (index, tool) in tools.iter().enumerate() {
        list.push(Tool::ToolSpec(spec(tool, index, any_object, model)?));
        if let Some(point) = CachePoint::of_marker(tool.cache_control).filter(|_| family.caches()) {
            list.push(Tool::CachePoint(point));
        }
    }
    if choice == Some(OpenAiToolChoice::None) {
        // Converse has no such choice; without tools nothing can be called.
        return Ok(Translated {
            config: None,
            additional: None,
            tell_calls: true,
        });
    }
    if list.is_empty() {
        if matches!(
            choice,
            Some(OpenAiToolChoice::Required | OpenAiToolChoice::Function(_))
        ) {
            let words = "`tool_choice` is only allowed with `tools`";
            return Err(ApiError::invalid("tool_choice", words));
        }
        list = called(messages, any_object);
    }
    let one_at_a_time = parallel == Some(false) && !tools.is_empty();
    let mut additional = None;
    if one_at_a_time {
        if family != Family::Claude {
            return Err(ApiError::unsupported(
                "parallel_tool_calls",
                model,
                "it may always call several tools at once",
            ));
        }
        additional = Some(claude_choice(choice.as_ref()));
    }
    let tool_choice = match choice {
        // Claude's own `tool_choice` covers this.
        _ if one_at_a_time => None,
        None | Some(OpenAiToolChoice::Auto | OpenAiToolChoice::None) => None,
        Some(OpenAiToolChoice::Required) => Some(Choice::Any {}),
        Some(OpenAiToolChoice::Function(name)) => Some(Choice::Tool { name }),
    };
    Ok(Translated {
        config: (!list.is_empty()).then_some(ToolConfig {
            tools: list,
            tool_choice,
        }),
        additional,
        tell_calls: false,
    })
}

fn claude_choice(choice: Option<&OpenAiToolChoice<'_>>) -> serde_json::Value {
    let mut own = match choice {
        Some(OpenAiToolChoice::Required) => serde_json::json!({"type": "any"}),
        Some(OpenAiToolChoice::Function(name)) => serde_json::json!({"type": "tool", "name": name}),
        _ => serde_json::json!({"type": "auto"}),
    };
    if let Some(members) = own.as_object_mut() {
        members.insert("disable_parallel_tool_use".to_owned(), true.into());
    }
    own
}

fn spec<'a>(
    tool: &'a OpenAiTool<'a>,
    index: usize,
    any_object: &'a RawValue,
    model: &str,
) -> Result<ToolSpec<'a>, ApiError> {
    let at = format!("tools[{index}]");
    let function = tool.as_function(&at, model, "Bedrock")?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if function.name.is_empty()
        || function.name.len() > MAX_NAME
        || !function.name.bytes().all(is_name)
    {
        return Err(ApiError::unsupported(
            format!("{at}.function.name"),
            model,
            "Bedrock takes names of 1 to 64 letters, digits, _ and -",
        ));
    }
    Ok(ToolSpec {
        name: &function.name,
        description: function
            .description
            .as_deref()
            .filter(|text| !text.is_empty()),
        input_schema: InputSchema {
            json: function.schema().unwrap_or(any_object),
        },
        strict: function.strict.filter(|&strict| strict),
    })
}

/// Bedrock rejects calls in a conversation unless the called tools are defined.
fn called<'a>(messages: &'a [Message<'a>], any_object: &'a RawValue) -> Vec<Tool<'a>> {
    let all = messages
        .iter()
        .flat_map(|message| message.tool_calls.iter().flatten())
        .filter_map(|call| Some(call.function.as_ref()?.name.as_ref()));
    let mut names: Vec<&str> = Vec::new();
    for name in all {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
        .into_iter()
        .map(|name| {
            Tool::ToolSpec(ToolSpec {
                name,
                description: None,
                input_schema: InputSchema { json: any_object },
                strict: None,
            })
        })
        .collect()
}
