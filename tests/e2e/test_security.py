"""Attacks by clients, and secrets that must not leak."""

import gzip
import hmac
import os
import pathlib
import socket
import stat
import subprocess
import sys
import threading
import time

import grpc
import pytest
from support.requests import HELLO

KEYS = ["sk-test-openai-key-000", "second-key", "sk-ant-test-key-000", "gm-test-key-000"]
INTERNAL = {
    "x-opentracy-plan": '{"trace_id":"x","attempts":["second/large"]}',
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


@pytest.mark.parametrize("host", ["opentracy-direct", "opentracy-internal"])
@pytest.mark.parametrize("path", ["/demo/v1/chat/completions", "/v1/traces", "/v1/chat/completions/", "/anything"])
def test_internal_headers_open_no_way_around_the_gateway(stack, world, host, path):
    headers = {**INTERNAL, "host": host}
    status, _, reply = stack.post({"model": "x", "messages": HELLO}, headers=headers, path=path)
    assert (status, reply["error"]["code"]) == (404, "unknown_url")
    assert not any(provider.requests for provider in world.providers)


@pytest.mark.parametrize(
    "model",
    [
        "openai/gpt-4o-mini",
        "anthropic/claude-sonnet-4-6",
        "gemini/gemini-2.5-pro",
        "cohere/command-a-03-2025",
        "bedrock/us.amazon.nova-pro-v1:0",
        "chain",
    ],
)
def test_a_provider_sees_nothing_of_the_client(stack, world, model):
    theirs = {
        "authorization": "Bearer client-secret",
        "x-api-key": "client-secret",
        "cookie": "a=client-secret",
        "openai-organization": "client-secret",
        "x-forwarded-host": "client-secret",
        "x-real-ip": "1.2.3.4",
        "user-agent": "client-secret",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    assert stack.post({"model": model, "messages": HELLO}, headers=theirs)[0] == 200
    provider = getattr(world, model.split("/")[0], world.openai)
    seen = provider.requests[0].headers
    assert "client-secret" not in str(seen)
    allowed = {"host", "content-type", "content-length", "user-agent", "traceparent", "anthropic-version", "accept"}
    key = {{world.anthropic: "x-api-key", world.gemini: "x-goog-api-key"}.get(provider, "authorization")}
    assert set(seen) <= allowed | key, set(seen) - allowed - key
    # The same trace id, with a span of the gateway.
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
        # The name appears only in the body.
        (request,) = world.openai.requests
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
    (request,) = world.gemini.requests
    assert request.path.startswith("/v1beta/models/") and request.path.endswith(":generateContent")
    assert not set("/?#") & set(request.path.removeprefix("/v1beta/models/").removesuffix(":generateContent"))


def test_a_forged_session_is_ignored(stack, world):
    import base64

    forged = "ses_018f00000000700080000000000000aa_" + base64.urlsafe_b64encode(b"second/large").decode().rstrip("=")
    _, _, reply = stack.post({"model": "smart", "messages": HELLO}, headers={"x-opentracy-session-id": forged})
    # The forged session names a model that is not a candidate of the alias.
    assert reply["_routing"]["selected_model"] == "anthropic/claude-sonnet-4-6"


def test_a_provider_sets_no_internal_header_and_no_cookie(stack, world):
    from support import providers as mock

    world.openai.habit = mock.status(
        429,
        {
            "x-opentracy-attempt-log": "[]",
            "x-envoy-overloaded": "1",
            "set-cookie": "a=b",
            "x-opentracy-selected-model": "lie",
            "x-ratelimit-remaining-requests": "0",
        },
    )
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


def exchange(stack, data, wait=5):
    """Sends bytes on a new connection and returns the answer."""
    with socket.create_connection(("127.0.0.1", stack.ports["gateway"]), timeout=wait) as connection:
        connection.sendall(data)
        reply = b""
        try:
            while chunk := connection.recv(65536):
                reply += chunk
        except TimeoutError:
            pass
    return reply


BODY = b'{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"first"}]}'
SECOND = b"GET /v1/traces HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"content-length: %d\r\ntransfer-encoding: chunked\r\n" % len(BODY),
        b"content-length: %d\r\ncontent-length: 0\r\n" % len(BODY),
        b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        b"transfer-encoding: xchunked\r\n",
        b"content-length: +%d\r\n" % len(BODY),
    ],
)
def test_no_request_is_smuggled(stack, world, headers):
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n" + headers + b"\r\n"
    reply = exchange(stack, head + BODY + SECOND, wait=2)
    assert b"HTTP/1.1 400" in reply or b"HTTP/1.1 501" in reply or reply == b"", reply[:300]
    assert not world.openai.requests


