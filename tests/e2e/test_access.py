"""Keys and their permissions, on both listeners."""

import json
import os
import re
import socket
import subprocess
import time

import openai
import pytest
from support.providers import anything
from support.stack import Stack, wait_for

SECRETS = {
    name: f"secret-of-{name}" for name in ("admin", "user", "reader", "cheap", "chat-only", "expired", "disabled")
}
HELLO = [{"role": "user", "content": "Hello!"}]


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


def bearer(name):
    return {"authorization": f"Bearer {SECRETS.get(name, name)}"} if name else {}


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
    name = "wasmcustom.opentracy.gateway.denied.invalid_api_key"
    wait_for(lambda: guarded.stats("denied.invalid_api_key").get(name, 0) > before.get(name, 0), "the count")
    assert call(guarded, "wrong", "GET", "/v1/traces", origin=guarded.management)[0] == 401
    metrics = call(guarded, "reader", "GET", "/metrics", origin=guarded.management)[1].decode()
    assert 'opentracy_management_denials_total{reason="invalid_api_key"}' in metrics
    traces = json.loads(call(guarded, "admin", "GET", "/v1/traces?status=401", origin=guarded.management)[1])
    assert not traces["data"]


# Keys that the API creates


@pytest.fixture
def keyed(own_stack, world):
    stack = own_stack()
    status, _, made = stack.post({"name": "root", "role": "user"}, path="/v1/keys", origin=stack.management)
    assert (status, made["error"]["code"]) == (409, "admin_key_missing"), (
        "the first key must be an admin's, to avoid a lockout"
    )
    status, _, made = stack.post({"name": "root", "role": "admin"}, path="/v1/keys", origin=stack.management)
    assert status == 201 and made["secret"].startswith(made["prefix"])
    return stack, {"authorization": f"Bearer {made['secret']}"}


def everywhere(stack, secret, expected):
    """Returns true if every worker of Envoy and the control plane answer as expected."""
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    body = {"model": "demo/echo", "messages": HELLO}
    statuses = {stack.post(body, headers=headers)[0] for _ in range(12)}
    with stack._open(None, headers=headers, path="/v1/models", method="GET", origin=stack.management) as reply:
        statuses.add(reply.status)
    return statuses == {expected}


def within_two_seconds(condition, what):
    wait_for(condition, what, timeout=2.0)


def test_a_key_is_made_rotated_and_revoked_within_two_seconds(keyed):
    stack, root = keyed
    within_two_seconds(lambda: everywhere(stack, None, 401), "access to require a key")

    def manage(method, path, body=None):
        status, _, reply = stack.post(body, method=method, path=path, headers=root, origin=stack.management)
        return status, reply

    status, made = manage("POST", "/v1/keys", {"name": "app", "owner": "a team", "metadata": {"cost-center": "7"}})
    assert status == 201
    within_two_seconds(lambda: everywhere(stack, made["secret"], 200), "a new key to work")
    assert manage("POST", "/v1/keys", {"name": "app"})[0] == 409

    status, rotated = manage("POST", "/v1/keys/app/rotate")
    assert status == 200 and rotated["owner"] == "a team"
    within_two_seconds(
        lambda: everywhere(stack, rotated["secret"], 200) and everywhere(stack, made["secret"], 401), "the rotation"
    )

    status, disabled = manage("PUT", "/v1/keys/app", {"disabled": True})
    assert status == 200 and disabled["disabled"] and disabled["owner"] is None, "a PUT sets all terms"
    within_two_seconds(lambda: everywhere(stack, rotated["secret"], 401), "the key to be disabled")
    status, reply = manage("PUT", "/v1/keys/app", {"models": ["demo/*"]})
    assert status == 400 and "`disabled`" in reply["error"]["message"], "omitting a term enables nothing"
    assert manage("PUT", "/v1/keys/app", {"models": ["demo/*"], "disabled": False})[0] == 200
    within_two_seconds(lambda: everywhere(stack, rotated["secret"], 200), "the key to be enabled")

    assert manage("DELETE", "/v1/keys/app")[0] == 204
    within_two_seconds(lambda: everywhere(stack, rotated["secret"], 401), "the revocation")
    assert manage("DELETE", "/v1/keys/app")[0] == 404

    listed = manage("GET", "/v1/keys")[1]["data"]
    assert [key["name"] for key in listed] == ["root"]
    entries = [(entry["action"], entry["subject"], entry["actor"]) for entry in manage("GET", "/v1/audit")[1]["data"]]
    assert ("key.create", "app", "root") in entries and ("key.revoke", "app", "root") in entries

    # The files hold only hashes of the secrets, and no output shows them.
    secrets = [made["secret"], rotated["secret"], root["authorization"].removeprefix("Bearer ")]
    files = b"".join(path.read_bytes() for path in (stack.folder / ".opentracy").rglob("*") if path.is_file())
    logs = (stack.log("control-plane") + stack.log("envoy")).encode()
    for secret in secrets:
        random = secret.rsplit("_", 1)[1].encode()
        assert random not in files and random not in logs
    assert not any(secret in json.dumps(listed) for secret in secrets)


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


