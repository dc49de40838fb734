//! Translates a conversation: OpenAI's messages into contents with parts.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::ApiError;
use crate::openai::message::{
    Content as OpenAiContent, Message, Part as OpenAiPart, ToolCall, data_url,
};

#[derive(Serialize)]
pub(super) struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    parts: Vec<Part<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(flatten)]
    kind: Kind<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought_signature: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Kind<'a> {
    Text(Cow<'a, str>),
    InlineData(Blob<'a>),
    FileData(FileData<'a>),
    FunctionCall(FunctionCall<'a>),
    FunctionResponse(FunctionResponse<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Blob<'a> {
    mime_type: Cow<'a, str>,
    /// Base64.
    data: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileData<'a> {
    mime_type: &'static str,
    file_uri: &'a str,
}

#[derive(Serialize)]
struct FunctionCall<'a> {
    id: &'a str,
    name: &'a str,
    args: Box<RawValue>,
}

#[derive(Serialize)]
struct FunctionResponse<'a> {
    id: &'a str,
    name: &'a str,
    response: Box<RawValue>,
}

/// Newer models reject a call without the signature of the reasoning that led to it. Google's
/// documentation gives this one for calls that another model made, or whose signature was lost.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

impl<'a> From<Kind<'a>> for Part<'a> {
    fn from(kind: Kind<'a>) -> Self {
        Self {
            kind,
            thought_signature: None,
        }
    }
}

/// Returns the system instruction and the turns.
pub(super) fn translate_messages<'a>(
    messages: &'a [Message<'a>],
    model: &str,
) -> Result<(Option<Content<'a>>, Vec<Content<'a>>), ApiError> {
    let mut system = Vec::new();
    let mut contents: Vec<Content<'a>> = Vec::new();
    // Function names by call id: a result in Gemini names its function, one in OpenAI only the
    // call's id.
    let mut called: HashMap<&str, &str> = HashMap::new();
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages[{index}]");
        match message.role.as_ref() {
            "system" | "developer" => system.extend(parts(message, &at, model)?),
            "user" => append(&mut contents, "user", parts(message, &at, model)?),
            "assistant" => {
                let mut all = parts(message, &at, model)?;
                for (index, call) in message.tool_calls.iter().flatten().enumerate() {
                    let at = format!("{at}.tool_calls[{index}]");
                    let part = function_call(call, index == 0, &at, model)?;
                    if let Some(function) = &call.function {
                        called.insert(&call.id, &function.name);
                    }
                    all.push(part);
                }
                append(&mut contents, "model", all);
            }
            "tool" => {
                let part = function_response(message, &called, &at)?;
                append(&mut contents, "user", vec![part]);
            }
            _ => return Err(message.unknown_role(&at)),
        }
    }
    if contents.is_empty() {
        append(
            &mut contents,
            "user",
            vec![Kind::Text("(Go on.)".into()).into()],
        );
    }
    let system = (!system.is_empty()).then_some(Content {
        role: None,
        parts: system,
    });
    Ok((system, contents))
}

/// Appends parts to the last turn if it has the same role, otherwise starts a new turn.
fn append<'a>(contents: &mut Vec<Content<'a>>, role: &'static str, parts: Vec<Part<'a>>) {
    if parts.is_empty() {
        return;
    }
    match contents.last_mut() {
        Some(content) if content.role == Some(role) => content.parts.extend(parts),
        _ => contents.push(Content {
            role: Some(role),
            parts,
        }),
    }
}

fn parts<'a>(message: &'a Message<'a>, at: &str, model: &str) -> Result<Vec<Part<'a>>, ApiError> {
    match &message.content {
        None => Ok(Vec::new()),
        Some(OpenAiContent::Text(text)) if text.is_empty() => Ok(Vec::new()),
        Some(OpenAiContent::Text(text)) => Ok(vec![Kind::Text(text.as_ref().into()).into()]),
        Some(OpenAiContent::Parts(parts)) => parts
            .iter()
            .enumerate()
            .map(|(index, each)| part(each, &format!("{at}.content[{index}]"), model))
            .collect(),
    }
}