def test_a_replaced_body_has_its_own_length(stack, world):
    """Sends requests of different lengths, which the translation changes, on one connection."""
    for size in (1, 5000, 3, 70_000, 2):
        messages = [{"role": "user", "content": "x" * size}]
        assert stack.post({"model": "anthropic/claude-sonnet-4-6", "messages": messages})[0] == 200
    for request in world.anthropic.requests:
        assert int(request.headers["content-length"]) == len(request.body)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate"])
def test_a_compressed_body_is_not_unpacked(stack, world, encoding):
    bomb = gzip.compress(b"0" * (64 << 20))
    status, _, reply = stack.post(bomb, headers={"content-encoding": encoding})
    assert (status, reply["error"]["code"]) == (400, "invalid_json")
    assert not world.openai.requests


@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "anthropic/claude-sonnet-4-6", "chain"])
def test_json_that_nests_without_end_is_refused(stack, world, model):
    from support import providers as mock

    # The mock does not parse the body: nesting at the provider is not part of this test.
    completion = world.openai.body(type("Asked", (), {"path": "", "json": {"model": "x"}}), "fine", [])
    world.openai.habit = mock.status(200, body=completion)
    deep = b"[" * 200_000 + b"]" * 200_000
    for field in (b"metadata", b"tools", b"x"):
        body = b'{"model":"%s","messages":[{"role":"user","content":"x"}],"%s":%s}' % (model.encode(), field, deep)
        status, _, reply = stack.post(body)
        assert status in (200, 400), reply
    assert stack.post({"model": model, "messages": HELLO})[0] == 200, "the gateway still answers"
    assert "trap" not in stack.log("envoy").lower()


def test_a_slow_client_holds_up_nobody(stack, world):
    slow = [socket.create_connection(("127.0.0.1", stack.ports["gateway"])) for _ in range(200)]
    try:
        for connection in slow:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        assert stack.post({"model": "openai/gpt-4o-mini", "messages": HELLO})[0] == 200
    finally:
        for connection in slow:
            connection.close()
    bootstrap = (stack.folder / "envoy.yaml").read_text()
    assert "request_headers_timeout: 30s" in bootstrap


def test_a_trap_is_never_a_way_around(world, own_stack, filter_form):
    """The filter fails closed: while its VM is down, nothing reaches a provider untranslated."""
    if filter_form.kind != "wasm":
        pytest.skip("a native filter has no VM that could be down")
    bootstrap = own_stack().folder.joinpath("envoy.yaml").read_text()
    assert bootstrap.count("FAIL_RELOAD") == 2 and "FAIL_OPEN" not in bootstrap


def test_profiles_are_off_and_for_those_with_a_key(stack, world, own_stack):
    status, _, reply = stack.post(None, method="GET", path="/debug/pprof/profile", origin=stack.management)
    assert (status, reply["error"]["code"]) == (404, "profiling_off")
    # The listener for applications does not serve profiles.
    assert stack.post(None, method="GET", path="/debug/pprof/profile")[0] == 404
    config = world.config()
    config["keys"] = {"root": {"key_env": "ROOT", "role": "admin"}, "user": {"key_env": "USER_KEY"}}
    own = own_stack(config, environment={"ROOT": "root", "USER_KEY": "user"})
    own.write_config({**config, "management": {"listen": f"127.0.0.1:{own.ports['management']}", "profiling": True}})
    open_ = lambda path, key: own._open(
        None, method="GET", path=path, origin=own.management, headers={"authorization": f"Bearer {key}"} if key else {}
    )
    time.sleep(1)
    for key, status in ((None, 401), ("user", 403)):
        with open_("/debug/pprof/heap", key) as reply:
            assert reply.status == status
    # Load during the profile.
    over = threading.Event()

    def work():
        while not over.is_set():
            open_("/v1/models", "root").close()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        with open_("/debug/pprof/flamegraph?seconds=2", "root") as reply:
            assert reply.status == 200 and b"<svg" in reply.read()
        with open_("/debug/pprof/profile?seconds=2", "root") as reply:
            assert reply.status == 200 and reply.headers["content-type"] == "application/octet-stream"
    finally:
        over.set()
        worker.join()
    with open_("/debug/pprof/heap", "root") as reply:
        assert reply.status == 200 and gzip.decompress(reply.read())
    with open_("/debug/pprof/profile?seconds=0", "root") as reply:
        assert reply.status == 400


# Generates bodies of JSON lines.
LINES = """
import json
import schemathesis

@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    return json.dumps(value).encode()
"""


