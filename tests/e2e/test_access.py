"""Roles and permissions of keys, on both listeners."""

import json
import socket
import time

import openai
import pytest
from support.client_keys import SECRETS, bearer
from support.providers import anything
from support.requests import HELLO
from support.stack import Stack, wait_for


def key_config(name):
    return {"key_env": f"KEY_{name.upper().replace('-', '_')}"}


@pytest.fixture(scope="module")
def guarded(session_world, tmp_path_factory):
    session_world.reset()
    config = session_world.config()
    terms = {
        "admin": {"role": "admin"},
        "user": {},
        "reader": {"role": "read-only"},
        "cheap": {"models": ["twice", "openai/gpt-4o*"]},
        "chat-only": {"endpoints": ["POST /v1/chat/*"]},
        "expired": {"expires_at": "2020-01-01T00:00:00Z"},
        "disabled": {"disabled": True},
    }
    config["keys"] = {name: {**key_config(name), **of_name} for name, of_name in terms.items()}
    environment = {key_config(name)["key_env"]: secret for name, secret in SECRETS.items()}
    stack = Stack(tmp_path_factory.mktemp("access"), config, environment=environment).start()
    yield stack
    stack.stop()


def call(stack, key, method, path, body=None, origin=None):
    with stack._open(body, headers=bearer(key), path=path, method=method, origin=origin) as reply:
        return reply.status, reply.read()


CHAT = ("POST", "/v1/chat/completions", {"model": "openai/gpt-4o-mini", "messages": HELLO})
CLAUDE = ("POST", "/v1/chat/completions", {"model": "anthropic/claude-sonnet-4-6", "messages": HELLO})
MESSAGES = ("POST", "/v1/messages", {"model": "openai/gpt-4o-mini", "max_tokens": 5, "messages": HELLO})
EMBEDDINGS = ("POST", "/v1/embeddings", {"model": "openai/text-embedding-3-small", "input": "a"})
PROXY = ("GET", "/proxy/openai/v1/models", None)
MODELS = ("GET", "/v1/models", None)
STATSZ = ("GET", "/statsz", None)
HEALTH = ("GET", "/health", None)
NOTHING = ("GET", "/v1/nothing", None)

# The result of each key at each endpoint of the gateway: a status, or the code of the error.
GATEWAY = {
    "admin": {CHAT[1]: 200, MESSAGES[1]: 200, EMBEDDINGS[1]: 200, PROXY[1]: 200, MODELS[1]: 200, STATSZ[1]: 200},
    "user": {
        CHAT[1]: 200,
        MESSAGES[1]: 200,
        EMBEDDINGS[1]: 200,
        PROXY[1]: 200,
        MODELS[1]: 200,
        STATSZ[1]: "role_not_allowed",
    },
    "reader": {
        CHAT[1]: "role_not_allowed",
        MESSAGES[1]: "role_not_allowed",
        EMBEDDINGS[1]: "role_not_allowed",
        PROXY[1]: 200,
        MODELS[1]: 200,
        STATSZ[1]: 200,
    },
    "cheap": {
        CHAT[1]: 200,
        MESSAGES[1]: 200,
        EMBEDDINGS[1]: "model_not_allowed",
        PROXY[1]: "model_not_allowed",
        MODELS[1]: 200,
        STATSZ[1]: "role_not_allowed",
    },
    "chat-only": {
        CHAT[1]: 200,
        MESSAGES[1]: "endpoint_not_allowed",
        EMBEDDINGS[1]: "endpoint_not_allowed",
        PROXY[1]: "endpoint_not_allowed",
        MODELS[1]: "endpoint_not_allowed",
        STATSZ[1]: "endpoint_not_allowed",
    },
    "expired": dict.fromkeys([CHAT[1], MESSAGES[1], EMBEDDINGS[1], PROXY[1], MODELS[1], STATSZ[1]], "api_key_expired"),
    "disabled": dict.fromkeys(
        [CHAT[1], MESSAGES[1], EMBEDDINGS[1], PROXY[1], MODELS[1], STATSZ[1]], "api_key_disabled"
    ),
    "not-a-key": dict.fromkeys(
        [CHAT[1], MESSAGES[1], EMBEDDINGS[1], PROXY[1], MODELS[1], STATSZ[1]], "invalid_api_key"
    ),
    None: dict.fromkeys([CHAT[1], MESSAGES[1], EMBEDDINGS[1], PROXY[1], MODELS[1], STATSZ[1]], "missing_api_key"),
}
UNAUTHENTICATED = {"missing_api_key", "invalid_api_key", "api_key_expired", "api_key_disabled"}


