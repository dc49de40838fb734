"""Without a working router, an alias uses its default."""

import http.server
import json
import pathlib
import re
import shutil
import threading
import time
import urllib.request

import pytest
from support.routing import EMBEDDER, LARGE, PROMPTS, SMALL, ask, route, send
from support.stack import wait_for

pytestmark = pytest.mark.skipif(not EMBEDDER["OPENTRACY_EMBEDDER"], reason="OPENTRACY_TEST_EMBEDDER is not set")


def outcome_metric(stack, alias, outcome):
    with urllib.request.urlopen(stack.management + "/metrics") as reply:
        text = reply.read().decode()
    found = re.search(rf'opentracy_router_decisions_total{{alias="{alias}",outcome="{outcome}"}} (\d+)', text)
    return int(found.group(1)) if found else 0


PAIR = {"aliases": {"pair": {"candidates": [SMALL, LARGE], "route": "auto", "routing": {"default": LARGE}}}}


def assert_default(stack, outcome):
    headers, body = ask(stack, PROMPTS[3], 5, model="pair")
    assert headers["x-opentracy-routing"] == body["_routing"]["decision"]["outcome"] == outcome
    assert headers["x-opentracy-selected-model"] == LARGE, "the alias's default, despite its cost"
    return headers["x-opentracy-trace-id"]


def assert_reported(stack, trace_id, outcome):
    assert stack.trace(trace_id)["decision"]["outcome"] == outcome
    wait_for(lambda: outcome_metric(stack, "pair", outcome) >= 1, "the metric")


def test_without_an_embedder_the_default_is_used(own_stack):
    stack = own_stack(PAIR)
    assert_reported(stack, assert_default(stack, "router_off"), "router_off")
    status, body = route(stack, prompt="x", model="pair")
    assert (status, body["error"]["code"]) == (503, "router_off")
    assert send(stack, "/v1/router/fits", b"")[0] == 503


def test_without_the_control_plane_the_default_is_used(own_stack):
    stack = own_stack(PAIR, environment=EMBEDDER)
    assert ask(stack, "warm", 5, model="pair")[0]["x-opentracy-selected-model"] == SMALL
    # The candidates are demo models, which stop with the control plane: the header shows the
    # outcome of the decision, and the call itself fails.
    stack.kill_control_plane()
    status, headers, _ = stack.post({"model": "pair", "messages": [{"role": "user", "content": "x"}]})
    assert headers["x-opentracy-routing"] == "control_plane_down"
    status, body = route(stack, prompt="x")
    assert (status, body["error"]["code"]) == (503, "router_unavailable")


def test_a_damaged_pack_is_refused_and_at_start_the_default_is_used(own_stack):
    stack = own_stack(PAIR, environment=EMBEDDER)
    packs = pathlib.Path(stack.folder, ".opentracy/router/packs")
    good = next(packs.iterdir())
    bad = packs / "0123456789ab"
    shutil.copytree(good, bad)
    profile = next((bad / "profiles").iterdir())
    profile.write_bytes(profile.read_bytes() + b" ")
    status, body = send(stack, "/v1/router/packs/0123456789ab/activate")
    assert status == 422 and "SHA-256" in body["error"]["message"]
    assert "0123456789ab" in stack.get("/v1/router/packs", stack.management)["damaged"]
    assert ask(stack, PROMPTS[3], 5, model="pair")[0]["x-opentracy-routing"] == "decided", (
        "the valid pack is still active"
    )
    assert send(stack, "/v1/router/packs/..%2f..%2fx/activate")[0] == 404
    (good / "clusters.safetensors").write_bytes(b"nothing")
    stack.kill_control_plane()
    stack.start_control_plane()
    wait_for(lambda: stack.get("/health", stack.management, default=None), "the restart")
    time.sleep(1)
    assert_reported(stack, assert_default(stack, "no_pack"), "no_pack")
    assert "the router's pack can't be used" in stack.log("control-plane")


class Endpoint:
    """An embeddings service that answers, fails or hangs."""

    def __init__(self):
        self.habit = "answer"
        self.asked = []
        self.release = threading.Event()
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                endpoint.asked.append((self.headers["authorization"], body))
                if endpoint.habit == "hang":
                    endpoint.release.wait()
                    return
                data = [
                    {"object": "embedding", "index": index, "embedding": [float(len(text) % 7), 1.0, 0.5, 0.25]}
                    for index, text in enumerate(body["input"])
                ]
                reply = json.dumps({"object": "list", "data": data}).encode()
                self.send_response(500 if endpoint.habit == "fail" else 200)
                self.send_header("content-length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/embeddings"


def test_an_embeddings_endpoint_embeds_and_on_its_failure_the_default_is_used(own_stack):
    endpoint = Endpoint()
    embedder = {"endpoint": {"url": endpoint.url, "model": "tiny", "dimensions": 4, "api_key_env": "TINY_KEY"}}
    stack = own_stack({**PAIR, "router": {"embedder": embedder}}, environment={"TINY_KEY": "tiny-secret"})
    assert endpoint.asked[0][0] == "Bearer tiny-secret" and endpoint.asked[0][1]["model"] == "tiny"
    assert ask(stack, "one", 5, model="pair")[0]["x-opentracy-routing"] == "decided"
    endpoint.habit = "fail"
    assert_reported(stack, assert_default(stack, "embedder_failed"), "embedder_failed")
    endpoint.habit = "hang"
    assert_reported(stack, assert_default(stack, "deadline"), "deadline")
    endpoint.habit = "answer"
    endpoint.release.set()
    wait_for(
        lambda: ask(stack, f"again {time.monotonic()}", 5, model="pair")[0]["x-opentracy-routing"] == "decided",
        "the recovery",
    )
