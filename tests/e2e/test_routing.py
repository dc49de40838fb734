"""`model="auto"`: the selected model and its explanation, packs, and learning from feedback."""

import concurrent.futures
import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import threading
import time
import urllib.request

import openai
import pytest
from support.stack import Stack, wait_for

EMBEDDER = {"OPENTRACY_EMBEDDER": os.environ.get("OPENTRACY_TEST_EMBEDDER", "")}
pytestmark = pytest.mark.skipif(not EMBEDDER["OPENTRACY_EMBEDDER"], reason="OPENTRACY_TEST_EMBEDDER is not set")

PROMPTS = [
    "What is the capital of Portugal?",
    "Prove that the square root of 2 is irrational.",
    "Write a Python function that reverses a linked list.",
    "A baker sells 12 rolls at 40 cents each. How much does she take in?",
    "Explain the mechanism of the Diels-Alder reaction.",
    "¿Qué hora es en Madrid cuando son las tres en Nueva York?",
    "Tell me a joke about penguins.",
    "Reply in exactly five words: why is the sky blue?",
    "According to the passage, who owned the red boat?",
    "Find the last two digits of 3 to the 2025th power.",
]
SMALL, LARGE = "demo/small", "demo/large"


@pytest.fixture(scope="module")
def routed(tmp_path_factory):
    stack = Stack(tmp_path_factory.mktemp("routing"), {}, environment=EMBEDDER).start()
    yield stack
    stack.stop()


def ask(stack, prompt, weight=None, model="auto"):
    headers = {} if weight is None else {"x-opentracy-cost-weight": str(weight)}
    status, headers, body = stack.post(
        {"model": model, "messages": [{"role": "user", "content": prompt}]}, headers=headers
    )
    assert status == 200, body
    return headers, body


def route(stack, origin=None, **question):
    status, _, body = stack.post(question, path="/v1/route", origin=origin)
    return status, body


def send(stack, path, body=b"", method="POST"):
    status, _, reply = stack.post(body, path=path, method=method, origin=stack.management)
    return status, reply


def fit(stack, outcomes, **query):
    pairs = "&".join(f"{name}={value}" for name, value in query.items())
    lines = "\n".join(json.dumps(outcome) for outcome in outcomes).encode()
    status, job = send(stack, f"/v1/router/fits?{pairs}", lines)
    assert status == 202, job

    def finished():
        state = stack.get(f"/v1/router/fits/{job['id']}", stack.management)
        return state["state"] != "running" and state

    job = wait_for(finished, "the fit", 60)
    assert job["state"] == "done", job
    return job["pack"]


def outcomes(wrong):
    """Returns outcomes for sums and poems; `wrong(model, topic)` is the error rate of a model."""
    animals = "cat dog owl fox bee ant cow hen pig elk".split()
    made = []
    for number in range(60):
        animal = animals[number % 10]
        for topic, prompt in (
            ("sums", f"What is {number + 13} plus {number * 7 + 5}?"),
            ("poems", f"Write poem number {number} about a {animal} in the rain."),
        ):
            made += [{"prompt": prompt, "model": model, "error": wrong(model, topic)} for model in (SMALL, LARGE)]
    return made


def test_ten_prompts_are_routed_and_say_why(routed):
    client = openai.OpenAI(base_url=routed.base_url, api_key="x", max_retries=0)
    clusters = set()
    for prompt in PROMPTS:
        answer = client.chat.completions.with_raw_response.create(
            model="auto", messages=[{"role": "user", "content": prompt}]
        )
        headers, body = answer.headers, answer.parse()
        decision = body._routing["decision"]
        assert headers["x-opentracy-routing"] == decision["outcome"] == "decided"
        assert headers["x-opentracy-selected-model"] in (SMALL, LARGE)
        assert headers["x-opentracy-selected-model"] in decision["reason"]
        assert 0 < float(headers["x-opentracy-expected-error"]) < 1
        assert float(headers["x-opentracy-routing-ms"]) > 0
        assert decision["score"] >= body._routing["expected_error"]
        clusters.add(headers["x-opentracy-cluster-id"])
        trace = routed.trace(headers["x-opentracy-trace-id"])
        assert trace["decision"]["outcome"] == "decided" and trace["decision"]["pack"] == decision["pack"]
        assert str(trace["cluster_id"]) == headers["x-opentracy-cluster-id"]
        assert trace["decision"]["embedding_ms"] > 0
    assert len(clusters) >= 6, "the prompts are about different topics"


