//! Which callers are admitted, and what the others leave behind.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use opentracy_proto::v1;
use serde_json::{Value, json};

use crate::fake_envoy::{SentMessage, Vm};
use crate::root::TICK;
use crate::tests::world::{call, chat, chat_with, error, get, key, post_with, request, snapshot};

const TOKEN: &str = "x-opentracy-jwt-1";
/// The time at which a fake Envoy starts.
const START: u64 = 1_767_323_045;

/// Returns a configuration with these keys.
fn with_keys(keys: Vec<v1::ClientKey>) -> v1::Snapshot {
    v1::Snapshot { keys, ..snapshot() }
}

fn denied(got: &SentMessage) -> (u16, String) {
    assert!(got.is_complete);
    assert_eq!(got.header("x-opentracy-trace-id"), "");
    error(got)
}

/// Makes a call with these headers.
fn ask(vm: &mut Vm, headers: &[(&str, &str)]) -> SentMessage {
    call(vm, headers, &chat("openai/small"))
}

#[test]
fn a_key_is_required_once_there_is_one() {
    let mut vm = Vm::gateway_with(with_keys(vec![key("team")]));
    for (headers, code) in [
        (&[][..], "missing_api_key"),
        (&[("authorization", "Bearer ")], "missing_api_key"),
        (&[("authorization", "Basic sk-team")], "missing_api_key"),
        (&[("authorization", "Bearer sk-tean")], "invalid_api_key"),
        (&[("x-api-key", "nothing")], "invalid_api_key"),
    ] {
        let got = ask(&mut vm, headers);
        assert_eq!(denied(&got), (401, code.to_owned()), "{headers:?}");
        assert_eq!(got.header("www-authenticate"), "Bearer");
        assert_eq!(got.json()["error"]["type"], "authentication_error");
    }
    for headers in [
        ("authorization", "Bearer sk-team"),
        ("x-api-key", "sk-team"),
    ] {
        assert_eq!(ask(&mut vm, &[headers]).status(), 200);
    }
    assert_eq!(vm.records().traces[0].key, "team");
}

#[test]
fn a_denial_is_counted_by_its_reason_and_leaves_no_trace() {
    let mut vm = Vm::gateway_with(with_keys(vec![key("team")]));
    ask(&mut vm, &[]);
    ask(&mut vm, &[]);
    ask(&mut vm, &[("authorization", "Bearer x")]);
    vm.tick(TICK);
    let count = |reason: &str| {
        let name = format!("opentracy.gateway.denied.{reason}");
        vm.envoy.metric(&name)
    };
    assert_eq!(count("missing_api_key"), 2);
    assert_eq!(count("invalid_api_key"), 1);
    let records = vm.records();
    assert!(records.traces.is_empty() && records.attempts.is_empty());
}

#[test]
fn a_denial_for_its_origin_is_counted_too() {
    let mut vm = Vm::gateway_with(snapshot());
    ask(
        &mut vm,
        &[("host", "llm.example.com"), ("host", "other.example.com")],
    );
    ask(&mut vm, &[("origin", "https://example.com")]);
    vm.tick(TICK);
    for reason in ["ambiguous_header", "cross_site_request"] {
        let name = format!("opentracy.gateway.denied.{reason}");
        assert_eq!(vm.envoy.metric(&name), 1, "{reason}");
    }
}

#[test]
fn a_denial_has_the_shape_of_the_clients_api() {
    let mut vm = Vm::gateway_with(with_keys(vec![key("team")]));
    let mut exchange = post_with(&mut vm, "/v1/messages", &[], &chat("openai/small"));
    let got = exchange.client();
    assert_eq!(got.status(), 401);
    assert_eq!(got.json()["type"], "error");
    assert_eq!(got.json()["error"]["type"], "authentication_error");
}

