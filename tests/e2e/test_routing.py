"""`model="auto"`: the selected model and its explanation."""

import concurrent.futures

import openai
import pytest
from support.routing import EMBEDDER, LARGE, PROMPTS, SMALL, ask, route, send
from support.stack import Stack

pytestmark = pytest.mark.skipif(not EMBEDDER["OPENTRACY_EMBEDDER"], reason="OPENTRACY_TEST_EMBEDDER is not set")


@pytest.fixture(scope="module")
def routed(tmp_path_factory):
    stack = Stack(tmp_path_factory.mktemp("routing"), {}, environment=EMBEDDER).start()
    yield stack
    stack.stop()


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