def test_the_command_makes_keys_beside_a_running_control_plane(own_stack, world):
    stack = own_stack()

    def keys(*arguments):
        command = [stack._binary, "keys", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=stack._environment, cwd=stack.folder)

    made = keys("create", "ci", "--role", "user", "--model", "demo/*", "--requests-per-minute", "100")
    secret = made.stdout.strip()
    assert made.returncode == 0 and secret.startswith("otk_")
    within_two_seconds(lambda: everywhere(stack, secret, 200) and everywhere(stack, None, 401), "the key to work")
    assert "ci (otk_" in keys("list").stdout
    again = keys("create", "ci")
    assert again.returncode == 1 and 'the key "ci" already exists' in again.stderr
    rotated = keys("rotate", "ci").stdout.strip()
    within_two_seconds(lambda: everywhere(stack, rotated, 200) and everywhere(stack, secret, 401), "the rotation")
    updated = keys(
        "update", "ci", "--requests-per-minute", "50", "--endpoint", "POST /v1/chat/*", "--endpoint", "/v1/models"
    )
    assert updated.returncode == 0 and "ci (otk_" in updated.stdout
    kept = json.loads((stack.folder / ".opentracy/keys.json").read_text())["keys"][0]["terms"]
    assert (kept["models"], kept["limits"]["requests_per_minute"]) == (["demo/*"], 50), "other terms are unchanged"
    assert keys("update", "ci", "--clear", "endpoints", "--clear", "limits.requests_per_minute").returncode == 0
    kept = json.loads((stack.folder / ".opentracy/keys.json").read_text())["keys"][0]["terms"]
    assert (kept["models"], kept["endpoints"], kept["limits"]["requests_per_minute"]) == (["demo/*"], [], None)
    assert keys("update", "ci").returncode == 1
    assert keys("revoke", "ci").returncode == 0
    within_two_seconds(lambda: everywhere(stack, rotated, 401) and everywhere(stack, None, 401), "the revocation")


# Tokens


@pytest.fixture(scope="module")
def issuer():
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def encoded(data):
    import base64

    if isinstance(data, dict):
        data = json.dumps(data).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(private_key, **claims):
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    claims = {"iss": "https://id.example", "aud": "llm", "exp": int(time.time()) + 300, **claims}
    claims = {name: value for name, value in claims.items() if value is not None}
    signed = f"{encoded({'alg': 'RS256', 'kid': '1', 'typ': 'JWT'})}.{encoded(claims)}"
    return f"{signed}.{encoded(private_key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


