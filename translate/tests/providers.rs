//! Each field's treatment at each provider, determined by translating a request that has the field.
//! The result is `docs/providers.md`; `UPDATE_GOLDEN=1 cargo test -p opentracy-translate` rewrites
//! it, and the test compares every cell.

mod fixtures;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use opentracy_translate::client::Api;
use opentracy_translate::exchange::Target;
use opentracy_translate::format;
use opentracy_translate::openai::request::ChatRequest;
use opentracy_translate::openai::unsupported;
use opentracy_translate::provider::{Auth, BuiltInProvider, PROVIDERS};
use opentracy_translate::wire_format::Format;
use serde_json::{Value, json};

use crate::fixtures::sorted;

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Sent unchanged.
    Native,
    Renamed(&'static str),
    /// Translated into the provider's format.
    Translated,
    /// Dropped.
    Omitted,
    /// Rejected with a 400.
    Refused,
}

/// The rows of the table: a name, and the members it adds to a plain request.
fn fields() -> Vec<(&'static str, Value)> {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false});
    let tools = json!([{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}}]);
    let strict = json!([{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema, "strict": true}}]);
    let part = |part: Value| json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, part]}]});
    vec![
        ("max_tokens", json!({"max_tokens": 100})),
        (
            "max_completion_tokens",
            json!({"max_completion_tokens": 100}),
        ),
        ("temperature", json!({"temperature": 0.5})),
        ("top_p", json!({"top_p": 0.5})),
        ("stop", json!({"stop": ["END"]})),
        ("seed", json!({"seed": 7})),
        ("n", json!({"n": 2})),
        ("presence_penalty", json!({"presence_penalty": 0.5})),
        ("frequency_penalty", json!({"frequency_penalty": 0.5})),
        ("logit_bias", json!({"logit_bias": {"50256": -100}})),
        ("logprobs", json!({"logprobs": true})),
        (
            "response_format: json_object",
            json!({"response_format": {"type": "json_object"}}),
        ),
        (
            "response_format: json_schema",
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}}),
        ),
        ("tools", json!({"tools": tools})),
        ("tools, strict", json!({"tools": strict})),
        (
            "tools with json_schema",
            json!({"tools": tools, "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}}),
        ),
        (
            "tool_choice: none",
            json!({"tools": tools, "tool_choice": "none"}),
        ),
        (
            "tool_choice: required",
            json!({"tools": tools, "tool_choice": "required"}),
        ),
        (
            "tool_choice: a function",
            json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ),
        (
            "parallel_tool_calls: false",
            json!({"tools": tools, "parallel_tool_calls": false}),
        ),
        ("reasoning_effort", json!({"reasoning_effort": "high"})),
        ("user", json!({"user": "u-1"})),
        ("safety_identifier", json!({"safety_identifier": "s-1"})),
        ("metadata", json!({"metadata": {"team": "search"}})),
        ("store", json!({"store": true})),
        ("service_tier", json!({"service_tier": "default"})),
        (
            "stream_options",
            json!({"stream": true, "stream_options": {"include_usage": true}}),
        ),
        (
            "modalities: audio",
            json!({"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}),
        ),
        (
            "prediction",
            json!({"prediction": {"type": "content", "content": "x"}}),
        ),
        (
            "web_search_options",
            json!({"web_search_options": {"search_context_size": "low"}}),
        ),
        (
            "cache_control",
            json!({"cache_control": {"type": "ephemeral"}}),
        ),
        ("verbosity", json!({"verbosity": "low"})),
        (
            "developer message",
            json!({"messages": [{"role": "developer", "content": "y"}, {"role": "user", "content": "x"}]}),
        ),
        (
            "name of a message",
            json!({"messages": [{"role": "user", "content": "x", "name": "ann"}]}),
        ),
        ("text parts", part(json!({"type": "text", "text": "y"}))),
        (
            "image by URL",
            part(json!({"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}})),
        ),
        (
            "image in the request",
            part(
                json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}),
            ),
        ),
        (
            "audio in the request",
            part(
                json!({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}),
            ),
        ),
        (
            "PDF in the request",
            part(
                json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}),
            ),
        ),
    ]
}

fn request(model: &str, more: &Value) -> Value {
    let mut request = json!({"model": model, "messages": [{"role": "user", "content": "x"}]});
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

fn translate(provider: &BuiltInProvider, model: &str, request: &Value) -> Option<Value> {
    let body = sorted(request).to_string();
    let target = Target {
        format: provider.format,
        model,
        max_output_tokens: None,
        dialect: provider.dialect,
        auto_cache: false,
        serves_responses: provider.dialect.responses,
    };
    match format::translate_request(Api::CHAT_COMPLETIONS, body.as_bytes(), &target) {
        Ok(outgoing) => Some(match outgoing.body {
            Some(translated) => serde_json::from_slice(&translated).unwrap(),
            None => request.clone(),
        }),
        Err(error) => {
            assert_eq!(error.status, 400, "{error}");
            assert!(
                error.param.is_some() && error.message.contains(model),
                "{error}"
            );
            None
        }
    }
}

fn fate(provider: &BuiltInProvider, field: &str, more: &Value) -> Fate {
    let model = provider.model;
    let asked = request(model, more);
    let Some(sent) = translate(provider, model, &asked) else {
        return Fate::Refused;
    };
    if sent == asked {
        return Fate::Native;
    }
    // The translation of the same request without the field. Tools stay if the field is about them.
    let mut without = asked.clone();
    let name = field.split([':', ' ', ',']).next().unwrap();
    if asked.get(name).is_some() && name != "tools" {
        without.as_object_mut().unwrap().remove(name);
        if translate(provider, model, &without).as_ref() == Some(&sent) {
            return Fate::Omitted;
        }
    }
    for renamed in ["max_tokens", "max_completion_tokens", "random_seed"] {
        if provider.format == Format::OPENAI
            && sent.get(renamed).is_some()
            && asked.get(renamed).is_none()
        {
            return Fate::Renamed(renamed);
        }
    }
    if field == "name of a message" && !sent.to_string().contains("ann") {
        return Fate::Omitted;
    }
    if field == "tools, strict" && !sent.to_string().contains("strict") {
        return Fate::Omitted;
    }
    Fate::Translated
}

/// The request sent for each field, if any: the providers' own SDKs validate it in
/// `tests/e2e/test_fixtures.py`.
fn cells(provider: &BuiltInProvider) -> String {
    let model = provider.model;
    let sent: BTreeMap<&str, Value> = fields()
        .into_iter()
        .filter_map(|(field, more)| {
            Some((field, translate(provider, model, &request(model, &more))?))
        })
        .collect();
    serde_json::to_string_pretty(&sent).unwrap() + "\n"
}

fn page() -> String {
    let mut page = String::from(
        "# Providers

This page is written by a test (`translate/tests/providers.rs`) that translates a request with each field for each provider, and
holds every cell. Models are called as `provider/model`; what a model can do is its provider's to say.

| provider | format | base URL | key |
|---|---|---|---|
",
    );
    for provider in PROVIDERS {
        let format = provider.format.facts().title;
        let key = match provider.auth() {
            Auth::None => "none".to_owned(),
            Auth::Bearer | Auth::Header(_) => format!("`{}`", provider.key_variable),
        };
        let base_url = match provider.base_url {
            "" => "your resource's, in the configuration",
            url => url,
        };
        writeln!(
            page,
            "| `{}` | {format} | {} | {key} |",
            provider.name, base_url
        )
        .unwrap();
    }
    page.push_str(
        "
Any other server of one of these formats is an entry in the configuration: `format`, `base_url`, and `dialect` where it departs from OpenAI
as one of these providers does.

## What travels with a conversation

- **Thoughts.** `reasoning_effort` makes a model think; what it thought comes as `reasoning_content`. Where it calls a tool, Claude
  and Gemini want the thought back with the result, signed. It travels as `extra_content` of the first tool call: an application that sends
  the assistant's message back as it came keeps it, as the official SDKs do. Where it was dropped, Claude answers that turn
  without thinking, and Gemini is told that there is none. What one host of Claude signed, another takes back.
- **Cache markers.** `cache_control` on a message, a part, a tool or the request reaches Anthropic, Claude on Vertex AI, cache points on
  Bedrock, and providers that pass it on. With `cache: auto` in the configuration, Anthropic is asked to place them where a client sets none.
- Both are left out for every other provider, so a conversation may move from one to the next.

## Clients of other APIs

`POST /v1/messages` (Anthropic's, with `count_tokens`) and `POST /v1/responses` (OpenAI's) go to any of these providers by the same
plan, with the same fallback, cost and trace.

- Where the provider speaks the client's API itself, a request passes as it is but for the model's name: Messages to Anthropic and to Claude
  on Vertex AI, Responses to OpenAI and Azure's `/openai/v1`.
- For every other provider it becomes a chat completion request, of which the table below holds. What only the API's own provider can do is a
  400 that says so: server tools, files by id, `previous_response_id`, `background`.
- Signed thoughts travel in the signature of a thinking block, or in `encrypted_content`, under a mark of the gateway's; they reach their own
  provider again and no other.
- A thinking budget is room to think: it becomes `reasoning_effort` for models that reason, and is left out for those that are known not to.
- A conversation may hold what an earlier provider did with its own tools, such as searches, code and compactions. The next provider gets it as
  text. A call without a result gets one that says so; arguments that aren't an object are wrapped in one; half a surrogate pair is replaced.
- A text between the pieces of a streamed call comes after it in Messages, whose blocks don't overlap; a blank one is left out.
- Tokens are counted by Anthropic for its own models, and estimated from the length of the text for all others.
- Errors have Anthropic's shape on `/v1/messages`, with OpenAI's `code` and `param` beside it.

## Provider's own words

Bedrock's `additionalModelRequestFields`, `guardrailConfig` and `performanceConfig`, and Cohere's `documents`, `citation_options`, `safety_mode`
and `k` go there as they are. Citations come back as `citations` of the message, in the provider's words.

## Fields

| | |
|---|---|
| **yes** | goes as it is |
| **as `x`** | goes under the provider's name for it |
| **said** | is said in the provider's own words |
| **out** | is left out, because it would make the provider refuse the request and does not change what the model is asked |
| **400** | can't be said: an error that names the field and the model |

",
    );
    let names: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
    writeln!(page, "| | {} |", names.join(" | ")).unwrap();
    writeln!(page, "|---|{}", "---|".repeat(names.len())).unwrap();
    for (field, more) in fields() {
        let cells: Vec<String> = PROVIDERS
            .iter()
            .map(|provider| match fate(provider, field, &more) {
                Fate::Native => "yes".to_owned(),
                Fate::Renamed(name) => format!("as `{name}`"),
                Fate::Translated => "said".to_owned(),
                Fate::Omitted => "out".to_owned(),
                Fate::Refused => "**400**".to_owned(),
            })
            .collect();
        writeln!(page, "| {field} | {} |", cells.join(" | ")).unwrap();
    }
    page
}

#[test]
fn every_cell_of_the_table_holds() {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/providers.md"));
    let page = page();
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/cells"));
    let is_update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for provider in PROVIDERS {
        let path = folder.join(provider.name).with_extension("json");
        let cells = cells(provider);
        if is_update {
            std::fs::write(&path, cells).unwrap();
            continue;
        }
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        let held = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(parse(&cells), parse(&held), "{}", path.display());
    }
    if is_update {
        std::fs::write(&path, &page).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (now, held) in page.lines().zip(expected.lines()) {
        assert_eq!(now, held, "docs/providers.md; UPDATE_GOLDEN=1 rewrites it");
    }
    assert_eq!(
        page.len(),
        expected.len(),
        "docs/providers.md; UPDATE_GOLDEN=1 rewrites it"
    );
}

#[test]
fn the_table_of_unsupported_fields_agrees_with_the_page() {
    let mut checked = 0;
    for provider in PROVIDERS {
        let vendor = provider.format.facts().vendor;
        for (field, more) in fields() {
            let body = request(provider.model, &more).to_string();
            let parsed = ChatRequest::parse(body.as_bytes()).unwrap();
            if let Some((name, _)) = unsupported::find(&parsed, vendor) {
                assert!(field.starts_with(name), "{field}: {name}");
                let fate = fate(provider, field, &more);
                assert_eq!(fate, Fate::Refused, "{field} of {}", provider.name);
                checked += 1;
            }
        }
    }
    assert!(checked > 20, "only {checked} cells");
}
