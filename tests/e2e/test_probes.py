"""Probes, and reports of failures in /health, the log, the metrics and the access log."""

import concurrent.futures
import json
import re
import threading

import pytest
from support.providers import status as fail
from support.stack import Stack, wait_for

HELLO = [{"role": "user", "content": "a-prompt-to-look-for"}]


def ask(stack, model, **more):
    return stack.post({"model": model, "messages": HELLO}, **more)


def codes(stack, **more):
    status, _, health = stack.post(None, method="GET", path="/health", **more)
    assert status == 200, health
    assert health["status"] == ("degraded" if health["reasons"] else "healthy")
    return {reason["code"]: reason for reason in health["reasons"]}


def lines(stack, event):
    """Returns the lines of the filter's log with an event."""
    log = (stack.folder / "envoy.log").read_text(errors="replace")
    return [line for line in log.splitlines() if re.search(rf"event={event}\b", line)]


def counted(stack, event):
    return sum(value or 0 for value in stack.stats(rf"opentracy.gateway.*event.{event}(.events)?$").values())


def prometheus(stack):
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{stack.ports['admin']}/stats/prometheus?filter=opentracy") as reply:
        return reply.read().decode()


def test_the_gateway_is_alive_before_it_is_ready(world, tmp_path):
    stack = Stack(tmp_path, world.config())
    stack.write_config(world.config())
    stack.start_envoy()

    def probe(path):
        try:
            return stack.post_raw(None, method="GET", path=path)
        except OSError:
            return None

    try:
        wait_for(lambda: probe("/healthz"), "the listener")
        assert probe("/healthz") == b"ok"
        for path in ("/readyz", "/health"):
            status, headers, reply = stack.post(None, method="GET", path=path)
            assert (status, reply) == (503, {"status": "starting"}) and headers["retry-after"]
        stack.start_control_plane()
        stack.wait_until_healthy()
        assert json.loads(probe("/readyz")) == {"status": "ready"}
    finally:
        stack.stop()


def test_without_the_control_plane_the_gateway_is_degraded_and_answers(own_stack, world):
    stack = own_stack()
    healthy = stack.get("/health")
    assert (healthy["status"], healthy["reasons"]) == ("healthy", [])
    assert list(healthy) == [
        "status",
        "reasons",
        "access",
        "version",
        "router_initialized",
        "num_models",
        "num_clusters",
        "embedder_ready",
        "journal_backlog_bytes",
    ]
    assert healthy["num_models"] == stack.get("/health", stack.management)["num_models"] > 0
    stack.kill_control_plane()
    reason = wait_for(lambda: codes(stack).get("control_plane_unreachable"), "the reason")
    assert reason["component"] == "control_plane" and "has not answered" in reason["message"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", reason["since"])
    assert stack.get("/health")["num_models"] == healthy["num_models"], "the filter keeps its last configuration"
    assert ask(stack, "openai/gpt-4o-mini")[0] == 200
    for path in ("/healthz", "/readyz"):
        with stack._open(None, method="GET", path=path) as reply:
            assert reply.status == 200
    assert len(lines(stack, "control_plane_unreachable")) == 1
    wait_for(lambda: counted(stack, "control_plane_unreachable") >= 1, "the metric")
    stack.start_control_plane()
    wait_for(lambda: all("control_plane_unreachable" not in codes(stack) for _ in range(10)), "the recovery")


def test_a_failing_provider_is_logged_once_counted_and_shown_until_it_answers(own_stack, world):
    stack = own_stack()
    world.openai.habit = fail(503)
    for _ in range(20):
        assert ask(stack, "openai/gpt-4o-mini")[0] == 503
    reason = codes(stack)["provider_failing"]
    assert "openai" in reason["message"] and "status=503" in reason["message"]
    (line,) = lines(stack, "provider_failed")
    assert "provider=openai model=gpt-4o-mini status=503" in line
    wait_for(lambda: counted(stack, "provider_failed") == 20, "the metric")
    assert 'opentracy_event="provider_failed"' in prometheus(stack)
    world.openai.habit = None
    # A worker clears the fault only if it has noticed it.
    wait_for(
        lambda: ask(stack, "openai/gpt-4o-mini")[0] == 200 and "provider_failing" not in codes(stack),
        "the recovery",
        15,
    )


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "chain"])
def test_a_refused_provider_key_is_reported(own_stack, world, status, model):
    stack = own_stack()
    world.openai.habit = fail(status)
    for _ in range(5):
        ask(stack, model)
    reason = codes(stack)["provider_key_refused"]
    assert "openai" in reason["message"] and "check the provider's key" in reason["message"]
    assert len(lines(stack, "provider_key_refused")) == 1
    log = (stack.folder / "envoy.log").read_text(errors="replace")
    assert "sk-test-openai-key-000" not in log and "a-prompt-to-look-for" not in log


def test_a_refused_key_of_a_proxied_call_is_reported(own_stack, world):
    stack = own_stack()
    world.openai.habit = fail(401)
    assert stack.post(None, method="GET", path="/proxy/openai/v1/models")[0] == 401
    assert "provider_key_refused" in codes(stack)


def test_a_circuit_that_opens_or_closes_is_reported(own_stack, world):
    quick = {"enabled": True, "consecutive_failures": 3, "open_for": "1s", "max_open_for": "1s"}
    stack = own_stack(world.config(circuit_breaker=quick))
    world.openai.habit = fail(500)
    for _ in range(5):
        ask(stack, "openai/gpt-4o-mini")
    reason = codes(stack)["circuit_open"]
    assert "openai/gpt-4o-mini" in reason["message"]
    assert len(lines(stack, "circuit_opened")) == 1
    wait_for(lambda: counted(stack, "circuit_opened") >= 1, "the metric")
    world.openai.habit = None
    wait_for(lambda: ask(stack, "openai/gpt-4o-mini")[0] == 200, "the circuit")
    wait_for(lambda: "circuit_open" not in codes(stack), "the recovery")
    assert len(lines(stack, "circuit_closed")) == 1


