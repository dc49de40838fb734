"""Availability of an alias: circuit breakers, strategies, key rotation, hedging and caching."""

import asyncio
import collections
import concurrent.futures
import json
import random
import time

import pytest
from support.providers import answer, hang, status as fail
from support.requests import HELLO
from support.stack import wait_for

CANDIDATES = ["openai/gpt-4o-mini", "second/large", "anthropic/claude-sonnet-4-6"]
QUICK = {"enabled": True, "consecutive_failures": 3, "open_for": "1s", "max_open_for": "4s"}


def ask(stack, model, content="Hello!", **more):
    headers = more.pop("headers", {})
    body = {"model": model, "messages": [{"role": "user", "content": content}], **more}
    return stack.post(body, headers=headers)


def selected(stack, model, count, **more):
    return [ask(stack, model, **more)[1].get("x-opentracy-selected-model") for _ in range(count)]


@pytest.fixture
def resilient(own_stack, world):
    config = world.config(circuit_breaker=QUICK)
    config["aliases"] |= {
        "pair": {"candidates": CANDIDATES[:2]},
        "three": {"candidates": CANDIDATES, "retries": 2, "per_try_timeout": "2s"},
        "turns": {"candidates": CANDIDATES, "route": "round_robin"},
        "shares": {"candidates": CANDIDATES[:2], "route": "weighted", "weights": {"second/large": 3}},
        "quickest": {"candidates": CANDIDATES[:2], "route": "lowest_latency"},
        "cheapest": {"candidates": ["anthropic/claude-sonnet-4-6", "openai/gpt-4o-mini"], "route": "lowest_cost"},
        "sticky": {"candidates": CANDIDATES, "route": "sticky"},
        "hedged": {"candidates": CANDIDATES[:2], "hedge_after": "300ms"},
        "kept": {"candidates": CANDIDATES, "cache": {"ttl": "2s"}},
        "many-keys": {"candidates": ["keyed/large"]},
    }
    config["providers"]["keyed"] = {
        "format": "openai",
        "base_url": f"{world.second.origin}/v1",
        "api_key_env": "KEYED_1",
        "more_api_key_envs": ["KEYED_2", "KEYED_3"],
    }
    return own_stack(config, environment={f"KEYED_{number}": f"key-{number}" for number in (1, 2, 3)})


def breaker(stack, model):
    return stack.get("/statsz", stack.management)["model_circuit_breakers"].get(model, {}).get("state")


def test_a_circuit_breaker_opens_and_closes(resilient, world):
    world.openai.habit = fail(503)
    for _ in range(6):
        assert ask(resilient, "pair")[0] == 200
    asked = len(world.openai.requests)
    assert asked <= 4, "no calls after three failures"
    wait_for(lambda: breaker(resilient, "openai/gpt-4o-mini") == "open", "the state in /statsz")
    metrics = resilient.post_raw(None, method="GET", path="/metrics", origin=resilient.management).decode()
    assert (
        'opentracy_circuit_breaker_state{gen_ai_provider_name="openai",gen_ai_response_model="gpt-4o-mini"}' in metrics
    )
    # A model that is called by name has no failover, and the client gets a `retry-after` header.
    status, headers, reply = ask(resilient, "openai/gpt-4o-mini")
    if reply["error"]["code"] == "circuit_open":
        assert status == 503 and int(headers["retry-after"]) >= 1
    # One request at a time probes the candidate. The others are not affected while it fails.
    time.sleep(1.1)
    assert {ask(resilient, "pair")[0] for _ in range(5)} == {200}
    world.openai.habit = None

    def is_back():
        return ask(resilient, "pair")[1]["x-opentracy-selected-model"] == "openai/gpt-4o-mini"

    wait_for(is_back, "the recovery of the first candidate")
    wait_for(lambda: breaker(resilient, "openai/gpt-4o-mini") == "closed", "the state in /statsz")


def test_made_up_models_leave_the_breaker_to_those_of_the_configuration(own_stack, world):
    stack = own_stack(world.config(circuit_breaker=QUICK), concurrency=1)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = pool.map(lambda number: ask(stack, f"second/made-up-{number}")[0], range(600))
        assert set(asked) == {200}
    world.openai.habit = fail(503)
    codes = [ask(stack, "openai/gpt-4o-mini")[2]["error"]["code"] for _ in range(6)]
    assert codes[-1] == "circuit_open"
    wait_for(lambda: breaker(stack, "openai/gpt-4o-mini") == "open", "the state in /statsz")
    assert len(stack.get("/statsz", stack.management)["model_circuit_breakers"]) <= 500


def test_what_the_client_did_wrong_opens_nothing(resilient, world):
    world.openai.habit = fail(400)
    for _ in range(6):
        assert ask(resilient, "openai/gpt-4o-mini")[0] == 400
    world.openai.habit = None
    assert ask(resilient, "openai/gpt-4o-mini")[0] == 200


def test_a_provider_that_asks_for_patience_is_passed_over(resilient, world):
    world.openai.script.append(fail(429, headers={"retry-after": "2"}))
    assert ask(resilient, "pair")[1]["x-opentracy-selected-model"] == "second/large"
    assert set(selected(resilient, "pair", 5)) == {"second/large"}
    assert len(world.openai.requests) == 1
    wait_for(
        lambda: ask(resilient, "pair")[1]["x-opentracy-selected-model"] == "openai/gpt-4o-mini",
        "the recovery of the provider",
        5,
    )


