//! Ends of streams: whole, cut, unreadable, and with trailers.

use opentracy_proto::v1;
use serde_json::{Value, json};

use crate::fake_envoy::{Exchange, Upstream, Vm};
use crate::tests::stages::{Stages, attempt, records_of};
use crate::tests::world::{CHAT, SSE, chat, event, last_parts, part, snapshot};

const RESET: &str = "upstream_reset_after_response_started{connection_termination}";
const TRAILERS: [(&str, &str); 1] = [("x-request-cost", "1")];

fn streamed(model: &str) -> Value {
    let mut body = chat(model);
    body["stream"] = json!(true);
    body
}

/// Returns a message of Anthropic's, as events.
fn message() -> Vec<u8> {
    let start = json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude",
        "usage": {"input_tokens": 12, "output_tokens": 1}}});
    let block = json!({"type": "content_block_start", "index": 0,
        "content_block": {"type": "text", "text": ""}});
    let delta = json!({"type": "content_block_delta", "index": 0,
        "delta": {"type": "text_delta", "text": "Salut"}});
    let end = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
        "usage": {"output_tokens": 10}});
    let events = [start, block, delta, end, json!({"type": "message_stop"})];
    events.iter().flat_map(event).collect()
}

/// Returns the error of an attempt in the provider stage, whose stream goes on like this.
fn recorded(vm: &mut Vm, model: &str, go_on: impl FnOnce(&mut Exchange)) -> String {
    let mut exchange = attempt(vm, &[model], 1, &streamed("alias"));
    exchange.begin_response(200, &SSE, false);
    go_on(&mut exchange);
    assert_eq!(exchange.client().status(), 200);
    exchange.end();
    vm.records().attempts.remove(0).error
}

/// Ends a response.
type EndOfStream = fn(&mut Exchange);

#[test]
fn an_attempt_whose_stream_breaks_off_has_failed() {
    let mut vm = Vm::provider_with(snapshot());
    let error = event(&json!({"error": {"message": "oh", "code": 500}}));
    let ends: [(&str, EndOfStream); 3] = [
        ("it ends", |exchange| exchange.respond_more(b"", true)),
        ("it is reset", |exchange| exchange.cut(RESET)),
        ("it ends with trailers", |exchange| {
            exchange.respond_trailers(&TRAILERS);
        }),
    ];
    for (what, end) in ends {
        for model in ["openai/small", "anthropic/claude"] {
            let first = match model {
                "openai/small" => part("Hi"),
                _ => message()[..300].to_vec(),
            };
            let why = recorded(&mut vm, model, |exchange| {
                exchange.respond_more(&first, false);
                end(exchange);
            });
            assert_eq!(why, "broke_off", "{what}: {model}");
        }
    }
    let why = recorded(&mut vm, "openai/small", |exchange| {
        exchange.respond_more(&part("Hi"), false);
        exchange.respond_more(&error, true);
    });
    assert_eq!(why, "broke_off");
}

#[test]
fn an_attempt_whose_stream_is_whole_has_succeeded_however_it_is_cut() {
    let mut vm = Vm::provider_with(snapshot());
    let finish = json!({"index": 0, "delta": {}, "finish_reason": "stop"});
    let unmarked = event(&json!({"choices": [finish]}));
    for last in [last_parts(), unmarked, b"data: [DONE]\n\n".to_vec()] {
        for size in [7, 1000] {
            let why = recorded(&mut vm, "openai/small", |exchange| {
                exchange.respond_more(&part("Hi"), false);
                for piece in last.chunks(size) {
                    exchange.respond_more(piece, false);
                }
                exchange.respond_more(b"", true);
            });
            assert_eq!(why, "", "{}", String::from_utf8_lossy(&last));
        }
    }
    for whole in [[part("Hi"), last_parts()].concat(), message()] {
        let model = if whole == message() {
            "anthropic/claude"
        } else {
            "openai/small"
        };
        let why = recorded(&mut vm, model, |exchange| {
            exchange.respond_more(&whole, true)
        });
        assert_eq!(why, "", "{model}");
    }
}

#[test]
fn a_client_that_leaves_is_no_failure_of_the_attempt() {
    let mut vm = Vm::provider_with(snapshot());
    let why = recorded(&mut vm, "openai/small", |exchange| {
        exchange.respond_more(&part("Hi"), false);
        exchange.cut("downstream_remote_disconnect");
    });
    assert_eq!(why, "");
}

/// Answers with a message whose last bytes come before trailers, and checks what the client got.
fn end_with_trailers(exchange: &mut Exchange, begun: usize) {
    let whole = message();
    let (head, tail) = whole.split_at(begun);
    exchange.begin_response(200, &SSE, false);
    for piece in [head, tail] {
        exchange.respond_more(piece, false);
    }
    exchange.respond_trailers(&TRAILERS);
    let got = exchange.client().clone();
    let text = got.text();
    assert!(
        got.is_complete && text.contains("\"content\":\"Salut\""),
        "{text}"
    );
    assert!(text.ends_with("data: [DONE]\n\n") && !text.contains("message_stop"));
}

