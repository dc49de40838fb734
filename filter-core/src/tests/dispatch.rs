//! From the name of a model to the request for one provider, or to a plan of several attempts.

use opentracy_proto::v1;
use serde_json::json;

use crate::fake_envoy::Vm;
use crate::tests::world::{
    self, CHAT, JSON, alias, call, chat, chat_with, completion, error, key, plan, provider,
    snapshot,
};

/// Returns a configuration with one more alias.
fn with_alias(alias: v1::Alias) -> v1::Snapshot {
    let mut snapshot = snapshot();
    snapshot.aliases.push(alias);
    snapshot
}

#[test]
fn a_provider_and_a_model_need_no_entry_in_the_catalog() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = vm.post(CHAT, &chat("second/just-released"));
    let sent = exchange.upstream();
    assert_eq!(sent.header("x-opentracy-cluster"), "provider_second");
    assert_eq!(sent.json()["model"], "just-released");
}

#[test]
fn a_bare_name_is_a_model_of_the_catalog() {
    let mut vm = Vm::gateway_with(snapshot());
    let got = call(&mut vm, &[], &chat("large"));
    assert_eq!(got.header("x-opentracy-selected-model"), "second/large");
}

#[test]
fn an_alias_of_one_model_goes_straight_to_its_provider() {
    let mut vm = Vm::gateway_with(snapshot());
    let got = call(&mut vm, &[], &chat("only"));
    assert_eq!(got.header("x-opentracy-attempts"), "1");
    let routing = &got.json()["_routing"];
    assert_eq!(routing["alias"], "only");
    assert_eq!(routing["requested_model"], "only");
    assert_eq!(routing["selected_model"], "openai/small");
    let records = vm.records();
    let trace = &records.traces[0];
    assert_eq!(
        (trace.alias.as_str(), trace.model.as_str()),
        ("only", "small")
    );
    assert_eq!(routing["trace_id"], trace.id);
}

#[test]
fn an_unknown_name_is_a_404_with_the_nearest_names() {
    let mut vm = Vm::gateway_with(snapshot());
    for (name, near) in [("smal", "\"small\""), ("opnai/small", "\"openai/small\"")] {
        let mut exchange = vm.post(CHAT, &chat(name));
        assert!(exchange.upstream().headers.is_empty(), "{name}");
        let got = exchange.client().clone();
        assert_eq!(error(&got), (404, "model_not_found".to_owned()));
        let reason = &got.json()["error"];
        assert_eq!(reason["param"], "model");
        assert_eq!(reason["type"], "not_found_error");
        assert!(
            reason["message"].as_str().unwrap().contains(near),
            "{reason}"
        );
        exchange.end();
    }
    let records = vm.records();
    let trace = &records.traces[0];
    assert_eq!(
        (trace.status, trace.requested_model.as_str()),
        (404, "smal")
    );
    assert!(records.attempts.is_empty());
}

#[test]
fn a_name_that_no_model_can_have_is_invalid() {
    let mut vm = Vm::gateway_with(snapshot());
    for name in ["", "two words", &"x".repeat(201)] {
        let got = call(&mut vm, &[], &chat(name));
        assert_eq!(got.status(), 400, "{name}");
        assert_eq!(got.json()["error"]["param"], "model");
    }
}

#[test]
fn a_provider_without_its_key_is_skipped_or_named() {
    let mut snapshot = snapshot();
    snapshot.providers[0].missing_key_variable = Some("OPENAI_API_KEY".to_owned());
    let mut vm = Vm::gateway_with(snapshot);
    let got = call(&mut vm, &[], &chat("chain"));
    assert_eq!(got.header("x-opentracy-selected-model"), "second/large");
    for model in ["only", "openai/small"] {
        let got = call(&mut vm, &[], &chat(model));
        assert_eq!(error(&got), (401, "provider_key_missing".to_owned()));
        assert!(got.text().contains("OPENAI_API_KEY"));
    }
}