def test_chaos(resilient, world):
    """Providers fail in 30% of the calls, are slow or disconnect, and the alias still answers."""
    numbers = random.Random(7)

    async def unreliable(provider, request, writer):
        draw = numbers.random()
        if draw < 0.2:
            await fail(numbers.choice([500, 503, 429]))(provider, request, writer)
        elif draw < 0.3:
            writer.reset()
        else:
            if draw < 0.35:
                await asyncio.sleep(0.3)
            await answer(text="It went well.")(provider, request, writer)

    for provider in (world.openai, world.second, world.anthropic):
        provider.habit = unreliable
    opened = set()

    def one(number):
        status = ask(resilient, "three", f"call {number}", stream=False)[0]
        return status

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = []
        for _ in range(10):
            statuses += pool.map(one, range(100))
            states = resilient.get("/statsz", resilient.management)["model_circuit_breakers"]
            opened |= {model for model, breaker in states.items() if breaker["opened"]}
    counts = collections.Counter(statuses)
    print(f"1000 calls through chaos: {dict(counts)}; circuit breakers that opened: {sorted(opened)}")
    assert counts[200] >= 999
    assert opened


# Strategies


def test_each_candidate_has_its_turn(resilient, world):
    # Each worker of Envoy has its own rotation.
    counts = collections.Counter(selected(resilient, "turns", 30))
    assert set(counts) == set(CANDIDATES) and min(counts.values()) >= 8


def test_shares_are_as_weighted(resilient, world):
    counts = collections.Counter(selected(resilient, "shares", 120))
    assert 60 <= counts["second/large"] <= 110 and counts["openai/gpt-4o-mini"] >= 10


def test_the_quickest_is_asked(resilient, world):
    async def slow(provider, request, writer):
        await asyncio.sleep(0.15)
        await answer(text="slowly")(provider, request, writer)

    world.openai.habit = slow
    selected(resilient, "quickest", 4)
    assert set(selected(resilient, "quickest", 6)) == {"second/large"}


def test_the_cheapest_is_asked(resilient, world):
    assert set(selected(resilient, "cheapest", 3)) == {"openai/gpt-4o-mini"}


def test_a_session_stays_with_its_provider(resilient, world):
    seen = set()
    for number in range(12):
        models = set(selected(resilient, "sticky", 3, user=f"user-{number}"))
        assert len(models) == 1, "a user keeps one provider"
        seen |= models
    assert len(seen) >= 2, "users spread over the providers"


# Keys


def test_a_providers_keys_take_turns_and_a_refused_one_rests(resilient, world):
    for _ in range(12):
        assert ask(resilient, "many-keys")[0] == 200
    used = collections.Counter(request.headers["authorization"] for request in world.second.requests)
    assert set(used) == {"Bearer key-1", "Bearer key-2", "Bearer key-3"}

    async def refuses_one(provider, request, writer):
        if request.headers["authorization"] == "Bearer key-2":
            await fail(401)(provider, request, writer)
        else:
            await answer(text="ok")(provider, request, writer)

    world.second.requests.clear()
    world.second.habit = refuses_one
    for _ in range(20):
        assert ask(resilient, "many-keys")[0] == 200
    refused = [request for request in world.second.requests if request.headers["authorization"] == "Bearer key-2"]
    assert 1 <= len(refused) <= 2, "one call per worker of Envoy"


# Hedging


@pytest.mark.parametrize("stream", [False, True])
def test_a_slow_start_also_calls_the_next_candidate(resilient, world, stream):
    world.openai.habit = hang
    body = {"model": "hedged", "messages": HELLO, "stream": stream}
    with resilient._open(body) as reply:
        text = reply.read().decode()
        headers = reply.headers
    assert reply.status == 200 and "mock" in text, text
    assert headers["x-opentracy-selected-model"] == "second/large"
    wait_for(lambda: world.openai.requests[0].canceled.is_set(), "the cancellation of the slow call")
    world.openai.habit = None
    assert ask(resilient, "hedged")[1]["x-opentracy-selected-model"] == "openai/gpt-4o-mini"


# Caching


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_given_again(resilient, world, stream):
    content = f"a question {stream}"

    def once(**headers):
        body = {"model": "kept", "messages": [{"role": "user", "content": content}], "stream": stream}
        with resilient._open(body, headers=headers) as reply:
            return reply.headers, reply.read().decode()

    headers, first = once()
    assert headers["x-opentracy-cache"] == "miss"
    headers, again = once()
    assert headers["x-opentracy-cache"] == "hit"
    assert headers["x-opentracy-selected-model"] == "openai/gpt-4o-mini"
    assert len(world.openai.requests) == 1
    if stream:
        words = lambda text: [
            json.loads(line[6:])["choices"][0]["delta"].get("content")
            for line in text.splitlines()
            if line.startswith("data: {") and json.loads(line[6:])["choices"]
        ]
        assert words(first) == words(again) and again.endswith("data: [DONE]\n\n")
    else:
        first, again = json.loads(first), json.loads(again)
        assert first["choices"] == again["choices"]
        assert again["_cost"] == 0 and first["_cost"] > 0
        assert first["_routing"]["trace_id"] != again["_routing"]["trace_id"]
    trace = resilient.trace(headers["x-opentracy-trace-id"], attempts=0)
    assert trace["status"] == 200 and trace["cost"]["total"] == 0
    # A client can request a fresh answer, and cached answers expire.
    assert "x-opentracy-cache" not in once(**{"x-opentracy-cache": "no-cache"})[0]
    time.sleep(2.1)
    assert once()[0]["x-opentracy-cache"] == "miss"


def test_an_error_is_not_kept(resilient, world):
    for provider in (world.openai, world.second, world.anthropic):
        provider.script.append(fail(400))
    assert ask(resilient, "kept", "fails")[0] == 400
    assert ask(resilient, "kept", "fails")[1]["x-opentracy-cache"] == "miss"
