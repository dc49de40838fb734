"""Tokens (JWT) that Envoy verifies."""

import json
import os
import re
import subprocess
import time

import pytest
from support.client_keys import SECRETS, bearer
from support.requests import HELLO
from support.stack import Stack, wait_for


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
