"""Limits of keys, aliases and models, across all workers of Envoy and across several Envoys."""

import asyncio
import collections
import concurrent.futures
import select
import socket
import threading
import time

import openai
import pytest
from support.providers import answer
from support.requests import HELLO
from support.stack import Stack, free_port, wait_for

LIMITS = {
    "sixty": {"requests_per_minute": 60},
    "few": {"requests_per_minute": 3},
    "tokens": {"tokens_per_minute": 1000},
    "two-at-once": {"concurrent_requests": 2},
    "shared": {"requests_per_minute": 100},
    "free": {},
}
# If the minute changes during a check, the check is repeated with one of these names, which has
# used nothing in that minute.
LIMITS |= {f"{name}-again": LIMITS[name] for name in ("sixty", "few", "tokens", "shared")}


@pytest.fixture(scope="module")
def limited(session_world, filter_form, tmp_path_factory):
    session_world.reset()
    config = session_world.config()
    config["keys"] = {
        name: {"key_env": f"KEY_{name.upper().replace('-', '_')}", "limits": limits} for name, limits in LIMITS.items()
    }
    config["keys"]["root"] = {"key_env": "KEY_ROOT", "role": "admin"}
    config["aliases"] |= {
        "narrow": {"candidates": ["openai/gpt-4o-mini"], "limits": {"requests_per_minute": 2}},
        "narrow-again": {"candidates": ["openai/gpt-4o-mini"], "limits": {"requests_per_minute": 2}},
        "spill": {"candidates": ["openai/gpt-4o", "second/large"]},
        "spill-again": {"candidates": ["openai/gpt-4.1", "second/large"]},
    }
    config["limits"] = {"models": {model: {"requests_per_minute": 2} for model in ("openai/gpt-4o", "openai/gpt-4.1")}}
    environment = {f"KEY_{name.upper().replace('-', '_')}": name for name in [*LIMITS, "root"]}
    stack = Stack(tmp_path_factory.mktemp("limits"), config, environment=environment).start()
    yield stack
    stack.stop()


def ask(stack, key, model="openai/gpt-4o-mini", **more):
    body = {"model": model, "messages": HELLO, **more}
    return stack.post(body, headers={"authorization": f"Bearer {key}"})


def within_a_minute(check, name):
    """Runs a check, and repeats it with an unused name if it failed while the minute changed."""
    minute = time.time() // 60
    try:
        check(name)
    except (AssertionError, pytest.fail.Exception):
        if time.time() // 60 == minute:
            raise
        check(f"{name}-again")


def burst(stack, key, clients, each, origins=None):
    """Sends requests from several clients at once. Returns the number of answers by status."""
    origins = origins or [stack.origin]
    body = {"model": "openai/gpt-4o-mini", "messages": HELLO}

    def client(number):
        origin = origins[number % len(origins)]
        return [stack.post(body, headers={"authorization": f"Bearer {key}"}, origin=origin) for _ in range(each)]

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        replies = [reply for replies in pool.map(client, range(clients)) for reply in replies]
    return collections.Counter(reply[0] for reply in replies), replies


@pytest.mark.timeout(90)
def test_a_hundred_clients_get_exactly_what_a_key_is_good_for_in_a_minute(limited, world):
    def check(key):
        before = len(world.openai.requests)
        counts, replies = burst(limited, key, clients=100, each=3)
        print(f"300 calls of 100 clients within a limit of 60: {dict(counts)}")
        assert set(counts) == {200, 429}
        assert abs(counts[200] - 60) <= 60 * 0.02
        assert len(world.openai.requests) - before == counts[200], "only granted calls reach the provider"
        waits = [int(headers["retry-after"]) for status, headers, _ in replies if status == 429]
        assert all(1 <= wait <= 60 for wait in waits)

    within_a_minute(check, "sixty")


def test_headers_show_the_state_of_a_limit(limited, world, hello):
    def check(key):
        client = openai.OpenAI(base_url=limited.base_url, api_key=key, max_retries=0)
        left = []
        for _ in range(3):
            raw = client.chat.completions.with_raw_response.create(model="openai/gpt-4o-mini", messages=hello)
            assert raw.headers["x-ratelimit-limit-requests"] == "3"
            left.append(int(raw.headers["x-ratelimit-remaining-requests"]))
            assert raw.headers["x-ratelimit-reset-requests"].endswith("ms")
        assert left == [2, 1, 0]
        with pytest.raises(openai.RateLimitError) as raised:
            client.chat.completions.create(model="openai/gpt-4o-mini", messages=hello)
        assert raised.value.code == "rate_limit_exceeded" and f'key "{key}"' in raised.value.message
        assert raised.value.response.headers["x-ratelimit-remaining-requests"] == "0"

    within_a_minute(check, "few")
    assert "x-ratelimit-limit-requests" not in ask(limited, "free")[1]
    name = f"{limited.filter.metrics_prefix}.opentracy.gateway.limited.rate_limit_exceeded"
    wait_for(lambda: limited.stats("limited").get(name, 0) >= 1, "the count")


def test_tokens_are_estimated_first_and_counted_then(limited, world):
    def check(key):
        # Each call is estimated at more than 400 tokens and uses 30. The rest is returned a moment
        # after the client has its answer.
        for _ in range(20):
            wait_for(lambda: ask(limited, key, max_tokens=400)[0] == 200, "a call within the limit")
        _, headers, _ = ask(limited, key, max_tokens=10)
        assert int(headers["x-ratelimit-remaining-tokens"]) <= 1000 - 20 * 30
        # In the end only the tokens that were used count.
        statuses = [ask(limited, key, max_tokens=1)[0] for _ in range(20)]
        assert 429 in statuses, "1000 tokens allow 33 calls of 30"

    within_a_minute(check, "tokens")