@pytest.fixture(scope="module")
def tokened(session_world, tmp_path_factory, issuer):
    session_world.reset()
    folder = tmp_path_factory.mktemp("tokens")
    numbers = issuer.public_key().public_numbers()
    as_bytes = lambda number: encoded(number.to_bytes((number.bit_length() + 7) // 8, "big"))
    jwks = {
        "keys": [
            {"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig", "n": as_bytes(numbers.n), "e": as_bytes(numbers.e)}
        ]
    }
    (folder / "jwks.json").write_text(json.dumps(jwks))
    config = session_world.config()
    config["access"] = {
        "jwt": {"issuer": "https://id.example", "audiences": ["llm"], "jwks_file": str(folder / "jwks.json")}
    }
    config["keys"] = {"cheap": {"key_env": "KEY_CHEAP", "models": ["openai/*"]}}
    stack = Stack(folder, config, environment={"KEY_CHEAP": SECRETS["cheap"]}).start()
    yield stack
    stack.stop()


def test_a_token_that_envoy_has_checked_lets_in(tokened, world, issuer):
    def ask(authorization, model="anthropic/claude-sonnet-4-6", **headers):
        headers = {**({"authorization": authorization} if authorization else {}), **headers}
        return tokened.post({"model": model, "messages": HELLO}, headers=headers)

    status, headers, _ = ask(f"Bearer {token(issuer, sub='ann')}")
    assert status == 200
    trace = wait_for(
        lambda: (
            tokened.post(
                None,
                method="GET",
                path=f"/v1/traces/{headers['x-opentracy-trace-id']}",
                headers=bearer("cheap"),
                origin=tokened.management,
            )[0]
            == 403
        ),
        "the answer",
    )
    assert trace, "a user's key can't read traces"
    # A token has the permissions of the key that it names.
    assert ask(f"Bearer {token(issuer, sub='bob', opentracy_key='cheap')}")[2]["error"]["code"] == "model_not_allowed"
    assert ask(f"Bearer {token(issuer, sub='bob', opentracy_key='cheap')}", "openai/gpt-4o")[0] == 200
    assert ask(f"Bearer {token(issuer, sub='bob', opentracy_key='nobody')}")[0] == 401
    # API keys still work when tokens are configured.
    assert ask(f"Bearer {SECRETS['cheap']}", "openai/gpt-4o")[0] == 200
    payload = encoded({"sub": "mallory", "iss": "https://id.example"})
    from cryptography.hazmat.primitives.asymmetric import rsa

    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for refused in (
        None,
        f"Bearer {token(issuer, exp=1)}",
        f"Bearer {token(issuer, aud='other')}",
        f"Bearer {token(stranger)}",
        f"Bearer {token(issuer, exp=None)}",
        f"Bearer {token(issuer, opentracy_key=['cheap'])}",
        f"Bearer e30.{payload}.",
    ):
        assert ask(refused, **{"x-opentracy-jwt": payload})[0] == 401, refused
    for key in (f"Bearer {token(issuer, sub='ann')}",):
        with tokened._open(None, headers={"authorization": key}, path="/v1/models", method="GET") as reply:
            assert reply.status == 200


def test_a_token_header_means_nothing_where_envoy_verifies_no_tokens(own_stack, world, tmp_path):
    config = world.config()
    config["keys"] = {"admin": {"key_env": "KEY_ADMIN", "role": "admin"}}
    stack = own_stack(config, environment={"KEY_ADMIN": SECRETS["admin"]}, key=SECRETS["admin"])
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    # Reloads the control plane. Envoy keeps the configuration that it started with.
    stack.write_config(
        {**config, "access": {"jwt": {"issuer": "https://id.example", "jwks_file": str(tmp_path / "jwks.json")}}}
    )

    def codes():
        return [reason["code"] for reason in stack.get("/health", stack.management)["reasons"]]

    wait_for(lambda: "tokens_unverified" in codes(), "the reason in /health")
    payload = encoded({"sub": "mallory", "opentracy_key": "admin", "exp": 2**33})
    header = re.findall(r"x-opentracy-jwt[0-9a-f-]*", regenerated(stack))[0]
    for name in ("x-opentracy-jwt", header):
        for path in ("/v1/chat/completions", "/statsz", "/v1/models"):
            body = {"model": "openai/gpt-4o", "messages": HELLO} if "chat" in path else None
            status, _, _ = stack.post(
                body,
                path=path,
                method="POST" if body else "GET",
                headers={name: payload, "authorization": "Bearer nobody"},
            )
            assert status == 401, (name, path)
    assert not world.openai.requests
    assert stack.post({"model": "openai/gpt-4o", "messages": HELLO})[0] == 200, "API keys still work"


def regenerated(stack):
    """Returns the configuration that would be generated for Envoy now."""
    command = [os.environ["OPENTRACY_BIN"], "envoy-config", "--config", str(stack.config_path)]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=stack._environment).stdout


# Browsers


@pytest.mark.parametrize(
    "headers,status",
    [
        ({}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "localhost:8000"}, 200),
        ({"host": "[::1]:8000"}, 200),
    ],
)
def test_without_keys_no_other_site_makes_a_browser_call(stack, headers, status):
    with stack._open(None, headers=headers, path="/v1/traces", method="GET", origin=stack.management) as reply:
        assert reply.status == status
        assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize(
    "headers,status",
    [
        ({}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null", "content-type": "text/plain"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "evil.example"}, 403),
        ({"host": "localhost:8080"}, 200),
    ],
)
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/models", "/statsz", "/proxy/openai/v1/models", "/v1/route"]
)
def test_without_keys_no_other_site_calls_the_gateway(stack, world, headers, status, path):
    is_post = path in ("/v1/chat/completions", "/v1/route")
    body = json.dumps({"model": "openai/gpt-4o", "messages": HELLO}).encode() if is_post else None
    with stack._open(body, headers=headers, path=path, method="POST" if is_post else "GET") as reply:
        found, text = reply.status, reply.read().decode()
    if status == 403:
        assert found == 403 and "cross_site_request" in text
        assert not any(provider.requests for provider in world.providers)
    else:
        assert found != 403, text


def test_the_gateways_own_host_names_need_no_key(own_stack, world):
    config = {**world.config(), "access": {"hosts": ["llm.example.com"]}}
    stack = own_stack(config)
    ask = lambda host: stack.post({"model": "openai/gpt-4o", "messages": HELLO}, headers={"host": host})[0]
    assert ask("llm.example.com") == ask("LLM.example.com:8080") == 200
    assert ask("other.example.com") == 403


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