#[test]
fn a_gateway_without_a_configuration_says_that_it_starts() {
    let mut vm = Vm::gateway();
    for path in [CHAT, "/v1/messages", "/v1/responses"] {
        let mut exchange = vm.post(path, &chat("small"));
        let got = exchange.client();
        assert_eq!(got.status(), 503);
        assert_eq!(got.header("retry-after"), "1");
    }
    let got = call(&mut vm, &[], &chat("small"));
    assert_eq!(error(&got), (503, "gateway_starting".to_owned()));
    vm.configure(snapshot());
    assert_eq!(call(&mut vm, &[], &chat("small")).status(), 200);
}

#[test]
fn a_malformed_request_names_its_fault() {
    let mut vm = Vm::gateway_with(snapshot());
    let headers = [("content-type", "application/json")];
    for (body, code, param) in [
        ("{", "invalid_json", None),
        ("[]", "invalid_json", None),
        (
            r#"{"messages": [{"role": "user", "content": "x"}]}"#,
            "",
            Some("model"),
        ),
        (r#"{"model": "small"}"#, "", Some("messages")),
    ] {
        let mut exchange = world::request(&mut vm, "POST", CHAT, &headers, body.as_bytes());
        let got = exchange.client();
        assert_eq!(got.status(), 400, "{body}");
        let reason = &got.json()["error"];
        assert_eq!(reason["type"], "invalid_request_error");
        assert_eq!(reason["param"].as_str(), param, "{body}");
        if !code.is_empty() {
            assert_eq!(reason["code"], code);
        }
    }
}

#[test]
fn a_request_for_one_provider_is_repeated_by_envoy_only_if_the_connection_failed() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = vm.post(CHAT, &chat("openai/small"));
    let sent = exchange.upstream();
    assert_eq!(sent.header(":authority"), "opentracy-direct");
    assert_eq!(sent.header("x-envoy-retry-on"), "reset");
    assert_eq!(sent.header("x-envoy-max-retries"), "1");
    // The provider's 5 s, and the margin in which the gateway answers before Envoy does.
    assert_eq!(
        sent.header("x-envoy-upstream-rq-per-try-timeout-ms"),
        "5500"
    );
}

#[test]
fn several_candidates_are_a_plan_for_the_internal_listener() {
    let mut vm = Vm::gateway_with(snapshot());
    let body = chat("chain");
    let mut exchange = vm.post(CHAT, &body);
    let sent = exchange.upstream();
    assert_eq!(sent.header(":authority"), "opentracy-internal");
    assert_eq!(sent.header("x-envoy-max-retries"), "1");
    assert_eq!(
        sent.header("x-envoy-upstream-rq-per-try-timeout-ms"),
        "5500"
    );
    assert_eq!(sent.header("x-envoy-hedge-on-per-try-timeout"), "");
    assert_eq!(plan(sent), ["openai/small", "second/large"]);
    assert_eq!(sent.json(), body, "the provider stage translates it");
    assert_eq!(sent.header("authorization"), "");
}

#[test]
fn retries_and_further_keys_are_attempts_of_the_same_candidate() {
    let mut patient = alias("patient", &["openai/small", "second/large"]);
    patient.retries = 2;
    let mut snapshot = with_alias(patient);
    snapshot.aliases.push(alias("keys", &["keys/m"]));
    let mut keys = provider("keys", v1::Format::Openai);
    keys.keys = ["b", "c"].map(another_key).to_vec();
    snapshot.providers.push(keys);
    let mut vm = Vm::gateway_with(snapshot);
    let mut exchange = vm.post(CHAT, &chat("patient"));
    let sent = exchange.upstream();
    let (small, large) = ("openai/small", "second/large");
    assert_eq!(plan(sent), [small, small, small, large, large, large]);
    assert_eq!(sent.header("x-envoy-max-retries"), "5");
    for model in ["keys", "keys/m"] {
        let mut exchange = vm.post(CHAT, &chat(model));
        assert_eq!(plan(exchange.upstream()), ["keys/m"; 3], "{model}");
    }
}

fn another_key(name: &str) -> v1::Header {
    v1::Header {
        name: "authorization".to_owned(),
        value: format!("Bearer another-key-{name}"),
    }
}

