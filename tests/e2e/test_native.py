"""Checks the native filter: a panic ends one request, and metrics keep their names."""

import os
import threading
import urllib.request

import pytest
from support.providers import answer
from support.requests import HELLO
from support.stack import FILTER_KIND, METRICS_PREFIX, wait_for

pytestmark = pytest.mark.skipif(FILTER_KIND != "native", reason="a wasm filter traps instead")


def panics(stack):
    stats = stack.stats(f"{METRICS_PREFIX}.opentracy.gateway.events.opentracy_event.gateway_panicked")
    return sum(stats.values())


def test_a_panic_costs_one_request_and_not_envoy(world, own_stack):
    stack = own_stack(filter_path=os.environ["OPENTRACY_TRAP_FILTER"])
    request = {"model": "openai/gpt-4o-mini", "messages": HELLO}
    # A stream of another client, in flight meanwhile.
    slow = {**request, "model": "second/large", "stream": True}
    world.second.script.append(answer("one two three four five six", pause=0.1))
    streamed = []
    streaming = threading.Thread(target=lambda: streamed.append(stack.post_raw(slow)))
    streaming.start()
    for number in range(1, 9):
        status, headers, reply = stack.post(request, headers={"x-opentracy-trap": "gateway"})
        assert (status, headers["content-type"]) == (500, "application/json")
        assert reply["error"]["code"] == "internal_error"
        wait_for(lambda number=number: panics(stack) == number, "the panic's count")
    streaming.join()
    assert b"[DONE]" in streamed[0]
    status, _, _ = stack.post(request)
    assert status == 200
    assert stack.envoy.poll() is None
    assert stack.log("envoy").count("event=gateway_panicked") >= 8
    # The message of a panic may hold a part of a prompt.
    assert "asked for by a test" not in stack.log("envoy")


def test_metrics_have_the_wasm_filters_names_and_labels(world, own_stack):
    stack = own_stack()
    assert stack.post({"model": "openai/gpt-4o-mini", "messages": HELLO})[0] == 200

    def told():
        url = f"http://127.0.0.1:{stack.ports['metrics']}/stats/prometheus"
        with urllib.request.urlopen(url) as reply:
            lines = reply.read().decode().splitlines()
        wanted = 'opentracy_gateway_requests{opentracy_provider="openai",opentracy_status="2xx"} 1'
        return wanted in lines and any(line.startswith("opentracy_records_dropped{} ") for line in lines)

    wait_for(told, "the call's metrics")
