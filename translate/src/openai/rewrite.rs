//! Rewrites a request in OpenAI's format into a provider's dialect of it.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::error::ApiError;
use crate::json;
use crate::object::Object;
use crate::openai::dialect::{self, Dialect, Rule, StreamUsage, ToolCallIds, ToolChoice};
use crate::openai::message::Part;
use crate::openai::request::ResponseFormat;

/// Rewrites a body. Members that the dialect doesn't change keep every byte.
///
/// A field that the provider does not support is a 400 that names it, if dropping it would change
/// the answer.
pub fn rewrite(body: &str, model: &str, dialect: &Dialect) -> Result<Vec<u8>, ApiError> {
    let mut request = Object::parse(body).map_err(|error| {
        ApiError::new(400, json::describe_error(&error)).with_code("invalid_json")
    })?;
    request.set("model", model);
    // Some clients write null for everything that isn't set.
    request.drop_nulls();
    for (field, rule) in dialect.fields {
        let Some(value) = request.get(field) else {
            continue;
        };
        match rule {
            Rule::Rename(name) => request.rename(field, name),
            Rule::Omit => request.remove(field),
            Rule::Refuse(_) if asks_for_nothing(field, value) => request.remove(field),
            Rule::Refuse(why) => return Err(ApiError::unsupported(*field, model, why)),
        }
    }
    if let Some(name) = dialect.reasoning_max_tokens
        && (dialect::is_reasoning_model(model) || request.get(name).is_some())
    {
        request.rename("max_tokens", name);
    }
    let has_foreign_members = body.contains(CACHE_CONTROL) || body.contains(EXTRA_CONTENT);
    let has_thoughts = body.contains(REASONING_CONTENT) && !dialect.thoughts_come_back;
    if (has_foreign_members && !dialect.foreign_members) || has_thoughts {
        drop_foreign_members(&mut request, dialect)?;
    }
    choose_tools(&mut request, model, dialect)?;
    check_format(&request, model, dialect)?;
    rewrite_messages(&mut request, model, dialect)?;
    ask_for_usage(&mut request, dialect.stream_usage);
    drop_unknown_fields(&mut request, model, dialect)?;
    Ok(request.to_vec())
}

/// Returns true if a field's value is equivalent to leaving it out.
fn asks_for_nothing(field: &str, value: &RawValue) -> bool {
    match (field, value.get()) {
        ("n", "1") | ("verbosity", "\"medium\"") => true,
        (_, text) => matches!(
            text,
            "null" | "false" | "0" | "0.0" | "[]" | "{}" | "\"auto\"" | "\"none\""
        ),
    }
}

const CACHE_CONTROL: &str = "cache_control";
const EXTRA_CONTENT: &str = "extra_content";
const REASONING_CONTENT: &str = "reasoning_content";

/// Drops members that only another provider understands. Conversations that moved between providers
/// are full of them.
fn drop_foreign_members(request: &mut Object<'_>, dialect: &Dialect) -> Result<(), ApiError> {
    request.remove(CACHE_CONTROL);
    for field in ["messages", "tools"] {
        let Some(items) = request.get(field).map(ToOwned::to_owned) else {
            continue;
        };
        let mut list: Vec<Object<'_>> = parse(&items, field)?;
        for item in &mut list {
            if !dialect.thoughts_come_back {
                item.remove(REASONING_CONTENT);
            }
            item.remove(CACHE_CONTROL);
            drop_from_list(item, "content", CACHE_CONTROL)?;
            drop_from_list(item, "tool_calls", EXTRA_CONTENT)?;
        }
        request.set(field, &list);
    }
    Ok(())
}

/// Drops a member from each object in a list.
fn drop_from_list(item: &mut Object<'_>, list: &str, member: &str) -> Result<(), ApiError> {
    let Some(raw) = item
        .get(list)
        .filter(|raw| raw.get().starts_with('[') && raw.get().contains(member))
        .map(ToOwned::to_owned)
    else {
        return Ok(());
    };
    let mut objects: Vec<Object<'_>> = parse(&raw, &format!("messages[].{list}"))?;
    for object in &mut objects {
        object.remove(member);
    }
    item.set(list, &objects);
    Ok(())
}