@pytest.mark.parametrize("key", GATEWAY)
@pytest.mark.parametrize(
    "request_", [CHAT, MESSAGES, EMBEDDINGS, PROXY, MODELS, STATSZ], ids=lambda request: request[1]
)
def test_the_gateway_admits_only_allowed_keys(guarded, world, key, request_):
    expected = GATEWAY[key][request_[1]]
    if request_ in (EMBEDDINGS, PROXY):
        world.openai.habit = anything
    status, body = call(guarded, key, *request_)
    if expected == 200:
        assert status == 200, body
        return
    assert status == (401 if expected in UNAUTHENTICATED else 403)
    error = json.loads(body)["error"]
    # Errors for Anthropic's clients have Anthropic's format, which has no code.
    if request_ is MESSAGES:
        assert error["type"] == ("authentication_error" if status == 401 else "permission_error")
    else:
        assert (error["code"], error["type"]) == (
            expected,
            "authentication_error" if status == 401 else "permission_error",
        )
    assert not any(provider.requests for provider in world.providers), "no provider was called"


# The endpoints of the management API that are tested with each key.
MANAGEMENT = [
    ("GET", "/v1/traces"),
    ("GET", "/v1/secrets"),
    ("GET", "/metrics"),
    ("DELETE", "/v1/traces?user=x"),
    ("PUT", "/v1/secrets/x_key"),
    ("POST", "/v1/keys"),
]


@pytest.mark.parametrize("method,path", MANAGEMENT)
@pytest.mark.parametrize("key", GATEWAY)
def test_the_management_api_admits_only_allowed_keys(guarded, key, method, path):
    bodies = {"PUT": {"value": "x"}, "POST": {"name": f"made-{time.time_ns()}"}}
    status, _ = call(guarded, key, method, path, bodies.get(method), guarded.management)
    if key == "admin":
        assert status in (200, 201)
    elif key == "reader":
        assert status == (200 if method == "GET" else 403)
    elif key in ("user", "cheap", "chat-only"):
        assert status == 403
    else:
        assert status == 401


@pytest.mark.parametrize("path", ["/health", "/healthz", "/readyz"])
def test_health_is_for_everybody(guarded, path):
    for origin in (guarded.origin, guarded.management):
        assert call(guarded, None, "GET", path, origin=origin)[0] == 200


def test_an_official_sdk_sees_the_errors_it_knows(guarded, world, hello):
    def create(key, model="openai/gpt-4o-mini"):
        client = openai.OpenAI(base_url=guarded.base_url, api_key=key, max_retries=0)
        return client.chat.completions.create(model=model, messages=hello)

    with pytest.raises(openai.AuthenticationError) as raised:
        create("wrong")
    assert raised.value.response.headers["www-authenticate"] == "Bearer"
    with pytest.raises(openai.PermissionDeniedError) as raised:
        create(SECRETS["cheap"], "anthropic/claude-sonnet-4-6")
    assert 'key "cheap"' in raised.value.message and "anthropic/claude-sonnet-4-6" in raised.value.message
    assert create(SECRETS["user"]).choices[0].message.content


def test_a_key_narrows_an_alias_to_its_own_models(guarded, world):
    body = {"model": "smart", "messages": HELLO}
    status, headers, _ = guarded.post(body, headers=bearer("cheap"))
    assert (status, headers["x-opentracy-selected-model"]) == (200, "openai/gpt-4o-mini")
    status, headers, _ = guarded.post(body, headers=bearer("user"))
    assert headers["x-opentracy-selected-model"] == "anthropic/claude-sonnet-4-6"
    status, _, reply = guarded.post({**body, "model": "cloud"}, headers=bearer("chat-only"))
    assert status == 200
    ids = {model["id"] for model in json.loads(call(guarded, "cheap", "GET", "/v1/models")[1])["data"]}
    assert "openai/gpt-4o-mini" in ids and "twice" in ids and "smart" not in ids


def test_a_caller_can_not_speak_for_another(guarded, world):
    forged = {**bearer("user"), "x-opentracy-token": "x", "x-opentracy-on-behalf-of": "admin", "x-opentracy-jwt": "e30"}
    with guarded._open(None, headers=forged, path="/statsz", method="GET") as reply:
        assert reply.status == 403
    with guarded._open(None, headers=forged, path="/v1/traces", method="GET", origin=guarded.management) as reply:
        assert reply.status == 401