def slowly(release):
    async def behavior(provider, request, writer):
        while not release.is_set():
            await asyncio.sleep(0.01)
        await answer(text="at last")(provider, request, writer)

    return behavior


def test_only_so_many_requests_are_under_way_at_once(limited, world):
    release = threading.Event()
    world.openai.habit = slowly(release)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        first = [pool.submit(ask, limited, "two-at-once") for _ in range(2)]
        wait_for(lambda: len(world.openai.requests) == 2, "two requests under way")
        more = [pool.submit(ask, limited, "two-at-once").result() for _ in range(3)]
        release.set()
        assert [future.result()[0] for future in first] == [200, 200]
    for status, headers, reply in more:
        assert (status, reply["error"]["code"]) == (429, "concurrency_limit_exceeded")
        assert headers["retry-after"] == "1"
    wait_for(lambda: ask(limited, "two-at-once")[0] == 200, "a free slot")


def test_slots_come_back_when_clients_leave(limited, world):
    release = threading.Event()
    world.openai.habit = slowly(release)
    body = b'{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"x"}]}'
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer two-at-once\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    ) + body

    def two_under_way():
        seen = len(world.openai.requests)
        sockets = [socket.create_connection(("127.0.0.1", limited.ports["gateway"])) for _ in range(2)]
        for each in sockets:
            each.sendall(request)
        wait_for(lambda: len(world.openai.requests) == seen + 2 or select.select(sockets, [], [], 0)[0], "both")
        if len(world.openai.requests) == seen + 2:
            return sockets
        # A worker still held the slot of a call that has just ended, so one request was refused.
        for each in sockets:
            each.close()
        return None

    for _ in range(3):
        sockets = wait_for(two_under_way, "two requests under way")
        for each in sockets:
            each.close()
        time.sleep(0.5)
    release.set()
    wait_for(lambda: ask(limited, "two-at-once")[0] == 200, "a free slot")


def test_an_alias_has_a_limit_whoever_asks(limited, world):
    def check(alias):
        statuses = [ask(limited, key, alias)[0] for key in ("free", "root", "free")]
        assert statuses == [200, 200, 429]
        assert f'alias "{alias}"' in ask(limited, "free", alias)[2]["error"]["message"]

    within_a_minute(check, "narrow")


def test_a_model_at_its_limit_gives_way_to_the_next(limited, world):
    def check(alias):
        models = [ask(limited, "free", alias)[1]["x-opentracy-selected-model"] for _ in range(4)]
        first = "openai/gpt-4o" if alias == "spill" else "openai/gpt-4.1"
        assert models == [first, first, "second/large", "second/large"]
        status, _, reply = ask(limited, "free", first)
        assert status == 429 and f'model "{first}"' in reply["error"]["message"]

    within_a_minute(check, "spill")


@pytest.mark.timeout(120)
def test_limits_are_of_all_envoys_together(limited, world, tmp_path):
    """Starts a second Envoy with the same control plane."""
    other = dict(limited.ports, gateway=free_port(), admin=free_port())
    text = (limited.folder / "envoy.yaml").read_text()
    for name in ("gateway", "admin"):
        text = text.replace(f"port_value: {limited.ports[name]}", f"port_value: {other[name]}")
    (tmp_path / "envoy.yaml").write_text(text)
    second = Stack(tmp_path, {})
    second.ports = other
    command = [
        second._envoy_binary,
        "-c",
        str(tmp_path / "envoy.yaml"),
        "--concurrency",
        "2",
        "--use-dynamic-base-id",
        "--log-level",
        "warning",
    ]
    second.envoy = second._spawn("envoy", command)
    try:
        wait_for(lambda: all(second.get("/health", default=None) for _ in range(20)), "the second Envoy's start")

        def check(key):
            counts, _ = burst(limited, key, clients=40, each=5, origins=[limited.origin, second.origin])
            print(f"200 calls at two Envoys within a limit of 100: {dict(counts)}")
            assert 98 <= counts[200] <= 100, counts

        within_a_minute(check, "shared")
    finally:
        second.stop()


@pytest.mark.parametrize("policy", ["share", "refuse"])
def test_without_the_control_plane_limits_are_as_configured(own_stack, world, policy):
    config = world.config()
    config["keys"] = {"few": {"key_env": "KEY_FEW", "limits": {"requests_per_minute": 40}}}
    config["limits"] = {"without_control_plane": policy}
    stack = own_stack(config, environment={"KEY_FEW": "few"})
    assert ask(stack, "few")[0] == 200
    stack.kill_control_plane()
    counts, replies = burst(stack, "few", clients=10, each=10)
    if policy == "refuse":
        assert counts[200] <= 10, "only earlier leases are used"
        errors = {reply["error"]["code"] for status, _, reply in replies if status == 503}
        assert errors == {"limits_unavailable"}
    else:
        # Each worker enforces its share of the limit.
        assert set(counts) == {200, 429}
        assert 10 <= counts[200] <= 42, counts


def test_a_request_that_is_too_long_goes_where_it_fits_or_nowhere(stack, world):
    long = [{"role": "user", "content": "word " * 150_000}]
    status, headers, _ = stack.post({"model": "google", "messages": long})
    assert (status, headers["x-opentracy-selected-model"]) == (200, "gemini/gemini-2.5-pro")
    chain = {"model": "twice", "messages": [{"role": "user", "content": "word " * 400_000}]}
    status, _, reply = stack.post(chain)
    assert (status, reply["error"]["code"], reply["error"]["param"]) == (400, "context_length_exceeded", "messages")
    assert not world.openai.requests