fn choose_tools(request: &mut Object<'_>, model: &str, dialect: &Dialect) -> Result<(), ApiError> {
    if let Some(choice) = request.get("tool_choice").filter(|raw| raw.get() != "null") {
        let is_allowed = match dialect.tool_choice {
            ToolChoice::All => true,
            ToolChoice::AutoOrNone => matches!(choice.get(), "\"auto\"" | "\"none\""),
            ToolChoice::Auto => choice.get() == "\"auto\"",
        };
        if !is_allowed {
            let why = match dialect.tool_choice {
                ToolChoice::Auto => "its provider always lets the model choose",
                _ => "its provider can't force a tool; use \"auto\"",
            };
            return Err(ApiError::unsupported("tool_choice", model, why));
        }
    }
    if dialect.strict_functions {
        return Ok(());
    }
    let Some(tools) = request
        .get("tools")
        .filter(|raw| raw.get().contains("\"strict\""))
    else {
        return Ok(());
    };
    let tools = tools.to_owned();
    let mut list: Vec<Object<'_>> = parse(&tools, "tools")?;
    for tool in &mut list {
        let Some(function) = tool.get("function").map(ToOwned::to_owned) else {
            continue;
        };
        let mut function: Object<'_> = parse(&function, "tools")?;
        function.remove("strict");
        tool.set("function", &function);
    }
    request.set("tools", &list);
    Ok(())
}

fn check_format(request: &Object<'_>, model: &str, dialect: &Dialect) -> Result<(), ApiError> {
    let Some(format) = request
        .get("response_format")
        .filter(|raw| raw.get() != "null")
    else {
        return Ok(());
    };
    let format: ResponseFormat<'_> = parse(format, "response_format")?;
    if format.kind == "json_schema" && !dialect.json_schema {
        return Err(ApiError::unsupported(
            "response_format.type",
            model,
            "its provider does not support schemas; use json_object and describe the object in a message",
        ));
    }
    let has_tools = request
        .get("tools")
        .is_some_and(|tools| !asks_for_nothing("tools", tools));
    if format.kind != "text" && has_tools && !dialect.tools_with_format {
        return Err(ApiError::unsupported(
            "response_format",
            model,
            "its provider takes either tools or a format",
        ));
    }
    Ok(())
}

fn rewrite_messages(
    request: &mut Object<'_>,
    model: &str,
    dialect: &Dialect,
) -> Result<(), ApiError> {
    let touches_messages = !dialect.known_message_fields.is_empty()
        || !dialect.text_parts
        || !dialect.developer_role
        || dialect.tool_call_ids != ToolCallIds::Any;
    if !touches_messages {
        return Ok(());
    }
    let Some(messages) = request.get("messages").map(ToOwned::to_owned) else {
        return Ok(());
    };
    let mut list: Vec<Object<'_>> = parse(&messages, "messages")?;
    for (index, message) in list.iter_mut().enumerate() {
        let at = format!("messages[{index}]");
        if !dialect.developer_role
            && message
                .get("role")
                .is_some_and(|role| role.get() == "\"developer\"")
        {
            message.set("role", "system");
        }
        if !dialect.known_message_fields.is_empty() {
            message.retain(|name| dialect.known_message_fields.contains(&name));
        }
        if !dialect.text_parts {
            flatten_text(message, &at, model)?;
        }
        if dialect.tool_call_ids == ToolCallIds::NineAlphanumerics {
            shorten_ids(message, &at)?;
        }
    }
    request.set("messages", &list);
    Ok(())
}

