"""Provider keys over REST: stored, used at once, never returned."""

import json
import pathlib

import pytest
from support.requests import HELLO
from support.stack import Stack, wait_for

FIRST, SECOND = "sk-live-first-0123456789", "sk-live-second-9876543210"


@pytest.fixture
def bare(session_world, tmp_path):
    """Starts a stack whose OpenAI has no key yet."""
    session_world.reset()
    config = session_world.config()
    del config["providers"]["openai"]["api_key"]
    stack = Stack(tmp_path, config).start()
    yield stack
    stack.stop()


def put(stack, name, body):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return stack.post(data, method="PUT", path=f"/v1/secrets/{name}", origin=stack.management)


def used_key(world):
    return world.openai.requests[-1].headers.get("authorization", "").removeprefix("Bearer ")


def soon(condition):
    """Waits for a change. It is documented to take two seconds; a busy machine may take longer."""
    wait_for(condition, "the change")


def ask(stack):
    return stack.post({"model": "openai/gpt-4o-mini", "messages": HELLO})[0]


def test_a_key_is_soon_active_and_rotates(bare, world):
    assert ask(bare) == 401
    status, _, first = put(bare, "openai_api_key", {"value": FIRST})
    assert status == 200 and set(first) == {"name", "fingerprint", "updated_at"}
    # Each worker of Envoy fetches its configuration separately.
    soon(lambda: all(ask(bare) == 200 for _ in range(12)))
    assert used_key(world) == FIRST
    _, _, second = put(bare, "openai_api_key", {"value": SECOND})
    assert second["fingerprint"] != first["fingerprint"]

    def has_rotated():
        assert ask(bare) == 200, "no request fails during a rotation"
        return used_key(world) == SECOND

    soon(has_rotated)
    assert bare.get("/v1/secrets", bare.management)["data"] == [second]
    assert bare.post(None, method="DELETE", path="/v1/secrets/openai_api_key", origin=bare.management)[0] == 204
    soon(lambda: ask(bare) == 401)
    actions = [entry["action"] for entry in bare.get("/v1/audit", bare.management)["data"]]
    assert actions == ["secret.delete", "secret.set", "secret.set"]


def test_a_key_survives_a_restart_and_is_nowhere_in_the_clear(bare, world, tmp_path):
    put(bare, "openai_api_key", {"value": FIRST})
    soon(lambda: ask(bare) == 200)
    bare.kill_control_plane()
    bare.start_control_plane()
    bare.wait_until_healthy()
    soon(lambda: ask(bare) == 200)
    for path in (
        "/v1/secrets",
        "/v1/audit",
        "/v1/models",
        "/v1/traces",
        "/metrics",
        "/statsz",
        "/openapi.json",
        "/health",
    ):
        assert FIRST not in bare.post_raw(None, method="GET", path=path, origin=bare.management).decode()
    for file in pathlib.Path(tmp_path).rglob("*"):
        if file.is_file():
            assert FIRST.encode() not in file.read_bytes(), file
    assert (tmp_path / ".opentracy" / "master.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "name,body,words",
    [
        ("Openai", {"value": "x"}, "lower case"),
        ("..%2Fx", {"value": "x"}, "lower case"),
        ("openai_api_key", {"value": ""}, "one line"),
        ("openai_api_key", {"value": "a\nb"}, "one line"),
        ("openai_api_key", {"key": "sk-not-to-be-told"}, "JSON object"),
        ("openai_api_key", b"sk-not-to-be-told", "JSON object"),
    ],
)
def test_an_invalid_key_is_refused_and_not_quoted(stack, name, body, words):
    status, _, reply = put(stack, name, body)
    assert status == 400 and words in reply["error"]["message"]
    assert "sk-not" not in json.dumps(reply)
    assert "sk-not" not in stack.log("control-plane")


def test_another_master_key_is_reported(bare, tmp_path):
    put(bare, "openai_api_key", {"value": FIRST})
    bare.kill_control_plane()
    (tmp_path / ".opentracy" / "master.key").write_text("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    bare.start_control_plane()
    assert bare.control_plane.wait(10) == 1
    log = bare.log("control-plane")
    assert "OPENTRACY_MASTER_KEY" in log and "openai_api_key" in log and FIRST not in log