@pytest.mark.timeout(300)
def test_the_management_api_has_an_answer_to_anything(own_stack, world, tmp_path):
    """Calls every operation of the OpenAPI document with hostile data; a 500 is a failure."""
    # With a router if the embedding model is available.
    embedder = os.environ.get("OPENTRACY_TEST_EMBEDDER")
    stack = own_stack(environment={"OPENTRACY_EMBEDDER": embedder} if embedder else {})
    (tmp_path / "hooks.py").write_text(LINES)
    program = pathlib.Path(sys.executable).parent / "schemathesis"
    ran = subprocess.run(
        [
            program,
            "run",
            f"{stack.management}/openapi.json",
            "--checks",
            "not_a_server_error",
            "--max-examples",
            "25",
            "--workers",
            "2",
            "--seed",
            "7",
            "--request-timeout",
            "20",
            "--no-color",
            # Profiles block for a duration that the request sets.
            "--exclude-path-regex",
            "^/debug/",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=280,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)},
    )
    print(ran.stdout[-3000:])
    assert ran.returncode == 0, ran.stdout[-6000:]
    assert stack.get("/health", stack.management)["status"] == "healthy"
    assert "panicked" not in stack.log("control-plane")


# Interfaces of Envoy and of the control plane


def test_grpc_returns_nothing_to_a_process_without_the_token(stack):
    for token in (None, "", "wrong"):
        metadata = [("x-opentracy-token", token)] if token is not None else []
        with grpc.insecure_channel(f"127.0.0.1:{stack.ports['grpc']}") as channel:
            for method in (
                "ConfigService/GetSnapshot",
                "TraceService/Ingest",
                "RouteService/Route",
                "LimitService/Acquire",
            ):
                with pytest.raises(grpc.RpcError) as caught:
                    channel.unary_unary(f"/opentracy.v1.{method}")(b"", metadata=metadata, timeout=10)
                assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED, method


def test_the_administration_of_envoy_is_a_socket_of_its_owner(own_stack, world, tmp_path):
    admin = tmp_path / "admin.sock"
    config = {**world.config(), "gateway": {"admin": f"unix:{admin}"}}
    stack = own_stack(config)
    assert stat.S_ISSOCK(admin.stat().st_mode) and admin.stat().st_mode & 0o777 == 0o600
    metrics = f"http://127.0.0.1:{stack.ports['metrics']}"
    assert b"envoy_cluster" in stack.post_raw(None, method="GET", path="/stats/prometheus", origin=metrics)
    for method, path in (
        ("POST", "/quitquitquit"),
        ("POST", "/logging?level=trace"),
        ("GET", "/config_dump"),
        ("GET", "/stats"),
        ("POST", "/stats/prometheus"),
        ("GET", "/stats/prometheus/../../config_dump"),
        ("GET", "/"),
    ):
        with stack._open(None, method=method, path=path, origin=metrics) as reply:
            assert reply.status == 404, path
    assert stack.get("/statsz", stack.management)["circuit_breakers"] is not None, (
        "the control plane reads Envoy's metrics from the socket"
    )


def mac(key, *parts):
    """Computes the MAC of `translate/src/internal_auth.rs`: each part follows its length."""
    text = b"".join(len(part).to_bytes(8, "big") + part.encode() for part in parts)
    return hmac.new(key.encode(), text, "sha256").hexdigest()


def test_a_recorded_token_opens_nothing_else(own_stack, world):
    """A token of the filter is valid for one request and one minute."""
    stack = own_stack(
        {**world.config(), "keys": {"root": {"key_env": "ROOT", "role": "admin"}}},
        environment={"ROOT": "root"},
        key="root",
    )
    secret = mac((stack.folder / ".opentracy/internal.token").read_text(), "opentracy", "management")

    def ask(method, path, name="root", signed=("GET", "/statsz", "root"), age=0):
        now = str(int(time.time()) - age)
        headers = {
            "x-opentracy-token": f"{now}.{mac(secret, *signed, now)}",
            "x-opentracy-on-behalf-of": name,
            "authorization": "Bearer nobody",
        }
        return stack.post(None, method=method, path=path, headers=headers, origin=stack.management)[0]

    assert ask("GET", "/statsz") == 200, "the request that the token is for"
    assert ask("GET", "/v1/keys") == ask("POST", "/statsz") == ask("GET", "/statsz?a=b") == 401
    assert ask("GET", "/statsz", name="other") == 401
    assert ask("GET", "/statsz", age=120) == 401
    assert ask("GET", "/statsz", signed=("GET", "/statsz", "nobody"), name="nobody") == 401