#[test]
fn a_stream_that_ends_with_trailers_is_a_translated_answer() {
    let mut vm = Vm::gateway_with(snapshot());
    for begun in [0, 400] {
        let mut exchange = vm.post(CHAT, &streamed("anthropic/claude"));
        end_with_trailers(&mut exchange, begun);
        let (trace, attempts) = records_of(&mut vm, exchange);
        assert_eq!(trace.outcome(), v1::Outcome::Completed);
        assert_eq!(trace.usage.unwrap().output, 10);
        assert_eq!(attempts[0].error, "");
    }
}

#[test]
fn an_attempt_whose_stream_ends_with_trailers_has_succeeded() {
    let mut vm = Vm::provider_with(snapshot());
    for begun in [0, 400] {
        let mut exchange = attempt(&mut vm, &["anthropic/claude"], 1, &streamed("alias"));
        end_with_trailers(&mut exchange, begun);
        exchange.end();
        assert_eq!(vm.records().attempts[0].error, "");
    }
}

#[test]
fn trailers_before_the_answer_has_begun_are_an_error_with_a_status() {
    let mut vm = Vm::gateway_with(snapshot());
    for model in ["openai/small", "anthropic/claude"] {
        let mut exchange = vm.post(CHAT, &streamed(model));
        exchange.begin_response(200, &SSE, false);
        exchange.respond_more(b": wait\n\n", false);
        exchange.respond_trailers(&TRAILERS);
        assert_eq!(exchange.client().status(), 502);
        assert_eq!(
            exchange.client().json()["error"]["code"],
            "incomplete_stream"
        );
    }
}

#[test]
fn a_broken_stream_of_the_only_candidate_is_a_failed_attempt() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = vm.post(CHAT, &streamed("openai/small"));
    exchange.begin_response(200, &SSE, false);
    exchange.respond_more(&part("Hi"), false);
    exchange.respond_more(b"", true);
    let (trace, attempts) = records_of(&mut vm, exchange);
    assert_eq!(trace.outcome(), v1::Outcome::UpstreamBrokeOff);
    assert_eq!(attempts[0].error, "broke_off");
}

#[test]
fn the_second_candidate_answers_if_the_first_event_can_not_be_read() {
    let unreadable = event(&json!({"choices": [{"index": 0, "delta": {"content": 7}}]}));
    let paths = [
        (CHAT, event(&json!({"choices": "Hello"}))),
        ("/v1/messages", unreadable),
        (CHAT, b"data: [DONE]\n\n".to_vec()),
        ("/v1/messages", b"data: [DONE]\n\n".to_vec()),
    ];
    let mut stages = Stages::start(snapshot());
    for (path, first) in paths {
        let mut body = streamed("chain");
        body["max_tokens"] = json!(100);
        let mut call = stages.gateway.post(path, &body);
        let whole = [part("Hi"), last_parts()].concat();
        let broken = [first, part("never seen"), last_parts()].concat();
        let upstreams = [broken, whole].map(|events| Upstream::answer(200, &SSE, events));
        stages.listener.relay(&mut call, upstreams.into());
        let text = call.client().text();
        assert!(
            text.contains("Hi") && !text.contains("never seen"),
            "{path}: {text}"
        );
        let (trace, _) = records_of(&mut stages.gateway, call);
        assert_eq!(trace.outcome(), v1::Outcome::Completed);
        assert_eq!(trace.model, "large");
    }
}

#[test]
fn a_chunk_that_can_not_be_read_ends_the_answer_without_a_cost() {
    let mut vm = Vm::gateway_with(snapshot());
    for path in [CHAT, "/v1/messages", "/v1/responses"] {
        let mut body = streamed("openai/small");
        body["max_tokens"] = json!(100);
        body["input"] = json!("Hello");
        let mut exchange = vm.post(path, &body);
        exchange.begin_response(200, &SSE, false);
        exchange.respond_more(&part("Hi"), false);
        let broken = json!({"choices": "x", "usage": {"prompt_tokens": 1}});
        exchange.respond_more(&event(&broken), false);
        exchange.respond_more(&last_parts(), true);
        let text = exchange.client().text();
        assert!(text.contains("invalid_upstream_response"), "{path}: {text}");
        let ends = ["[DONE]", "message_stop", "response.completed"];
        assert!(!ends.iter().any(|end| text.contains(end)), "{path}: {text}");
        let (trace, attempts) = records_of(&mut vm, exchange);
        assert_eq!(trace.outcome(), v1::Outcome::UpstreamBrokeOff, "{path}");
        assert!(trace.cost.is_none() && trace.usage.is_none(), "{path}");
        assert_eq!(attempts[0].error, "broke_off");
    }
}