#[test]
fn a_plan_has_an_end() {
    let mut endless = alias("endless", &["openai/small", "second/large"]);
    endless.retries = 100;
    let mut vm = Vm::gateway_with(with_alias(endless));
    let mut exchange = vm.post(CHAT, &chat("endless"));
    let sent = exchange.upstream();
    assert_eq!(plan(sent), ["openai/small"; 16]);
    assert_eq!(sent.header("x-envoy-max-retries"), "15");
}

#[test]
fn the_timeout_of_an_alias_replaces_those_of_the_providers() {
    let timeout = "x-envoy-upstream-rq-per-try-timeout-ms";
    let mut quick = alias("quick", &["openai/small", "second/large"]);
    quick.per_try_timeout_ms = Some(700);
    let mut one = alias("one", &["openai/small"]);
    one.per_try_timeout_ms = Some(300);
    let mut snapshot = with_alias(quick);
    snapshot.aliases.push(one);
    let mut vm = Vm::gateway_with(snapshot);
    let mut exchange = vm.post(CHAT, &chat("quick"));
    let sent = exchange.upstream();
    assert_eq!(sent.header(timeout), "1200");
    let plan: serde_json::Value =
        serde_json::from_str(sent.header("x-opentracy-plan")).expect("a plan");
    assert_eq!(plan["per_try_timeout_ms"], 700);
    let mut exchange = vm.post(CHAT, &chat("one"));
    assert_eq!(exchange.upstream().header(timeout), "800");
}

#[test]
fn hedging_tries_the_next_candidate_while_the_first_may_still_answer() {
    let mut hedged = alias("hedged", &["openai/small", "second/large"]);
    hedged.hedge_after_ms = Some(250);
    let mut vm = Vm::gateway_with(with_alias(hedged));
    let mut exchange = vm.post(CHAT, &chat("hedged"));
    let sent = exchange.upstream();
    assert_eq!(sent.header("x-envoy-upstream-rq-per-try-timeout-ms"), "250");
    assert_eq!(sent.header("x-envoy-hedge-on-per-try-timeout"), "true");
}

#[test]
fn a_clients_own_headers_stay_here_but_for_the_context_of_its_trace() {
    let mut vm = Vm::gateway_with(snapshot());
    let trace = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01";
    let headers = [
        ("traceparent", trace),
        ("tracestate", "vendor=1"),
        ("anthropic-beta", "a-feature"),
        ("cookie", "secret"),
        ("authorization", "Bearer of-the-client"),
        ("x-envoy-max-retries", "99"),
        ("x-opentracy-cluster", "another"),
        ("x-opentracy-plan", "{}"),
    ];
    let mut exchange = chat_with(&mut vm, &headers, &chat("openai/small"));
    let sent = exchange.upstream();
    let onward = sent.header("traceparent");
    assert!(onward.starts_with("00-0123456789abcdef0123456789abcdef-"));
    assert_ne!(onward, trace, "the attempt is a span of its own");
    assert_eq!(sent.header("tracestate"), "vendor=1");
    assert_eq!(sent.header("authorization"), "Bearer key-of-openai");
    assert_eq!(sent.header("x-opentracy-cluster"), "provider_openai");
    assert_eq!(sent.header("x-envoy-max-retries"), "1");
    for name in ["cookie", "anthropic-beta", "x-opentracy-plan"] {
        assert_eq!(sent.header(name), "", "{name}");
    }
    exchange.respond(200, &JSON, &completion("Hi"));
    exchange.end();
    assert_eq!(vm.records().traces[0].traceparent, trace);
    let mut exchange = chat_with(&mut vm, &headers, &chat("anthropic/claude"));
    assert_eq!(exchange.upstream().header("anthropic-beta"), "a-feature");
}

