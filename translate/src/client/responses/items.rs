//! Translates the items of a conversation into chat messages.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::chat::{self, CalledFunction, Content, File, Message, Part, PartKind, ToolCall};
use crate::client::history;
use crate::client::thoughts;
use crate::error::ApiError;
use crate::json;
use crate::openai::unanswered;

/// Any item; `kind` determines which members are set.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(rename = "type", default, borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    content: Option<&'a RawValue>,
    #[serde(default, borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    call_id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    arguments: Option<Cow<'a, str>>,
    /// The input of a custom tool.
    #[serde(default, borrow)]
    input: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    action: Option<&'a RawValue>,
    #[serde(default, borrow)]
    operation: Option<&'a RawValue>,
    #[serde(default, borrow)]
    output: Option<&'a RawValue>,
    #[serde(default, borrow)]
    encrypted_content: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    summary: Option<Vec<ReasoningText<'a>>>,
}

#[derive(Deserialize)]
struct ReasoningText<'a> {
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
}

/// A part of a message or of a tool's output.
#[derive(Deserialize)]
struct OwnPart<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    refusal: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    image_url: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    detail: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    file_data: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    filename: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    input_audio: Option<&'a RawValue>,
}

/// Messages under construction: several items make up one assistant turn.
struct Turns<'a> {
    messages: Vec<Message<'a>>,
    said: String,
    reasoning: String,
    calls: Vec<ToolCall<'a>>,
    /// Sealed reasoning for the next call.
    sealed: Option<Box<RawValue>>,
    /// Output of tools other than text. It follows the last result of its round, because nothing
    /// may come between results.
    shown: Vec<Part<'a>>,
}

/// Parses `input`: a text or a list of items.
pub(super) fn translate_items<'a>(
    input: &'a RawValue,
    model: &str,
) -> Result<Vec<Message<'a>>, ApiError> {
    let mut turns = Turns {
        messages: Vec::new(),
        said: String::new(),
        reasoning: String::new(),
        calls: Vec::new(),
        sealed: None,
        shown: Vec::new(),
    };
    if let Ok(text) = json::text(input) {
        turns
            .messages
            .push(Message::new("user", Content::Text(text)));
        return Ok(turns.messages);
    }
    let items: Vec<Item<'a>> = serde_json::from_str(input.get()).map_err(|error| {
        let words = format!("`input` must be a text or a list of items: {error}");
        ApiError::invalid("input", words)
    })?;
    for (index, item) in items.into_iter().enumerate() {
        turns.add(item, &format!("input[{index}]"), model)?;
    }
    turns.flush();
    turns.show();
    unanswered::answer_all(&mut turns.messages);
    Ok(turns.messages)
}

impl<'a> Turns<'a> {
    /// Ends the round of tool results.
    fn show(&mut self) {
        let shown = std::mem::take(&mut self.shown);
        if !shown.is_empty() {
            self.messages
                .push(Message::new("user", chat::content_of(shown)));
        }
    }

    /// Ends the assistant's turn.
    fn flush(&mut self) {
        self.sealed = None;
        let reasoning = std::mem::take(&mut self.reasoning);
        let said = std::mem::take(&mut self.said);
        let tool_calls = std::mem::take(&mut self.calls);
        if said.is_empty() && tool_calls.is_empty() {
            return;
        }
        self.messages.push(Message {
            role: "assistant",
            content: (!said.is_empty()).then(|| Content::Text(said.into())),
            reasoning_content: (!reasoning.is_empty() && !tool_calls.is_empty())
                .then_some(reasoning),
            tool_calls,
            tool_call_id: None,
        });
    }