def test_the_cost_weight_moves_the_choice(routed):
    def chosen(weight):
        return [ask(routed, prompt, weight)[0]["x-opentracy-selected-model"] for prompt in PROMPTS]

    assert set(chosen(0)) == {LARGE}, "the best model at any cost"
    assert set(chosen(2)) == {SMALL}, "the cheapest model at any quality"
    assert set(chosen(0.2)) == {SMALL, LARGE}, "the large model only if it is worth its cost"


@pytest.mark.parametrize("weight", ["-1", "nan", "much", "inf"])
def test_an_invalid_cost_weight_is_refused(routed, weight):
    status, _, body = routed.post(
        {"model": "auto", "messages": [{"role": "user", "content": "x"}]}, headers={"x-opentracy-cost-weight": weight}
    )
    assert status == 400 and "X-OpenTracy-Cost-Weight" in body["error"]["message"]


def test_the_same_prompt_again_is_decided_from_the_cache(routed):
    prompt = "Which sea lies between Italy and Croatia?"
    assert ask(routed, prompt)[0]["x-opentracy-routing"] == "decided"
    headers, _ = ask(routed, prompt)
    assert headers["x-opentracy-routing"] == "cached"
    assert routed.trace(headers["x-opentracy-trace-id"])["decision"]["embedding_ms"] == 0


def test_prompts_that_arrive_together_are_embedded_once(routed):
    prompt = "How many legs has a lobster, and why that many?"
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        words = list(pool.map(lambda _: ask(routed, prompt)[0]["x-opentracy-routing"], range(8)))
    assert sorted(words) == ["cached"] * 7 + ["decided"]


def test_a_named_model_is_not_routed(routed):
    headers, body = ask(routed, "Hello", model="demo/echo")
    assert "x-opentracy-routing" not in headers and "decision" not in body["_routing"]


def test_a_stream_and_other_apis_are_routed_too(routed):
    raw = routed.post_raw(
        {"model": "auto", "stream": True, "messages": [{"role": "user", "content": "Why is grass green?"}]}
    )
    assert b'"decision":{"outcome":' in raw
    status, headers, _ = routed.post(
        {"model": "auto", "max_tokens": 50, "messages": [{"role": "user", "content": "Why is grass green?"}]},
        path="/v1/messages",
    )
    assert (status, headers["x-opentracy-routing"]) == (200, "cached"), "the prompt is the same"


def test_the_gateway_and_the_control_plane_tell_the_same_decision(routed):
    question = {"prompt": PROMPTS[1], "cost_weight": 0.3}
    (status, one), (_, other) = route(routed, **question), route(routed, routed.management, **question)
    assert status == 200
    for body in (one, other):
        assert body.pop("routing_ms") >= 0
        body.pop("embedding_ms"), body.pop("cache_hit")
        # It depends on the traces of earlier calls, some of which still arrive.
        assert all(entry.pop("latency_share") <= 1 for entry in body["all_scores"])
    assert one == other
    assert one["selected_model"] == one["all_scores"][0]["model"]
    scores = [entry["score"] for entry in one["all_scores"]]
    assert scores == sorted(scores) and one["cost_adjusted_score"] == scores[0]
    assert abs(sum(entry["probability"] for entry in one["cluster_probabilities"]) - 1) < 1e-5
    assert one["cluster_probabilities"][0]["cluster_id"] == one["cluster_id"]


def test_messages_and_prompts_are_one_question(routed):
    _, one = route(routed, prompt=PROMPTS[0])
    _, other = route(routed, messages=[{"role": "user", "content": PROMPTS[0]}])
    assert other["cache_hit"] and one["cluster_id"] == other["cluster_id"]
    _, longer = route(
        routed, messages=[{"role": "system", "content": "You are a pirate."}, {"role": "user", "content": PROMPTS[0]}]
    )
    assert not longer["cache_hit"], "the system prompt is part of the question"