def test_denials_are_counted_by_reason_and_leave_no_traces(guarded, world):
    before = guarded.stats("denied.invalid_api_key")
    assert call(guarded, "wrong", *CHAT)[0] == 401
    name = f"{guarded.filter.metrics_prefix}.opentracy.gateway.denied.invalid_api_key"
    wait_for(lambda: guarded.stats("denied.invalid_api_key").get(name, 0) > before.get(name, 0), "the count")
    assert call(guarded, "wrong", "GET", "/v1/traces", origin=guarded.management)[0] == 401
    metrics = call(guarded, "reader", "GET", "/metrics", origin=guarded.management)[1].decode()
    assert 'opentracy_management_denials_total{reason="invalid_api_key"}' in metrics
    traces = json.loads(call(guarded, "admin", "GET", "/v1/traces?status=401", origin=guarded.management)[1])
    assert not traces["data"]


def test_a_change_of_one_term_leaves_the_others(guarded):
    def manage(method, path, body=None):
        status, _, reply = guarded.post(
            body, method=method, path=path, headers=bearer("admin"), origin=guarded.management
        )
        return status, reply

    terms = {
        "models": ["demo/*"],
        "endpoints": ["POST /v1/chat/*"],
        "expires_at": "2100-01-01T00:00:00Z",
        "limits": {"requests_per_minute": 5, "tokens_per_minute": 500},
        "budget": {"hard": 3.0},
    }
    assert manage("POST", "/v1/keys", {"name": "narrow", **terms})[0] == 201
    for field in terms:
        without = {name: value for name, value in terms.items() if name != field}
        status, reply = manage("PUT", "/v1/keys/narrow", without)
        assert status == 400 and f"`{field}`" in reply["error"]["message"], reply
    fewer = {**terms, "limits": {"tokens_per_minute": 500}}
    assert "`limits.requests_per_minute`" in manage("PUT", "/v1/keys/narrow", fewer)[1]["error"]["message"]

    status, patched = manage("PATCH", "/v1/keys/narrow", {"limits": {"requests_per_minute": 9}, "owner": "Ann"})
    assert status == 200 and patched["models"] == ["demo/*"] and patched["owner"] == "Ann"
    assert (patched["limits"]["requests_per_minute"], patched["limits"]["tokens_per_minute"]) == (9, 500)
    status, patched = manage("PATCH", "/v1/keys/narrow", {"models": None})
    assert status == 200 and patched["models"] == [] and patched["endpoints"] == ["POST /v1/chat/*"]
    assert manage("PATCH", "/v1/keys/narrow", {"modles": []})[0] == 400
    assert manage("PATCH", "/v1/keys/nobody", {"disabled": True})[0] == 404
    assert manage("DELETE", "/v1/keys/narrow")[0] == 204


@pytest.mark.parametrize(
    "body,words",
    [
        ({"name": "a b"}, "without spaces"),
        ({"name": ""}, "word"),
        ({}, "`name`"),
        ({"name": "a", "role": "boss"}, "admin"),
        ({"name": "a", "modles": []}, "modles"),
        ({"name": "a", "endpoints": ["chat"]}, "not a path"),
        ({"name": "a", "expires_at": "soon"}, "expires_at"),
        ({"name": "a", "budget": {"soft": 2, "hard": 1}}, "budget"),
        ([], "JSON object"),
    ],
)
def test_invalid_terms_are_refused(guarded, body, words):
    status, _, reply = guarded.post(body, path="/v1/keys", headers=bearer("admin"), origin=guarded.management)
    assert status == 400
    assert words in reply["error"]["message"], reply


@pytest.mark.parametrize("key", ["admin", None])
def test_two_credentials_or_no_host_are_refused_at_both_listeners(guarded, key):
    good = f"authorization: Bearer {SECRETS[key]}\r\n" if key else ""
    for port in (guarded.ports["gateway"], guarded.ports["management"]):
        for lines in (
            "host: localhost\r\nauthorization: Bearer x\r\nauthorization: Bearer y\r\n",
            "host:\r\n",
            "host: localhost\r\nx-api-key: x\r\nx-api-key: y\r\n",
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(f"GET /v1/models HTTP/1.1\r\n{lines}{good}connection: close\r\n\r\n".encode())
                assert connection.recv(65536).startswith(b"HTTP/1.1 400"), (port, lines)