fn part<'a>(part: &'a OpenAiPart<'a>, at: &str, model: &str) -> Result<Part<'a>, ApiError> {
    let data = match part.kind.as_ref() {
        "text" => Kind::Text(part.need(at, "text", part.text.as_deref())?.into()),
        "refusal" => Kind::Text(part.need(at, "refusal", part.refusal.as_deref())?.into()),
        "image_url" => {
            let url = &part.need(at, "image_url", part.image_url.as_ref())?.url;
            image(url, &format!("{at}.image_url.url"))?
        }
        "input_audio" => {
            let audio = part.need(at, "input_audio", part.input_audio.as_ref())?;
            Kind::InlineData(Blob {
                mime_type: format!("audio/{}", audio.format).into(),
                data: &audio.data,
            })
        }
        "file" => {
            let file = part.need(at, "file", part.file.as_ref())?;
            let data = file.data(at, model)?;
            let (mime_type, data) = data_url(data).unwrap_or(("application/pdf", data));
            Kind::InlineData(Blob {
                mime_type: mime_type.into(),
                data,
            })
        }
        kind => {
            let why = format!("Gemini takes no \"{kind}\" part");
            return Err(ApiError::unsupported(format!("{at}.type"), model, &why));
        }
    };
    Ok(data.into())
}

fn image<'a>(url: &'a str, at: &str) -> Result<Kind<'a>, ApiError> {
    if url.starts_with("https://") || url.starts_with("http://") || url.starts_with("gs://") {
        return Ok(Kind::FileData(FileData {
            mime_type: media_type_of(url),
            file_uri: url,
        }));
    }
    let (mime_type, data) = data_url(url).ok_or_else(|| {
        let message =
            format!("`{at}` must be an http(s) URL or a data URL such as data:image/png;base64,…");
        ApiError::invalid(at, message)
    })?;
    Ok(Kind::InlineData(Blob {
        mime_type: mime_type.into(),
        data,
    }))
}

/// Guesses a URL's media type, which Gemini requires, from its extension.
fn media_type_of(url: &str) -> &'static str {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let ending = path
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    match ending.as_str() {
        "png" => "image/png",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "pdf" => "application/pdf",
        _ => "image/jpeg",
    }
}

fn function_call<'a>(
    call: &'a ToolCall<'a>,
    is_first: bool,
    at: &str,
    model: &str,
) -> Result<Part<'a>, ApiError> {
    let function = call.called(at, model, "Gemini")?;
    let args = function.arguments_object();
    let signature = call
        .extra_content
        .as_ref()
        .and_then(|extra| extra.google.as_ref()?.thought_signature.as_deref())
        .map(Cow::Borrowed);
    Ok(Part {
        kind: Kind::FunctionCall(FunctionCall {
            id: &call.id,
            name: &function.name,
            args,
        }),
        // The first call of a step carries the signature for all of them.
        thought_signature: signature.or_else(|| {
            (is_first && !model.starts_with("gemini-2.")).then_some(NO_SIGNATURE.into())
        }),
    })
}

fn object(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.to_owned())
        .ok()
        .filter(|raw| raw.get().starts_with('{'))
}

fn function_response<'a>(
    message: &'a Message<'a>,
    called: &HashMap<&'a str, &'a str>,
    at: &str,
) -> Result<Part<'a>, ApiError> {
    let param = format!("{at}.tool_call_id");
    let id = message.answered_call(at)?;
    let name = called.get(id).ok_or_else(|| {
        let words = format!("`{param}` is \"{id}\", and no call before it has that id");
        ApiError::invalid(param.as_str(), words)
    })?;
    let text = message.text();
    // Gemini takes `$ref` for a reference to a part, so such a result is sent as a text.
    let has_reference = text.contains("\"$ref\"");
    // The result must be an object; any other value is wrapped in one.
    let own_object = object(text.trim()).filter(|_| !has_reference);
    let response = own_object.or_else(|| {
        let value = RawValue::from_string(text.clone()).ok();
        let inner = value.filter(|_| !has_reference).map_or_else(
            || serde_json::to_string(&text).unwrap_or_default(),
            |raw| raw.get().to_owned(),
        );
        RawValue::from_string(format!("{{\"result\":{inner}}}")).ok()
    });
    Ok(Kind::FunctionResponse(FunctionResponse {
        id,
        name,
        response: response.ok_or_else(|| ApiError::invalid(at, "the result can't be read"))?,
    })
    .into())
}