#[test]
fn every_endpoint_needs_the_key_but_the_probes() {
    let mut vm = Vm::gateway_with(with_keys(vec![key("team")]));
    for path in ["/v1/models", "/v1/models/small", "/metrics", "/statsz"] {
        let mut exchange = get(&mut vm, path, &[]);
        assert!(exchange.upstream().headers.is_empty(), "{path}");
        assert_eq!(exchange.client().status(), 401, "{path}");
    }
    for path in [
        "/v1/route",
        "/v1/messages/count_tokens",
        "/v1/embeddings",
        "/v1/responses",
    ] {
        let mut exchange = post_with(&mut vm, path, &[], &chat("openai/small"));
        assert!(exchange.upstream().headers.is_empty(), "{path}");
        assert_eq!(exchange.client().status(), 401, "{path}");
    }
    for path in ["/healthz", "/readyz", "/health"] {
        assert_eq!(get(&mut vm, path, &[]).client().status(), 200, "{path}");
    }
}

#[test]
fn a_key_ends_by_the_clock() {
    let ending = v1::ClientKey {
        expires_unix_seconds: Some(START + 10),
        ..key("ending")
    };
    let off = v1::ClientKey {
        disabled: true,
        ..key("off")
    };
    let mut vm = Vm::gateway_with(with_keys(vec![ending, off]));
    let ending = [("authorization", "Bearer sk-ending")];
    assert_eq!(ask(&mut vm, &ending).status(), 200);
    vm.tick(std::time::Duration::from_secs(10));
    assert_eq!(
        denied(&ask(&mut vm, &ending)),
        (401, "api_key_expired".to_owned())
    );
    let off = [("authorization", "Bearer sk-off")];
    assert_eq!(
        denied(&ask(&mut vm, &off)),
        (401, "api_key_disabled".to_owned())
    );
}

#[test]
fn a_key_is_for_its_endpoints_and_its_role() {
    let chats = v1::ClientKey {
        endpoints: vec!["POST /v1/chat/*".to_owned()],
        ..key("chats")
    };
    let reader = v1::ClientKey {
        role: v1::Role::ReadOnly.into(),
        ..key("reader")
    };
    let mut vm = Vm::gateway_with(with_keys(vec![chats, reader]));
    let chats = [("authorization", "Bearer sk-chats")];
    assert_eq!(ask(&mut vm, &chats).status(), 200);
    let mut exchange = get(&mut vm, "/v1/models", &chats);
    assert_eq!(
        denied(exchange.client()),
        (403, "endpoint_not_allowed".to_owned())
    );
    let reader = [("authorization", "Bearer sk-reader")];
    assert_eq!(
        denied(&ask(&mut vm, &reader)),
        (403, "role_not_allowed".to_owned())
    );
    assert_eq!(get(&mut vm, "/v1/models", &reader).client().status(), 200);
}

#[test]
fn a_key_lists_only_its_models() {
    let narrow = v1::ClientKey {
        models: vec!["second/*".to_owned()],
        ..key("narrow")
    };
    let mut vm = Vm::gateway_with(with_keys(vec![narrow]));
    let headers = [("authorization", "Bearer sk-narrow")];
    let got = get(&mut vm, "/v1/models", &headers).client().json();
    let models = got["data"].as_array().unwrap();
    assert_eq!(
        (models.len(), models[0]["id"].clone()),
        (1, json!("second/large"))
    );
}

#[test]
fn a_revoked_key_ends_with_the_next_configuration() {
    let mut vm = Vm::gateway_with(with_keys(vec![key("team"), key("other")]));
    let headers = [("authorization", "Bearer sk-team")];
    assert_eq!(ask(&mut vm, &headers).status(), 200);
    vm.configure(with_keys(vec![key("other")]));
    assert_eq!(ask(&mut vm, &headers).status(), 401);
}