def test_a_batch_has_an_entry_for_each_question(routed):
    status, body = route(
        routed,
        cost_weight=0,
        batch=[
            {"prompt": PROMPTS[1]},
            {"prompt": ""},
            {"prompt": PROMPTS[1], "cost_weight": 5},
            {"embedding": [0.1] * 384},
            {"embedding": [1, 2]},
        ],
    )
    assert status == 200
    first, second, third, fourth, fifth = body["data"]
    assert (first["selected_model"], third["selected_model"]) == (LARGE, SMALL)
    assert second["error"]["message"].startswith("batch[1]: ")
    assert fourth["selected_model"] == LARGE
    assert "384" in fifth["error"]["message"]


def test_candidates_that_cannot_do_it_are_left_out(routed):
    candidates = ["openai/gpt-4.1", SMALL]
    status, body = route(routed, prompt="Hi", candidates=candidates)
    assert status == 200
    assert body["excluded"] == [{"model": "openai/gpt-4.1", "why": "its provider has no key"}]
    assert body["selected_model"] == SMALL


@pytest.mark.parametrize(
    "question, words",
    [
        ({}, "Send one of"),
        ({"prompt": "x", "messages": []}, "Send one of"),
        ({"prompt": "x", "cost_weight": -1}, "cost_weight"),
        ({"prompt": "x", "model": "nobody"}, "nobody"),
        ({"prompt": "x", "candidates": []}, "candidates"),
        ({"prompt": "x", "candidates": ["gpt"]}, "provider/model"),
        ({"messages": []}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"embedding": [0] * 384}, "embedding"),
        ({"batch": []}, "batch"),
        ({"batch": [{"prompt": "x"}], "prompt": "x"}, "batch"),
        ({"promt": "x"}, "promt"),
    ],
)
@pytest.mark.parametrize("side", ["origin", "management"])
def test_an_invalid_question_is_refused(routed, question, words, side):
    status, body = route(routed, getattr(routed, side), **question)
    assert status == 400 and words in body["error"]["message"], body


def test_the_first_pack_is_a_prior_with_its_sources(routed):
    packs = routed.get("/v1/router/packs", routed.management)["data"]
    prior = next(pack for pack in packs if pack["kind"] == "prior")
    assert len(prior["models"]) > 20
    assert all(model["source"] and model["date"] for model in prior["models"])
    assert routed.get("/health", routed.management)["router_initialized"]


def test_outcomes_make_a_better_pack(own_routed):
    stack = own_routed()
    before = stack.get("/v1/router", stack.management)["pack"]["version"]
    # The small model writes poems and can't add; the large one adds and can't write poems.
    version = fit(
        stack, outcomes(lambda model, topic: float((model == SMALL) == (topic == "sums"))), description="topics"
    )
    status = stack.get("/v1/router", stack.management)
    assert status["pack"]["version"] == version != before
    assert (status["pack"]["kind"], status["pack"]["description"]) == ("fitted", "topics")
    assert all(model["calibration"]["expected_calibration_error"] < 0.2 for model in status["pack"]["models"])
    for prompt, expected in [("What is 31 plus 442?", LARGE), ("Write a poem about a horse in the rain.", SMALL)]:
        headers, body = ask(stack, prompt, 0)
        assert headers["x-opentracy-selected-model"] == expected, body["_routing"]
        assert body["_routing"]["decision"]["pack"] == version

    # A new model needs only its own outcomes.
    added = fit(
        stack,
        [{**outcome, "model": "demo/echo", "error": 0.0} for outcome in outcomes(lambda *_: 0)],
        keep_clusters="true",
    )
    models = stack.get("/v1/router", stack.management)["pack"]["models"]
    assert [model["model"] for model in models] == ["demo/echo", LARGE, SMALL]
    _, body = route(stack, prompt="What is 31 plus 442?", cost_weight=0, candidates=[SMALL, LARGE, "demo/echo"])
    assert body["selected_model"] == "demo/echo" and body["pack"] == added

    # Rolls back twice, and the result survives a restart.
    for expected in (version, before):
        assert send(stack, "/v1/router/rollback")[1]["pack"]["version"] == expected
    assert send(stack, "/v1/router/rollback")[0] == 409
    stack.kill_control_plane()
    stack.start_control_plane()
    wait_for(lambda: stack.get("/v1/router", stack.management, default=None), "the restart")
    assert stack.get("/v1/router", stack.management)["pack"]["version"] == before
    actions = [entry["action"] for entry in stack.get("/v1/audit", stack.management)["data"]]
    assert actions.count("roll back router pack") == 2


