"""Packs of the router: fits, imports and swaps, and what feedback and replays tell."""

import concurrent.futures
import json
import os
import re
import subprocess
import threading
import time

import pytest
from support.routing import EMBEDDER, LARGE, PROMPTS, SMALL, ask, fit, outcomes, route, send
from support.stack import wait_for

pytestmark = pytest.mark.skipif(not EMBEDDER["OPENTRACY_EMBEDDER"], reason="OPENTRACY_TEST_EMBEDDER is not set")


@pytest.fixture
def own_routed(own_stack):
    return lambda config=None, **options: own_stack(
        config or {"providers": {}}, environment={**EMBEDDER, **options.pop("environment", {})}, **options
    )


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
