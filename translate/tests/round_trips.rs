//! Round trips: a conversion to another format or API and back changes nothing.

use opentracy_translate::client::Api;
use opentracy_translate::exchange::{Origin, Target};
use opentracy_translate::format;
use opentracy_translate::openai::dialect;
use opentracy_translate::wire_format::Format;
use proptest::prelude::*;
use serde_json::{Value, json};

fn origin(api: Api, format: Format) -> Origin<'static> {
    Origin {
        api,
        format,
        is_native: false,
        provider: "p",
        model: "claude-sonnet-4-5",
        id: "call",
        created: 1_700_000_000,
        request: b"{}",
        own_answers: false,
    }
}

/// Generates non-empty text.
fn words() -> impl Strategy<Value = String> {
    "[a-zäöü🦓\"\\\\\n]{0,8}[a-z!?]"
}

fn arguments() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-z]{1,6}", words(), 0..3).prop_map(|map| json!(map))
}

prop_compose! {
    /// A round of a conversation with tools: a question, calls, their results, an answer.
    fn round()(question in words(), said in words(), calls in prop::collection::vec(arguments(), 1..3), results in prop::collection::vec(words(), 3), answer in words(), salt in "[a-z0-9]{8}") -> Vec<Value> {
        let ids: Vec<String> = (0..calls.len()).map(|number| format!("call_{salt}_{number}")).collect();
        let calls: Vec<Value> = calls.iter().zip(&ids)
            .map(|(arguments, id)| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments.to_string()}}))
            .collect();
        let results = ids.iter().zip(results).map(|(id, text)| json!({"role": "tool", "tool_call_id": id, "content": text}));
        let mut turns = vec![json!({"role": "user", "content": question}), json!({"role": "assistant", "content": said, "tool_calls": calls})];
        turns.extend(results);
        turns.push(json!({"role": "assistant", "content": answer}));
        turns
    }
}

prop_compose! {
    fn request()(system in words(), rounds in prop::collection::vec(round(), 0..3), last in words(), percent in 0..100u32, max_tokens in 1..5000u64, stop in prop::collection::vec("[a-z]{1,5}", 0..3), user in "[a-z]{1,8}", stream: bool) -> Value {
        let mut messages = vec![json!({"role": "system", "content": system})];
        messages.extend(rounds.into_iter().flatten());
        messages.push(json!({"role": "user", "content": last}));
        let mut request = json!({
            "model": "claude-sonnet-4-5", "messages": messages, "temperature": f64::from(percent) / 100.0, "max_tokens": max_tokens, "user": user,
            "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}}],
            "tool_choice": "required", "parallel_tool_calls": false,
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": true}},
        });
        if !stop.is_empty() {
            request["stop"] = json!(stop);
        }
        if stream {
            request["stream"] = json!(true);
        }
        request
    }
}

/// Returns an answer as OpenAI sends it.
fn completion(text: &str, thought: &str, calls: &[Value], finish_reason: &str) -> Value {
    let calls: Vec<Value> = calls
        .iter()
        .enumerate()
        .map(|(number, arguments)| {
            json!({"id": format!("call_{number}"), "type": "function",
                "function": {"name": "f", "arguments": arguments.to_string()}})
        })
        .collect();
    let mut message = json!({"role": "assistant", "content": text, "refusal": null});
    if !thought.is_empty() {
        message["reasoning_content"] = json!(thought);
    }
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    json!({
        "id": "msg_1", "object": "chat.completion", "created": 1_700_000_000, "model": "m",
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27,
            "prompt_tokens_details": {"cached_tokens": 5}, "completion_tokens_details": {"reasoning_tokens": 0}},
    })
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// From OpenAI to Anthropic, then back to OpenAI as a request from Anthropic's client.
    #[test]
    fn a_request_comes_back_from_anthropics_format(request in request()) {
        let target = Target {
            format: Format::ANTHROPIC,
            model: "claude-sonnet-4-5",
            max_output_tokens: None,
            dialect: &dialect::OPENAI,
            auto_cache: false,
            serves_responses: false,
        };
        let body = request.to_string();
        let there = format::translate_request(Api::CHAT_COMPLETIONS, body.as_bytes(), &target).unwrap();
        let back = Api::MESSAGES.to_chat(&there.body.unwrap(), "claude-sonnet-4-5", true).unwrap().unwrap();
        prop_assert_eq!(parse(&back), request);
    }

    /// An answer for Anthropic's client, parsed again as Anthropic's own.
    #[test]
    fn an_answer_comes_back_from_anthropics_format(text in words(), thought in words(), calls in prop::collection::vec(arguments(), 0..3)) {
        let reason = if calls.is_empty() { "stop" } else { "tool_calls" };
        let asked = completion(&text, &thought, &calls, reason);
        let message = Api::MESSAGES.of_chat(asked.to_string().as_bytes(), b"{}").unwrap().unwrap();
        let back = format::translate_response(&message, &origin(Api::CHAT_COMPLETIONS, Format::ANTHROPIC)).unwrap().unwrap();
        let mut back = parse(&back);
        // An empty signature counts as missing, but is carried with a call like Anthropic's.
        if let Some(call) = back.pointer_mut("/choices/0/message/tool_calls/0").and_then(Value::as_object_mut) {
            call.remove("extra_content");
        }
        prop_assert_eq!(back, asked);
    }

    /// A conversation in Chat Completions stays the same when it is sent as the items of a
    /// response.
    #[test]
    fn an_answer_of_responses_is_the_next_requests_input(text in words(), calls in prop::collection::vec(arguments(), 1..3)) {
        let asked = completion(&text, "", &calls, "tool_calls");
        let response = parse(&Api::RESPONSES.of_chat(asked.to_string().as_bytes(), b"{}").unwrap().unwrap());
        let next = json!({"model": "m", "input": response["output"]});
        let chat = parse(&Api::RESPONSES.to_chat(next.to_string().as_bytes(), "m", true).unwrap().unwrap());
        let mut message = asked["choices"][0]["message"].clone();
        message.as_object_mut().unwrap().remove("refusal");
        prop_assert_eq!(&chat["messages"][0], &message);
    }
}