def test_feedback_moves_the_estimate_at_once_and_outlives_a_restart(own_routed):
    stack = own_routed()
    prompt = "What is the capital of Portugal?"

    def expected():
        _, body = route(stack, prompt=prompt, candidates=[SMALL])
        return body["expected_error"]

    before = expected()
    for _ in range(12):
        headers, _ = ask(stack, prompt, 5)
        trace_id = headers["x-opentracy-trace-id"]
        stack.trace(trace_id)
        status, body = send(stack, "/v1/feedback", {"trace_id": trace_id, "thumbs": "down"})
        assert (status, body) == (200, {"learned": True})
    after = wait_for(lambda: (now := expected()) > before + 0.02 and now, "the estimate to move")
    stack.kill_control_plane()
    stack.start_control_plane()
    wait_for(
        lambda: stack.get("/health", stack.management, default=None) and expected() > before + 0.02,
        "the learned estimate after the restart",
    )
    assert abs(expected() - after) < 0.05


@pytest.mark.parametrize(
    "verdict, status, words",
    [
        ({"trace_id": "0190a0a0-0000-7000-8000-000000000000", "thumbs": "up"}, 404, "Unknown trace"),
        ({"trace_id": "x", "thumbs": "up"}, 400, "trace_id"),
        ({"trace_id": "0190a0a0-0000-7000-8000-000000000000", "score": 2}, 400, "score"),
        ({"trace_id": "0190a0a0-0000-7000-8000-000000000000", "score": 1, "thumbs": "up"}, 400, "thumbs"),
    ],
)
def test_invalid_feedback_is_refused(routed, verdict, status, words):
    found, body = send(routed, "/v1/feedback", verdict)
    assert found == status and words in body["error"]["message"]


def test_a_replay_shows_the_selections_of_other_settings(own_routed):
    stack = own_routed()
    for prompt in PROMPTS:
        headers, _ = ask(stack, prompt, 0)
    stack.trace(headers["x-opentracy-trace-id"])
    wait_for(lambda: len(stack.traces()) == len(PROMPTS), "the traces")
    status, same = send(stack, "/v1/router/replay?cost_weight=0")
    assert (status, same["calls"], same["changed"]) == (200, 10, 0)
    assert same["replayed_cost"] == pytest.approx(same["actual_cost"]) and same["actual_cost"] > 0
    _, cheap = send(stack, "/v1/router/replay?cost_weight=5&alias=auto")
    assert (cheap["chosen"], cheap["changed"]) == ({SMALL: 10}, 10)
    assert cheap["replayed_cost"] < same["replayed_cost"] and cheap["replayed_error"] > same["replayed_error"]
    assert send(stack, "/v1/router/replay?calls=0")[0] == 400
    assert send(stack, "/v1/router/replay?pack=000000000000")[0] == 404


def test_the_command_line_fits_imports_and_chooses(own_routed, tmp_path):
    stack = own_routed()
    lines = tmp_path / "outcomes.jsonl"
    lines.write_text("\n".join(json.dumps(outcome) for outcome in outcomes(lambda model, _: float(model == SMALL))))

    def opentracy(*arguments):
        command = [os.environ["OPENTRACY_BIN"], "router", *arguments, "--config", str(stack.config_path)]
        environment = {"PATH": os.environ["PATH"], "HOME": str(stack.folder), **EMBEDDER}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        return done.returncode, done.stdout + done.stderr

    code, said = opentracy("fit", "--outcomes", str(lines), "--out", str(tmp_path / "pack"))
    assert code == 0, said
    assert opentracy("import", str(tmp_path / "pack"))[0] == 0
    version = re.search(r"^([0-9a-f]{12})  fitted", opentracy("list")[1], re.M).group(1)
    assert send(stack, f"/v1/router/packs/{version}/activate")[0] == 200
    assert ask(stack, "Hello", 0)[0]["x-opentracy-selected-model"] == LARGE
    lines.write_text('{"prompt": "x", "model": "m"}\n')
    code, said = opentracy("fit", "--outcomes", str(lines))
    assert code == 1 and "outcomes.jsonl:1" in said and "error" in said
    assert opentracy("activate", "nothing")[0] == 1