#[test]
fn a_closed_gateway_without_keys_denies_everyone() {
    let mut vm = Vm::gateway_with(v1::Snapshot {
        closed: true,
        ..snapshot()
    });
    assert_eq!(
        denied(&ask(&mut vm, &[])),
        (401, "missing_api_key".to_owned())
    );
    let made_up = [("authorization", "Bearer anything")];
    assert_eq!(
        denied(&ask(&mut vm, &made_up)),
        (401, "invalid_api_key".to_owned())
    );
}

#[test]
fn an_open_gateway_answers_to_its_own_names() {
    let mut vm = Vm::gateway_with(v1::Snapshot {
        own_hosts: vec!["gateway.example".to_owned()],
        ..snapshot()
    });
    for host in [
        "localhost",
        "127.0.0.1:8080",
        "[::1]:8080",
        "gateway.example:80",
    ] {
        assert_eq!(
            ask(&mut vm, &[(":authority", host)]).status(),
            200,
            "{host}"
        );
    }
    let got = ask(&mut vm, &[(":authority", "rebound.example")]);
    assert_eq!(denied(&got), (403, "cross_site_request".to_owned()));
    let got = ask(&mut vm, &[(":authority", "user@localhost")]);
    assert_eq!(denied(&got), (400, "invalid_host".to_owned()));
}

#[test]
fn a_page_of_another_site_cannot_use_an_open_gateway() {
    let mut vm = Vm::gateway_with(snapshot());
    for header in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let got = ask(&mut vm, &[header]);
        assert_eq!(
            denied(&got),
            (403, "cross_site_request".to_owned()),
            "{header:?}"
        );
    }
    for header in [
        ("origin", "http://localhost:8080"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "none"),
    ] {
        assert_eq!(ask(&mut vm, &[header]).status(), 200, "{header:?}");
    }
}

#[test]
fn a_key_replaces_the_rules_for_hosts_and_pages() {
    let mut vm = Vm::gateway_with(with_keys(vec![key("team")]));
    let headers = [
        ("authorization", "Bearer sk-team"),
        (":authority", "any.example"),
        ("origin", "https://app.example"),
    ];
    assert_eq!(ask(&mut vm, &headers).status(), 200);
}

#[test]
fn two_credentials_are_one_too_many() {
    let mut vm = Vm::gateway_with(with_keys(vec![key("team")]));
    for headers in [
        [
            ("authorization", "Bearer sk-team"),
            ("authorization", "Bearer x"),
        ]
        .as_slice(),
        &[("authorization", "Bearer sk-team, Bearer x")],
        &[("x-api-key", "sk-team"), ("x-api-key", "x")],
    ] {
        assert_eq!(ask(&mut vm, headers).status(), 400, "{headers:?}");
    }
}

/// Returns the payload of a token, as `jwt_authn` leaves it in a header.
fn payload(claims: &Value) -> String {
    URL_SAFE_NO_PAD.encode(claims.to_string())
}

/// Starts a gateway behind a filter that verifies tokens.
fn gateway_with_tokens() -> Vm {
    let narrow = v1::ClientKey {
        models: vec!["second/*".to_owned()],
        ..key("narrow")
    };
    let mut snapshot = with_keys(vec![key("team"), narrow]);
    snapshot.jwt = Some(v1::Jwt {
        subject_claim: "sub".to_owned(),
        key_claim: "key".to_owned(),
        allow_without_expiry: false,
    });
    Vm::gateway_with_tokens(snapshot, TOKEN)
}

#[test]
fn a_verified_token_names_its_person_and_its_key() {
    let mut vm = gateway_with_tokens();
    let claims = json!({"sub": "ann", "key": "team", "exp": START + 1000});
    assert_eq!(ask(&mut vm, &[(TOKEN, &payload(&claims))]).status(), 200);
    let records = vm.records();
    let trace = &records.traces[0];
    assert_eq!((trace.user.as_str(), trace.key.as_str()), ("ann", "team"));
    let claims = json!({"sub": "ann", "key": "narrow", "exp": START + 1000});
    let got = ask(&mut vm, &[(TOKEN, &payload(&claims))]);
    assert_eq!(error(&got), (403, "model_not_allowed".to_owned()));
}

