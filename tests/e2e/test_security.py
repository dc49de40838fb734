"""What a client may not do, and what nobody may see."""

import pathlib

import pytest

HELLO = [{"role": "user", "content": "Hello!"}]
KEYS = ["sk-test-openai-key-000", "second-key", "sk-ant-test-key-000", "gm-test-key-000"]
INTERNAL = {
    "x-opentracy-plan": '{"trace_id":"x","attempts":["second/large"]}',
    "x-opentracy-hop": "direct",
    "x-opentracy-cluster": "opentracy_provider_second",
    "x-opentracy-retry": "1",
    "x-opentracy-reply": "1",
    "x-opentracy-attempt-log": "[]",
    "x-envoy-max-retries": "9",
    "x-envoy-retry-on": "5xx",
    "x-envoy-upstream-rq-per-try-timeout-ms": "1",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-envoy-original-path": "/x",
    "x-envoy-attempt-count": "2",
    "x-forwarded-for": "10.9.8.7",
    "x-forwarded-proto": "https",
}


@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "anthropic/claude-sonnet-4-6", "chain"])
def test_internal_headers_of_a_client_mean_nothing(stack, world, model):
    status, headers, reply = stack.post({"model": model, "messages": HELLO}, headers=INTERNAL)
    assert status == 200
    expected = "openai/gpt-4o-mini" if model == "chain" else model
    assert reply["_routing"]["selected_model"] == expected
    assert not world.second.requests
    ours = {"x-opentracy-trace-id", "x-opentracy-routing-ms", "x-opentracy-attempts", "x-opentracy-selected-model"}
    assert {name for name in headers if name.startswith(("x-opentracy", "x-envoy"))} == ours


@pytest.mark.parametrize("hop", ["direct", "internal"])
@pytest.mark.parametrize("path", ["/demo/v1/chat/completions", "/v1/traces", "/v1/chat/completions/", "/anything"])
def test_internal_headers_open_no_way_around_the_gateway(stack, world, hop, path):
    headers = {**INTERNAL, "x-opentracy-hop": hop, "host": "opentracy-internal"}
    status, _, reply = stack.post({"model": "x", "messages": HELLO}, headers=headers, path=path)
    assert (status, reply["error"]["code"]) == (404, "unknown_url")
    assert not any(provider.requests for provider in world.providers)


@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "anthropic/claude-sonnet-4-6", "gemini/gemini-2.5-pro",
                                   "cohere/command-a-03-2025", "bedrock/us.amazon.nova-pro-v1:0", "chain"])
def test_a_provider_sees_nothing_of_the_client(stack, world, model):
    theirs = {"authorization": "Bearer client-secret", "x-api-key": "client-secret", "cookie": "a=client-secret",
              "openai-organization": "client-secret", "x-forwarded-host": "client-secret", "x-real-ip": "1.2.3.4",
              "user-agent": "client-secret", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    assert stack.post({"model": model, "messages": HELLO}, headers=theirs)[0] == 200
    provider = getattr(world, model.split("/")[0], world.openai)
    seen = provider.requests[0].headers
    assert "client-secret" not in str(seen)
    allowed = {"host", "content-type", "content-length", "user-agent", "traceparent", "anthropic-version", "accept"}
    key = {{world.anthropic: "x-api-key", world.gemini: "x-goog-api-key"}.get(provider, "authorization")}
    assert set(seen) <= allowed | key, set(seen) - allowed - key
    # The same trace, under a span of the gateway's own.
    version, trace, span, flags = seen["traceparent"].split("-")
    assert (version, trace, flags) == ("00", "0af7651916cd43dd8448eb211c80319c", "01")
    assert span != "b7ad6b7169203331" and len(span) == 16


@pytest.mark.parametrize(
    "model",
    [
        "openai/gpt\r\nx-evil: 1",
        "openai/../../v1/files",
        "openai/gpt-4o?x=1#y",
        "openai/gpt\u0000",
        "openai/é",
        "http://evil.example/v1",
        "//evil.example",
        "openai@evil.example/x",
        "openai/" + "x" * 300,
        "opentracy_management/x",
    ],
)
def test_a_model_name_chooses_no_host_no_path_and_no_header(stack, world, model):
    status, _, reply = stack.post({"model": model, "messages": HELLO})
    if status == 200:
        # The name goes into the body and nowhere else.
        request, = world.openai.requests
        assert request.path == "/v1/chat/completions"
        assert request.json["model"] == model.removeprefix("openai/")
        assert "evil" not in str(request.headers)
    else:
        assert status in (400, 404)
        assert not any(provider.requests for provider in world.providers)


@pytest.mark.parametrize("name", ["../../x", "a/b:generateContent?key=1#", "..", "%2e%2e", "a?alt=json"])
def test_a_model_name_stays_in_its_part_of_a_path(stack, world, name):
    status, _, _ = stack.post({"model": f"gemini/{name}", "messages": HELLO})
    assert status == 200
    request, = world.gemini.requests
    assert request.path.startswith("/v1beta/models/") and request.path.endswith(":generateContent")
    assert not set("/?#") & set(request.path.removeprefix("/v1beta/models/").removesuffix(":generateContent"))


def test_a_forged_session_is_ignored(stack, world):
    import base64

    forged = "ses_018f00000000700080000000000000aa_" + base64.urlsafe_b64encode(b"second/large").decode().rstrip("=")
    _, _, reply = stack.post({"model": "smart", "messages": HELLO}, headers={"x-opentracy-session-id": forged})
    # It names a model that is no candidate of the alias.
    assert reply["_routing"]["selected_model"] == "anthropic/claude-sonnet-4-6"


def test_a_provider_sets_no_internal_header_and_no_cookie(stack, world):
    from support import providers as mock

    world.openai.habit = mock.status(429, {"x-opentracy-attempt-log": "[]", "x-envoy-overloaded": "1", "set-cookie": "a=b",
                                           "x-opentracy-selected-model": "lie", "x-ratelimit-remaining-requests": "0"})
    for model in ("openai/gpt-4o-mini", "only"):
        status, headers, reply = stack.post({"model": model, "messages": HELLO})
        assert status == 429
        assert headers["x-opentracy-selected-model"] == "openai/gpt-4o-mini"
        assert "set-cookie" not in headers and "x-envoy-overloaded" not in headers
        assert headers["x-ratelimit-remaining-requests"] == "0"
        assert len(reply["error"]["attempts"]) == 1


def test_keys_are_nowhere_to_be_seen(stack, world):
    from support import providers as mock

    leak = f"Incorrect API key provided: {KEYS[0]}"
    seen = []
    for status in (400, 401, 500):
        world.openai.habit = mock.status(status, message=leak)
        for model in ("openai/gpt-4o-mini", "only"):
            _, headers, reply = stack.post({"model": model, "messages": HELLO})
            seen.append(str((headers, reply, stack.trace(headers["x-opentracy-trace-id"]))))
    for path in ("/v1/models", "/health"):
        seen.append(str(stack.get(path)))
    for log in ("envoy", "control-plane"):
        seen.append((pathlib.Path(stack.folder) / f"{log}.log").read_text(errors="replace"))
    seen.append((pathlib.Path(stack.folder) / "envoy.yaml").read_text())
    for key in KEYS:
        assert not any(key in text for text in seen)
