"""Keys that the API and the command create, rotate and revoke."""

import json
import subprocess

import pytest
from support.requests import HELLO
from support.stack import wait_for


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


def test_a_key_is_made_rotated_and_revoked(keyed):
    stack, root = keyed
    wait_for(lambda: everywhere(stack, None, 401), "access to require a key")

    def manage(method, path, body=None):
        status, _, reply = stack.post(body, method=method, path=path, headers=root, origin=stack.management)
        return status, reply

    status, made = manage("POST", "/v1/keys", {"name": "app", "owner": "a team", "metadata": {"cost-center": "7"}})
    assert status == 201
    wait_for(lambda: everywhere(stack, made["secret"], 200), "a new key to work")
    assert manage("POST", "/v1/keys", {"name": "app"})[0] == 409

    status, rotated = manage("POST", "/v1/keys/app/rotate")
    assert status == 200 and rotated["owner"] == "a team"
    wait_for(
        lambda: everywhere(stack, rotated["secret"], 200) and everywhere(stack, made["secret"], 401), "the rotation"
    )

    status, disabled = manage("PUT", "/v1/keys/app", {"disabled": True})
    assert status == 200 and disabled["disabled"] and disabled["owner"] is None, "a PUT sets all terms"
    wait_for(lambda: everywhere(stack, rotated["secret"], 401), "the key to be disabled")
    status, reply = manage("PUT", "/v1/keys/app", {"models": ["demo/*"]})
    assert status == 400 and "`disabled`" in reply["error"]["message"], "omitting a term enables nothing"
    assert manage("PUT", "/v1/keys/app", {"models": ["demo/*"], "disabled": False})[0] == 200
    wait_for(lambda: everywhere(stack, rotated["secret"], 200), "the key to be enabled")

    assert manage("DELETE", "/v1/keys/app")[0] == 204
    wait_for(lambda: everywhere(stack, rotated["secret"], 401), "the revocation")
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
        random = secret.split("_", 2)[2].encode()
        assert random not in files and random not in logs
    assert not any(secret in json.dumps(listed) for secret in secrets)


def test_the_command_makes_keys_beside_a_running_control_plane(own_stack, world):
    stack = own_stack()

    def keys(*arguments):
        command = [stack._binary, "keys", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=stack._environment, cwd=stack.folder)

    made = keys("create", "ci", "--role", "user", "--model", "demo/*", "--requests-per-minute", "100")
    secret = made.stdout.strip()
    assert made.returncode == 0 and secret.startswith("otk_")
    wait_for(lambda: everywhere(stack, secret, 200) and everywhere(stack, None, 401), "the key to work")
    assert "ci (otk_" in keys("list").stdout
    again = keys("create", "ci")
    assert again.returncode == 1 and 'the key "ci" already exists' in again.stderr
    rotated = keys("rotate", "ci").stdout.strip()
    wait_for(lambda: everywhere(stack, rotated, 200) and everywhere(stack, secret, 401), "the rotation")
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
    wait_for(lambda: everywhere(stack, rotated, 401) and everywhere(stack, None, 401), "the revocation")
