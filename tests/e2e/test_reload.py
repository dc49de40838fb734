"""Reloads of a changing configuration file, and access during them. Runs without Envoy."""

import json
import os
import subprocess
import time

import pytest
import yaml
from support.control_plane import ControlPlane
from support.stack import wait_for

ADMIN = {"authorization": "Bearer the-admins-secret"}
CONFIG = {
    "aliases": {"smart": {"candidates": ["demo/echo"]}},
    "keys": {"admin": {"key_env": "ADMIN_KEY", "role": "admin"}},
}


@pytest.fixture
def plane(tmp_path):
    """Makes control planes that stop when the test ends."""
    made = []

    def make(config=None, **options):
        plane = ControlPlane(tmp_path, config, environment={"ADMIN_KEY": "the-admins-secret"}, **options)
        made.append(plane)
        return plane.start()

    yield make
    for plane in made:
        plane.stop()


def health(plane):
    return json.loads(plane.request("GET", "/health")[1])


def codes(plane):
    return {reason["code"] for reason in health(plane)["reasons"]}


def status(plane, headers=None, path="/v1/traces", method="GET", body=None):
    return plane.request(method, path, body, headers)[0]


def is_serving_as_before(plane):
    models = json.loads(plane.request("GET", "/v1/models", headers=ADMIN)[1])
    return status(plane) == 401 and "smart" in {model["id"] for model in models["data"]}


def rewrite(plane, change):
    config = yaml.safe_load(plane.config_path.read_text())
    change(config)
    # Replaces the file atomically, as a careful editor does.
    draft = plane.config_path.with_suffix(".draft")
    draft.write_text(yaml.safe_dump(config))
    draft.rename(plane.config_path)


@pytest.mark.parametrize(
    "left",
    [
        lambda text: "",
        lambda text: "# nothing\n",
        lambda text: text[: len(text) // 2].rstrip("\n"),
        lambda text: text[: text.index("keys:")] + text[text.index("management:") :],
        lambda text: "{}\n",
        lambda text: None,
    ],
    ids=["empty", "comments", "cut", "no-keys", "no-members", "gone"],
)
def test_a_truncated_configuration_is_rejected(plane, left):
    running = plane(CONFIG)
    whole = running.config_path.read_text()
    rest = left(whole)
    if rest is None:
        running.config_path.unlink()
    else:
        running.config_path.write_text(rest)
    wait_for(lambda: "configuration_rejected" in codes(running), "the rejection in /health")
    assert is_serving_as_before(running)
    assert status(running, method="POST", path="/v1/keys", body=b'{"name": "x", "role": "admin"}') == 401
    assert running.log().count("the old one stays active") == 1
    running.config_path.write_text(whole.replace("smart", "smarter"))
    wait_for(lambda: "configuration_rejected" not in codes(running), "the corrected file")
    models = json.loads(running.request("GET", "/v1/models", headers=ADMIN)[1])
    assert "smarter" in {model["id"] for model in models["data"]}


def test_a_file_is_read_when_its_writer_is_done(plane):
    running = plane(CONFIG)
    whole = running.config_path.read_text().replace("smart", "smarter")
    # Writes like an editor that truncates the file and writes line by line.
    with open(running.config_path, "w") as file:
        for line in whole.splitlines(keepends=True):
            file.write(line)
            file.flush()
            time.sleep(0.05)
    wait_for(lambda: "smarter" in running.request("GET", "/v1/models", headers=ADMIN)[1].decode(), "the new file")
    assert status(running) == 401
    assert "the old one stays active" not in running.log()


def test_keys_are_removed_if_the_file_says_what_replaces_them(plane):
    running = plane(CONFIG)

    def only(required):
        def change(config):
            config.pop("keys", None)
            config["access"] = {"required": required}

        return change

    rewrite(running, only(True))
    wait_for(lambda: status(running, ADMIN) == 401, "the key to stop working")
    assert (health(running)["access"], "no_usable_key" in codes(running)) == ("closed", True)
    rewrite(running, only(False))
    wait_for(lambda: status(running) == 200, "open access")
    assert health(running)["access"] == "open"


def test_access_stays_closed_when_the_last_key_is_gone(plane, tmp_path):
    running = plane()

    def keys(*arguments):
        command = [os.environ["OPENTRACY_BIN"], "keys", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=running.environment, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert (status(running), health(running)["access"]) == (200, "open")
    secret = keys("create", "root", "--role", "admin")
    wait_for(lambda: status(running, {"x-api-key": secret}) == 200 and status(running) == 401, "the first key")
    assert health(running)["access"] == "keys"
    keys("revoke", "root")
    wait_for(lambda: health(running)["access"] == "closed", "the revocation")
    assert status(running) == 401 and "no_usable_key" in codes(running)
    assert "access: closed" in running.log()

    # Deleting the files and restarting don't open access either.
    state = tmp_path / ".opentracy"
    (state / "keys.json").unlink()
    running.stop()
    (state / "access.closed").unlink()
    running.start()
    assert (status(running), health(running)["access"]) == (401, "closed")
    rewrite(running, lambda config: config.update(access={"required": False}))
    wait_for(lambda: status(running) == 200, "open access")


def test_an_expired_last_key_closes_and_is_reported(plane):
    running = plane({"keys": {"old": {"key_env": "ADMIN_KEY", "expires_at": "2020-01-01T00:00:00Z"}}})
    assert (status(running), health(running)["access"]) == (401, "closed")
    assert "no_usable_key" in codes(running)