#[test]
fn a_key_narrows_an_alias_to_the_candidates_that_it_may_use() {
    let mut snapshot = snapshot();
    let models = |models: &[&str]| models.iter().map(|&model| model.to_owned()).collect();
    snapshot.keys = vec![
        v1::ClientKey {
            models: models(&["second/*"]),
            ..key("narrow")
        },
        v1::ClientKey {
            models: models(&["chain"]),
            ..key("whole")
        },
    ];
    let mut vm = Vm::gateway_with(snapshot);
    let narrow = [("authorization", "Bearer sk-narrow")];
    let mut exchange = chat_with(&mut vm, &narrow, &chat("chain"));
    let sent = exchange.upstream();
    assert_eq!(sent.header("x-opentracy-cluster"), "provider_second");
    let whole = [("authorization", "Bearer sk-whole")];
    let mut exchange = chat_with(&mut vm, &whole, &chat("chain"));
    assert_eq!(plan(exchange.upstream()).len(), 2);
    for (headers, model) in [(narrow, "only"), (whole, "openai/small")] {
        let got = call(&mut vm, &headers, &chat(model));
        assert_eq!(error(&got), (403, "model_not_allowed".to_owned()));
    }
}

#[test]
fn a_spent_budget_refuses_and_a_nearly_spent_one_is_marked() {
    let mut snapshot = snapshot();
    let budget = |name: &str, budget: v1::Budget| v1::ClientKey {
        budget: budget.into(),
        ..key(name)
    };
    snapshot.keys = vec![
        budget("rich", v1::Budget::Within),
        budget("near", v1::Budget::SoftLimit),
        budget("spent", v1::Budget::HardLimit),
    ];
    snapshot.aliases[0].budget = v1::Budget::HardLimit.into();
    let mut vm = Vm::gateway_with(snapshot);
    let mut as_key = |secret: &str, model: &str| {
        let authorization = format!("Bearer {secret}");
        call(&mut vm, &[("authorization", &authorization)], &chat(model))
    };
    let got = as_key("sk-rich", "small");
    assert_eq!((got.status(), got.header("x-opentracy-budget")), (200, ""));
    let got = as_key("sk-near", "small");
    assert_eq!(got.status(), 200);
    assert_eq!(got.header("x-opentracy-budget"), "soft_limit");
    for (secret, model) in [("sk-spent", "small"), ("sk-rich", "only")] {
        let got = as_key(secret, model);
        assert_eq!(error(&got), (429, "insufficient_quota".to_owned()));
        assert_eq!(got.header("x-opentracy-attempts"), "0");
    }
}

#[test]
fn content_of_an_alias_that_keeps_none_stays_out_of_the_trace_of_a_malformed_request() {
    let mut snapshot = snapshot();
    snapshot.aliases[0].traces = Some(v1::TraceOverride {
        content: Some(false),
        redact: None,
    });
    let mut vm = Vm::gateway_with(snapshot);
    let mut body = chat("only");
    // It is invalid without `stream`, so the body isn't read up to the alias.
    body["stream_options"] = json!({"include_usage": true});
    assert_eq!(call(&mut vm, &[], &body).status(), 400);
    assert_eq!(call(&mut vm, &[], &chat("small")).status(), 200);
    let records = vm.records();
    assert!(records.traces[0].request.is_empty());
    assert!(!records.traces[1].request.is_empty());
}

#[test]
fn content_stays_out_of_a_trace_if_the_client_wants_it() {
    let mut vm = Vm::gateway_with(snapshot());
    call(&mut vm, &[("x-opentracy-content", "off")], &chat("small"));
    call(&mut vm, &[("x-opentracy-content", "on")], &chat("small"));
    let records = vm.records();
    let [quiet, loud] = records.traces.as_slice() else {
        panic!("{records:?}");
    };
    assert!(quiet.request.is_empty() && quiet.response.is_empty());
    assert_eq!(quiet.usage.unwrap().output, 5, "it is counted anyway");
    assert!(!loud.request.is_empty() && !loud.response.is_empty());
    let got = call(&mut vm, &[("x-opentracy-content", "of")], &chat("small"));
    assert_eq!(got.status(), 400, "a typing error must not record it");
    let trace = vm.records().traces.remove(0);
    assert!(trace.request.is_empty(), "{trace:?}");
}