    fn add(&mut self, item: Item<'a>, at: &str, model: &str) -> Result<(), ApiError> {
        let missing = |field: &str| {
            let param = format!("{at}.{field}");
            ApiError::invalid(param.clone(), format!("`{param}` is missing"))
        };
        let kind = item.kind.as_deref().unwrap_or("message");
        if !kind.ends_with("_output") {
            self.show();
        }
        match kind {
            "message" => {
                let role = item.role.ok_or_else(|| missing("role"))?;
                let content = item.content.ok_or_else(|| missing("content"))?;
                let parts = parts(content, &format!("{at}.content"), model)?;
                match role.as_ref() {
                    "assistant" => {
                        for part in parts {
                            if let PartKind::Text { text } = part.kind {
                                self.said.push_str(&text);
                            }
                        }
                    }
                    "user" => self.push("user", parts),
                    "system" | "developer" => self.push("system", parts),
                    other => {
                        let words = format!(
                            "`{at}.role` is \"{other}\"; use user, assistant, system or developer"
                        );
                        return Err(ApiError::invalid(format!("{at}.role"), words));
                    }
                }
            }
            "function_call" => {
                let arguments = item.arguments.unwrap_or(Cow::Borrowed("{}"));
                let id = item.call_id.ok_or_else(|| missing("call_id"))?;
                let name = item.name.ok_or_else(|| missing("name"))?;
                self.call(id, name, arguments);
            }
            "custom_tool_call" => {
                let input = item.input.unwrap_or_default();
                let arguments = serde_json::json!({"input": input}).to_string();
                let id = item.call_id.ok_or_else(|| missing("call_id"))?;
                let name = item.name.ok_or_else(|| missing("name"))?;
                self.call(id, name, arguments.into());
            }
            // The application runs these tools of OpenAI's.
            "local_shell_call" | "shell_call" | "apply_patch_call" | "computer_call" => {
                let name = kind.trim_end_matches("_call").to_owned();
                let arguments = item.action.or(item.operation).map_or("{}", RawValue::get);
                let id = item.call_id.ok_or_else(|| missing("call_id"))?;
                self.call(id, name.into(), arguments.into());
            }
            "function_call_output" | "custom_tool_call_output" => {
                self.flush();
                let call = item.call_id.ok_or_else(|| missing("call_id"))?;
                let output = item.output.ok_or_else(|| missing("output"))?;
                self.result(call, parts(output, &format!("{at}.output"), model)?);
            }
            "local_shell_call_output"
            | "shell_call_output"
            | "apply_patch_call_output"
            | "computer_call_output" => {
                self.flush();
                let call = item.call_id.or(item.id).ok_or_else(|| missing("call_id"))?;
                let words = history::words(item.output);
                self.messages.push(Message::result(call, words));
            }
            "compaction" | "compaction_summary" | "context_compaction" => {
                self.flush();
                let text = history::summary("");
                self.messages
                    .push(Message::new("user", Content::Text(text.into())));
            }
            "mcp_list_tools" | "mcp_approval_request" | "mcp_approval_response" => {}
            "mcp_call" => {
                let name = item.name.as_deref().unwrap_or("a tool");
                self.tell(&history::called(
                    name,
                    item.arguments.as_deref().unwrap_or("{}"),
                ));
                self.tell(&history::result(&history::words(item.output)));
            }
            // OpenAI ran these itself.
            kind if kind.ends_with("_call") => {
                let name = kind.trim_end_matches("_call");
                self.tell(&history::called(
                    name,
                    item.action.map_or("{}", RawValue::get),
                ));
            }
            "reasoning" => {
                for summary in item.summary.iter().flatten() {
                    self.reasoning
                        .push_str(summary.text.as_deref().unwrap_or_default());
                }
                self.sealed = item.encrypted_content.as_deref().and_then(thoughts::open);
            }
            kind => {
                let why = format!("its provider has nothing like an item of type \"{kind}\"");
                return Err(ApiError::unsupported(format!("{at}.type"), model, &why));
            }
        }
        Ok(())
    }

    fn call(&mut self, id: Cow<'a, str>, name: Cow<'a, str>, arguments: Cow<'a, str>) {
        self.calls.push(ToolCall {
            id,
            r#type: "function",
            function: CalledFunction { name, arguments },
            extra_content: self.sealed.take(),
        });
    }

    /// Adds a text to the assistant's turn.
    fn tell(&mut self, words: &str) {
        if !self.said.is_empty() {
            self.said.push('\n');
        }
        self.said.push_str(words);
    }

    fn push(&mut self, role: &'static str, parts: Vec<Part<'a>>) {
        self.flush();
        if !parts.is_empty() {
            self.messages
                .push(Message::new(role, chat::content_of(parts)));
        }
    }

    /// Adds a tool's output.
    fn result(&mut self, call: Cow<'a, str>, parts: Vec<Part<'a>>) {
        let (text, shown) = chat::tool_output(parts);
        self.messages.push(Message::result(call, text));
        self.shown.extend(shown);
    }
}

fn parts<'a>(content: &'a RawValue, at: &str, model: &str) -> Result<Vec<Part<'a>>, ApiError> {
    if let Ok(text) = json::text(content) {
        return Ok(vec![Part::text(text)]);
    }
    let parts: Vec<OwnPart<'a>> = serde_json::from_str(content.get()).map_err(|error| {
        ApiError::invalid(
            at,
            format!("`{at}` must be a text or a list of parts: {error}"),
        )
    })?;
    parts
        .into_iter()
        .enumerate()
        .map(|(index, own)| part(own, &format!("{at}[{index}]"), model))
        .collect()
}

fn part<'a>(own: OwnPart<'a>, at: &str, model: &str) -> Result<Part<'a>, ApiError> {
    let kind = own.kind.as_ref();
    let unsupported = |why: &str| ApiError::unsupported(at, model, why);
    Ok(match kind {
        "input_text" | "output_text" | "text" | "summary_text" => {
            Part::text(own.text.unwrap_or_default())
        }
        "refusal" => Part::text(own.refusal.unwrap_or_default()),
        "input_image" => {
            let url = own.image_url.ok_or_else(|| {
                unsupported("images stored at OpenAI can't be read; send `image_url`")
            })?;
            Part::image(url, own.detail)
        }
        "input_file" => {
            let file_data = own.file_data.ok_or_else(|| {
                unsupported("files stored elsewhere can't be read; send `file_data`")
            })?;
            PartKind::File {
                file: File {
                    file_data,
                    filename: own.filename,
                },
            }
            .into()
        }
        "input_audio" => {
            let input_audio = own
                .input_audio
                .ok_or_else(|| unsupported("`input_audio` is missing"))?;
            PartKind::InputAudio { input_audio }.into()
        }
        kind => {
            return Err(unsupported(&format!(
                "its provider takes no \"{kind}\" part"
            )));
        }
    })
}
