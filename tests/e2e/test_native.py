"""Checks the native filter: panics, the names of metrics, and the Envoys that it loads in."""

import os
import pathlib
import re
import subprocess
import sys
import threading
import urllib.request

from support.providers import answer
from support.requests import HELLO
from support.stack import wait_for


def panics(stack):
    stats = stack.stats(f"{stack.filter.metrics_prefix}.opentracy.gateway.events.opentracy_event.gateway_panicked")
    return sum(stats.values())


def test_a_panic_costs_one_request_and_not_envoy(world, own_stack):
    stack = own_stack(traps=True)
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


def test_a_program_that_is_not_envoy_1_40_is_refused(filter_form):
    """Loads the module as Envoy does, in a program that has none of Envoy's functions."""
    program = (
        "import ctypes, sys\n"
        "module = ctypes.CDLL(sys.argv[1])\n"
        "init = module.envoy_dynamic_module_on_program_init\n"
        "init.restype = ctypes.c_char_p\n"
        "print(init())\n"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program, filter_form.path], capture_output=True, text=True, timeout=60
    )
    assert (loaded.returncode, loaded.stdout) == (0, "None\n"), loaded
    assert "this module was built for Envoy 1.40" in loaded.stderr
    assert "--filter-kind wasm" in loaded.stderr


def test_the_list_of_envoys_functions_is_that_of_this_envoy():
    """Without it, a later Envoy would look like the one that the module was built for."""
    listed = pathlib.Path(__file__).parents[2] / "filter-native" / "envoy-1.40.0-callbacks.txt"
    symbols = subprocess.run(
        ["nm", "--dynamic", "--defined-only", os.environ["OPENTRACY_ENVOY"]], capture_output=True, text=True, check=True
    ).stdout
    exported = re.findall(r" \w envoy_dynamic_module_callback_(\w+)$", symbols, re.M)
    assert sorted(exported) == listed.read_text().split()


def test_the_module_loads_with_the_c_library_that_envoy_needs(filter_form):
    def symbols(path):
        return subprocess.run(["objdump", "--dynamic-syms", path], capture_output=True, text=True, check=True).stdout

    def newest(path):
        versions = re.findall(r"GLIBC_([0-9.]+)", symbols(path))
        return max(tuple(map(int, version.split("."))) for version in versions)

    assert newest(filter_form.path) <= newest(os.environ["OPENTRACY_ENVOY"])
    foreign = [line for line in symbols(filter_form.path).splitlines() if "*UND*" in line and "envoy_" in line]
    assert not foreign, "they are looked up at the start"
