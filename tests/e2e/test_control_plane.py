"""The control plane stops, starts and reloads while requests are in flight."""

import copy
import pathlib
import signal
import threading
import time

import pytest
from support.requests import HELLO
from support.stack import wait_for


class Load:
    """Sends requests from several threads, without a pause, until it is stopped."""

    def __init__(self, stack, model, threads=4):
        self._stack = stack
        self._model = model
        self._stopping = threading.Event()
        self.trace_ids = []
        self.failures = []
        self.selected = []
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self):
        while not self._stopping.is_set():
            try:
                status, headers, reply = self._stack.post({"model": self._model, "messages": HELLO})
            except OSError as error:
                self.failures.append(str(error))
                continue
            if status == 200:
                self.trace_ids.append(headers["x-opentracy-trace-id"])
                self.selected.append(reply["_routing"]["selected_model"])
            else:
                self.failures.append(reply)
            time.sleep(0.005)


def test_no_trace_is_lost_when_the_control_plane_is_killed_under_load(own_stack, world):
    stack = own_stack()
    with Load(stack, "smart") as load:
        for _ in range(3):
            time.sleep(0.7)
            stack.kill_control_plane()
            time.sleep(0.7)
            stack.start_control_plane()
        time.sleep(1)
    assert not load.failures
    assert len(load.trace_ids) > 200
    expected = set(load.trace_ids)
    wait_for(lambda: stored(stack) >= expected, "every trace")
    assert len(stored(stack)) == len(expected), "a trace is stored twice"
    dropped = stack.stats("records_dropped")
    assert not any(dropped.values())


def stored(stack):
    """Returns all trace ids, page by page."""
    ids, cursor = [], ""
    while True:
        page = stack.get(f"/v1/traces?limit=500{cursor}", stack.management, default={"data": [], "next_cursor": None})
        ids += [trace["id"] for trace in page["data"]]
        if not page["next_cursor"]:
            assert len(ids) == len(set(ids))
            return set(ids)
        cursor = f"&cursor={page['next_cursor']}"


@pytest.mark.parametrize("how", ["file", "sighup"])
def test_aliases_and_keys_change_under_traffic_without_a_failure(own_stack, world, how):
    stack = own_stack()
    config = copy.deepcopy(world.config())
    with Load(stack, "smart") as load:
        time.sleep(0.5)
        config["aliases"]["smart"]["candidates"] = ["openai/gpt-4o"]
        config["providers"]["openai"]["api_key"] = "sk-the-new-key"
        stack.write_config(config)
        if how == "sighup":
            stack.control_plane.send_signal(signal.SIGHUP)
        wait_for(lambda: load.selected[-1] == "openai/gpt-4o", "the new alias")
        time.sleep(1.5)
        switched = len(load.selected)
        time.sleep(0.5)
    assert not load.failures
    assert set(load.selected[switched:]) == {"openai/gpt-4o"}
    assert world.openai.requests[-1].headers["authorization"] == "Bearer sk-the-new-key"


def test_a_bad_configuration_leaves_the_old_one_active(own_stack, world):
    stack = own_stack()
    stack.config_path.write_text("aliases: {smart: {candidates: [nobody/x]}}\n")
    wait_for(lambda: "can't be used" in stack.log("control-plane"), "the error in the log")
    assert "opentracy.yaml" in stack.log("control-plane")
    assert stack.post({"model": "smart", "messages": HELLO})[0] == 200


def test_a_key_in_the_secrets_file_is_taken_up(own_stack, world):
    stack = own_stack()
    status, _, reply = stack.post({"model": "groq/x", "messages": HELLO})
    assert (status, reply["error"]["code"]) == (401, "provider_key_missing")
    secrets = stack.folder / ".opentracy/secrets.json"
    secrets.parent.mkdir(exist_ok=True)
    secrets.touch(mode=0o600)
    secrets.write_text('{"groq_api_key": "gsk-secret"}')
    # The provider is unreachable here, but with a key it is called.
    wait_for(lambda: stack.post({"model": "groq/x", "messages": HELLO})[0] == 502, "the key")


def test_health_and_models_are_at_the_gateway(stack):
    # Other tests of this stack make providers fail, which the gateway's /health reports.
    assert stack.get("/health", stack.management)["reasons"] == []
    health = stack.get("/health")
    assert health["status"] in ("healthy", "degraded")
    assert health["router_initialized"] is False
    assert health["num_models"] > 100
    assert {"num_clusters", "embedder_ready"} <= set(health)
    models = stack.get("/v1/models")
    assert models["object"] == "list"
    by_id = {model["id"]: model for model in models["data"]}
    assert {"smart", "openai/gpt-4o-mini", "anthropic/claude-sonnet-4-6", "demo/echo"} <= set(by_id)
    model = stack.get("/v1/models/openai/gpt-4o-mini")
    assert model["id"] == "openai/gpt-4o-mini"
    assert model["context_window"] >= model["max_output_tokens"] > 0 and model["pricing"]["input"] > 0
    assert {"tools", "images", "json_schema"} <= set(model["capabilities"])
    assert stack.get("/v1/models/smart")["id"] == "smart"
    status, _, reply = stack.post(None, path="/v1/models/nothing", method="GET")
    assert (status, reply["error"]["code"]) == (404, "model_not_found")


def test_the_demo_provider_needs_no_key(stack):
    status, _, reply = stack.post({"model": "demo/echo", "messages": HELLO})
    assert status == 200
    assert "Hello!" in reply["choices"][0]["message"]["content"]
    assert "demo" in reply["choices"][0]["message"]["content"]


def test_the_rest_api_describes_itself(stack):
    document = stack.get("/openapi.json", stack.management)
    assert {"/health", "/v1/models", "/v1/traces", "/v1/traces/{id}"} <= set(document["paths"])


def test_a_control_plane_that_hangs_is_waited_for_twice_and_then_once_a_second(own_stack, world):
    stack = own_stack(concurrency=1)
    ask = lambda: stack.post({"model": "auto-anyway", "messages": HELLO})
    stack.control_plane.send_signal(signal.SIGSTOP)
    state = pathlib.Path(f"/proc/{stack.control_plane.pid}/stat")
    wait_for(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "the stop")
    try:
        outcomes = []
        started = time.monotonic()
        while time.monotonic() - started < 3 or len(outcomes) < 20:
            status, headers, _ = ask()
            assert status == 200
            outcomes.append(headers["x-opentracy-routing"])
    finally:
        stack.control_plane.send_signal(signal.SIGCONT)
    assert outcomes[:2] == ["deadline"] * 2 and outcomes[2] == "control_plane_down"
    assert outcomes.count("deadline") <= 2 + (time.monotonic() - started)
    wait_for(lambda: ask()[1]["x-opentracy-routing"] not in ("deadline", "control_plane_down"), "the recovery")