def test_another_routers_pack_is_imported(own_routed, tmp_path):
    np = pytest.importorskip("numpy")
    stack = own_routed()
    folder = tmp_path / "theirs"
    folder.mkdir()
    np.savez(folder / "clusters.npz", cluster_centers=np.random.default_rng(1).normal(size=(8, 384)))
    for model, error in ((SMALL, 0.1), (LARGE, 0.4)):
        (folder / f"{model.replace('/', '-')}.json").write_text(json.dumps({"model_id": model, "psi": [error] * 8}))
    command = [os.environ["OPENTRACY_BIN"], "router", "import", str(folder), "--config", str(stack.config_path)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(stack.folder), **EMBEDDER}
    version = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.split()[0]
    assert send(stack, f"/v1/router/packs/{version}/activate")[0] == 200
    headers, _ = ask(stack, "Hello", 0)
    assert headers["x-opentracy-selected-model"] == SMALL and float(
        headers["x-opentracy-expected-error"]
    ) == pytest.approx(0.1)


def test_packs_are_swapped_under_load_without_a_failed_or_a_mixed_answer(own_routed):
    stack = own_routed()
    # In one pack the large model is always right, in the other one the small model.
    favorites = {
        fit(stack, outcomes(lambda model, _, wrong=wrong: float(model == wrong)), description=wrong): right
        for wrong, right in ((SMALL, LARGE), (LARGE, SMALL))
    }
    versions = list(favorites)
    stop = threading.Event()
    swaps = 0

    def load(worker):
        seen = []
        number = 0
        while not stop.is_set():
            number += 1
            headers, body = ask(stack, f"{PROMPTS[number % 10]} ({worker}, {number % 40})", 0)
            seen.append((body["_routing"]["decision"]["pack"], headers["x-opentracy-selected-model"]))
        return seen

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        loads = [pool.submit(load, worker) for worker in range(6)]
        deadline = time.monotonic() + float(os.environ.get("OPENTRACY_TEST_SOAK_SECONDS", "8"))
        while time.monotonic() < deadline:
            assert send(stack, f"/v1/router/packs/{versions[swaps % 2]}/activate")[0] == 200
            swaps += 1
            time.sleep(0.02)
        stop.set()
        seen = [answer for each in loads for answer in each.result()]
    assert swaps > 20 and {pack for pack, _ in seen} == set(versions)
    mixed = [answer for answer in seen if favorites[answer[0]] != answer[1]]
    assert not mixed, mixed[:5]
    print(f"{len(seen)} answers, {swaps} swaps, 0 failed, 0 mixed")


# Failures


@pytest.fixture
def own_routed(own_stack):
    return lambda config=None, **options: own_stack(
        config or {"providers": {}}, environment={**EMBEDDER, **options.pop("environment", {})}, **options
    )


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
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                endpoint.asked.append((self.headers["authorization"], body))
                if endpoint.habit == "hang":
                    time.sleep(3)
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
    started = time.monotonic()
    assert_reported(stack, assert_default(stack, "deadline"), "deadline")
    assert time.monotonic() - started < 2.5, "the call does not wait for the embedder"
    endpoint.habit = "answer"
    wait_for(
        lambda: ask(stack, f"again {time.monotonic()}", 5, model="pair")[0]["x-opentracy-routing"] == "decided",
        "the recovery",
    )


def test_traffic_unlike_the_packs_is_shown(own_routed):
    stack = own_routed()
    fit(stack, outcomes(lambda *_: 0.0))
    batch = [
        {"prompt": f"Die Verfassung Nr. {number} des Landes regelt §{number} der Grundsteuer."} for number in range(120)
    ]
    status, _ = route(stack, batch=batch)
    assert status == 200
    assert stack.get("/v1/router", stack.management)["far_prompts_ratio"] > 0.5
    assert "fit a new pack" in stack.log("control-plane")