#[test]
fn a_token_that_has_ended_or_names_no_key_is_denied() {
    let mut vm = gateway_with_tokens();
    for (claims, code) in [
        (json!({"sub": "ann", "exp": START - 60}), "api_key_expired"),
        (json!({"sub": "ann"}), "invalid_api_key"),
        (
            json!({"sub": "ann", "exp": START + 1000, "key": "nobody"}),
            "invalid_api_key",
        ),
        (
            json!({"sub": "ann", "exp": START + 1000, "nbf": START + 500}),
            "invalid_api_key",
        ),
    ] {
        let got = ask(&mut vm, &[(TOKEN, &payload(&claims))]);
        assert_eq!(denied(&got), (401, code.to_owned()), "{claims}");
    }
    assert_eq!(ask(&mut vm, &[(TOKEN, "?")]).status(), 401);
    assert_eq!(
        ask(&mut vm, &[("authorization", "Bearer sk-team")]).status(),
        200
    );
}

#[test]
fn a_token_means_nothing_if_envoy_verifies_none() {
    let mut snapshot = with_keys(vec![key("team")]);
    snapshot.jwt = Some(v1::Jwt {
        subject_claim: "sub".to_owned(),
        key_claim: "key".to_owned(),
        allow_without_expiry: true,
    });
    let mut vm = Vm::gateway_with(snapshot);
    let claims = json!({"sub": "ann", "key": "team", "exp": START + 1000});
    let got = ask(&mut vm, &[(TOKEN, &payload(&claims))]);
    assert_eq!(denied(&got), (401, "missing_api_key".to_owned()));
}

#[test]
fn the_control_plane_calls_for_a_key_without_its_bounds_and_prefers_a_model() {
    let narrow = v1::ClientKey {
        models: vec!["second/*".to_owned()],
        ..key("narrow")
    };
    let mut snapshot = with_keys(vec![narrow]);
    snapshot.internal_token = "an internal token".to_owned();
    let mut vm = Vm::gateway_with(snapshot);
    let headers = [
        ("authorization", "Bearer an internal token"),
        ("x-opentracy-on-behalf-of", "narrow"),
    ];
    assert_eq!(ask(&mut vm, &headers).status(), 200);
    assert_eq!(vm.records().traces[0].key, "narrow");
    let prefer = ("x-opentracy-prefer", "second/large");
    let mut exchange = chat_with(&mut vm, &[headers[0], prefer], &chat("chain"));
    let order = crate::tests::world::plan(exchange.upstream());
    assert_eq!(order, ["second/large", "openai/small"]);
}

#[test]
fn a_client_cannot_pose_as_the_control_plane() {
    let mut snapshot = with_keys(vec![key("team"), key("rich")]);
    snapshot.internal_token = "an internal token".to_owned();
    let mut vm = Vm::gateway_with(snapshot);
    let headers = [
        ("authorization", "Bearer sk-team"),
        ("x-opentracy-on-behalf-of", "rich"),
        ("x-opentracy-prefer", "second/large"),
    ];
    let mut exchange = chat_with(&mut vm, &headers, &chat("chain"));
    let order = crate::tests::world::plan(exchange.upstream());
    assert_eq!(order, ["openai/small", "second/large"]);
    exchange.end();
    assert_eq!(vm.records().traces[0].key, "team");
    let wrong = [("authorization", "Bearer an internal tokem")];
    assert_eq!(ask(&mut vm, &wrong).status(), 401);
    let mut exchange = request(
        &mut vm,
        "POST",
        "/v1/chat/completions",
        &[("authorization", "Bearer ")],
        b"{}",
    );
    assert_eq!(exchange.client().status(), 401);
}