def test_a_caller_without_a_key_sees_codes_and_counts_but_no_names(own_stack, world):
    stack = own_stack(
        world.config(keys={"app": {"key_env": "KEY_APP"}}),
        key="sk-a-key-of-the-app-0001",
        environment={"KEY_APP": "sk-a-key-of-the-app-0001"},
    )
    world.openai.habit = fail(401)
    for model in ("openai/gpt-4o-mini", "gone/x"):
        ask(stack, model)
    assert "openai" in codes(stack)["provider_key_refused"]["message"]
    for credentials in ("", "Bearer sk-somebody-elses"):
        status, _, health = stack.post(None, method="GET", path="/health", headers={"authorization": credentials})
        assert status == 200 and health["status"] == "degraded"
        assert {reason["code"]: reason["count"] for reason in health["reasons"]} == {
            "provider_key_refused": 1,
            "provider_failing": 1,
        }
        assert not re.search("openai|gone|gpt", json.dumps(health))


def test_faults_of_the_control_plane_are_at_the_gateway(own_stack, world):
    config = world.config()
    config["providers"]["cloud"] = {
        "format": "vertex",
        "project": "p",
        "region": "us-central1",
        "credentials_file": "/nowhere/service-account.json",
    }
    stack = own_stack(config)
    reason = wait_for(lambda: codes(stack).get("credential_renewal_failing"), "the reason")
    assert reason["component"] == "credentials" and "/nowhere/service-account.json" in reason["message"]
    assert reason in stack.get("/health", stack.management)["reasons"]


def read_log(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_access_log_has_a_line_for_each_request_and_attempt(own_stack, world, tmp_path):
    path = tmp_path / "calls.json"
    stack = own_stack(world.config(gateway={"access_log": str(path)}))
    headers = {"authorization": "Bearer a-key-to-look-for", "user-agent": "an-app/1.0"}
    trace_id = ask(
        stack, "anthropic/claude-sonnet-4-6", headers=headers, path="/v1/chat/completions?query=to-look-for"
    )[1]["x-opentracy-trace-id"]
    world.openai.script.append(fail(503))
    of_alias = ask(stack, "chain", headers=headers)[1]["x-opentracy-trace-id"]

    def logged():
        found = [line for line in read_log(path) if line["trace_id"] in (trace_id, of_alias)]
        return len(found) == 4 and found

    found = wait_for(logged, "the lines")
    direct = next(line for line in found if line["trace_id"] == trace_id)
    assert direct["listener"] == "gateway" and direct["method"] == "POST" and direct["status"] == 200
    assert direct["path"] == "/v1/chat/completions" and direct["user_agent"] == "an-app/1.0"
    assert (
        direct["model"] == "anthropic/claude-sonnet-4-6"
        and direct["upstream_cluster"] == "opentracy_provider_anthropic"
    )
    assert direct["duration_ms"] >= 0 and direct["bytes_sent"] > 0 and direct["details"] == "via_upstream"
    attempts = [line for line in found if line["listener"] == "attempt"]
    assert [line["model"] for line in attempts] == ["openai/gpt-4o-mini", "second/large"]
    text = path.read_text()
    assert "to-look-for" not in text and "sk-test" not in text


def test_there_is_no_access_log_by_default(stack):
    assert "access_log" not in (stack.folder / "envoy.yaml").read_text()


def everywhere_candidates(stack):
    """Returns the distinct lists of the alias's candidates in the workers' configurations."""
    seen = []
    for _ in range(12):
        [alias] = [model for model in stack.get("/v1/models")["data"] if model["id"] == "changing"]
        seen += [alias["candidates"]] if alias["candidates"] not in seen else []
    return seen


def test_no_request_is_lost_while_providers_are_added_and_removed(own_stack, world):
    whole = world.config()
    whole["aliases"]["changing"] = {"candidates": ["second/large", "cohere/command-a-03-2025"]}
    other = world.config()
    # The two sets are disjoint: a stage with an old configuration knows no candidate of the new
    # one.
    for name in ("second", "cohere"):
        del other["providers"][name]
    del other["aliases"]
    other["aliases"] = {"changing": {"candidates": ["mistral/mistral-large-latest", "anthropic/claude-sonnet-4-6"]}}
    other["providers"].pop("narrow")
    del whole["providers"]["mistral"], whole["aliases"]["french"]
    # Envoy has the clusters of both sets.
    both = {**other, "providers": {**whole["providers"], **other["providers"]}}
    stack = own_stack(both)
    is_over = threading.Event()

    def hammer(_):
        results = []
        while not is_over.is_set():
            results.append(ask(stack, "changing")[:2])
        return results

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(hammer, number) for number in range(4)]
        for config in (whole, other) * 4:
            stack.write_config(config)
            wait_for(
                lambda: everywhere_candidates(stack) == [config["aliases"]["changing"]["candidates"]],
                "the reload in every worker",
            )
        is_over.set()
        results = [result for run in runs for result in run.result()]
    assert len(results) > 100 and {status for status, _ in results} == {200}
    models = {headers["x-opentracy-selected-model"] for _, headers in results}
    assert {"second/large", "mistral/mistral-large-latest"} <= models, models
    assert {headers["x-opentracy-attempts"] for _, headers in results} == {"1"}, (
        "a stage with an old configuration costs no attempt"
    )