/// Joins a list of text parts into one text. With an image among them it stays a list, since models
/// with image input accept lists.
fn flatten_text(message: &mut Object<'_>, at: &str, model: &str) -> Result<(), ApiError> {
    let Some(content) = message
        .get("content")
        .filter(|raw| raw.get().starts_with('['))
    else {
        return Ok(());
    };
    let content = content.to_owned();
    let parts: Vec<Part<'_>> = parse(&content, &format!("{at}.content"))?;
    if parts.iter().any(|part| part.kind == "input_audio") {
        return Err(ApiError::unsupported(
            format!("{at}.content"),
            model,
            "its provider does not accept audio",
        ));
    }
    if parts.iter().all(|part| part.kind == "text") {
        let texts: Vec<&str> = parts
            .iter()
            .filter_map(|part| part.text.as_deref())
            .collect();
        message.set("content", &texts.join("\n"));
    }
    Ok(())
}

fn shorten_ids(message: &mut Object<'_>, at: &str) -> Result<(), ApiError> {
    let answered = message
        .get("tool_call_id")
        .filter(|raw| raw.get() != "null");
    if let Some(id) = answered.map(ToOwned::to_owned) {
        let id: Cow<'_, str> = parse(&id, &format!("{at}.tool_call_id"))?;
        message.set("tool_call_id", &nine_alphanumerics(&id));
    }
    let Some(calls) = message.get("tool_calls").filter(|raw| raw.get() != "null") else {
        return Ok(());
    };
    let calls = calls.to_owned();
    let mut list: Vec<Object<'_>> = parse(&calls, &format!("{at}.tool_calls"))?;
    for call in &mut list {
        let id = call.get("id").filter(|raw| raw.get() != "null");
        if let Some(id) = id.map(ToOwned::to_owned) {
            let id: Cow<'_, str> = parse(&id, &format!("{at}.tool_calls[].id"))?;
            call.set("id", &nine_alphanumerics(&id));
        }
        // Streams number their calls, and applications send the number back.
        call.remove("index");
    }
    message.set("tool_calls", &list);
    Ok(())
}

/// Returns nine characters derived from the id, different for different ids. An id that already has
/// the form is kept.
fn nine_alphanumerics(id: &str) -> Cow<'_, str> {
    const LENGTH: usize = 9;
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    if id.len() == LENGTH && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Cow::Borrowed(id);
    }
    let mut hash = crate::hash::fnv1a(id.as_bytes());
    let digits = (0..LENGTH).map(|_| {
        let digit = usize::try_from(hash % 62).unwrap_or_default();
        hash /= 62;
        DIGITS.get(digit).copied().map_or('0', char::from)
    });
    Cow::Owned(digits.collect())
}

fn ask_for_usage(request: &mut Object<'_>, usage: StreamUsage) {
    let streams = request.get("stream").is_some_and(|raw| raw.get() == "true");
    match usage {
        StreamUsage::Always => request.remove("stream_options"),
        StreamUsage::Option if streams => {
            let given = request.get("stream_options").map(ToOwned::to_owned);
            let options = given.as_ref().and_then(|raw| Object::parse(raw.get()).ok());
            let mut options = options.unwrap_or_default();
            options.set("include_usage", &true);
            request.set("stream_options", &options);
        }
        StreamUsage::Option => {}
    }
}

fn drop_unknown_fields(
    request: &mut Object<'_>,
    model: &str,
    dialect: &Dialect,
) -> Result<(), ApiError> {
    if dialect.known_fields.is_empty() {
        return Ok(());
    }
    let is_known = |name: &str| dialect.known_fields.contains(&name);
    let refused = request.names().find(|name| {
        !is_known(name)
            && !dialect::ABOUT_THE_CALL.contains(name)
            && request
                .get(name)
                .is_some_and(|value| !asks_for_nothing(name, value))
    });
    if let Some(name) = refused {
        return Err(ApiError::unsupported(
            name,
            model,
            "its provider has no such field",
        ));
    }
    request.retain(is_known);
    Ok(())
}

/// Parses a part of the request.
fn parse<'a, T: serde::Deserialize<'a>>(raw: &'a RawValue, at: &str) -> Result<T, ApiError> {
    serde_json::from_str(raw.get())
        .map_err(|error| ApiError::invalid(at, format!("`{at}`: {error}")))
}
