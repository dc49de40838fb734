"""The memory of a VM is limited: many large streams and requests on one worker don't crash it."""

import asyncio
import concurrent.futures
import json
import threading
import urllib.request

import pytest
from support import providers as mock
from support.requests import HELLO
from support.stack import wait_for

STREAMS = 700
WORDS = "word " * 3200
EVENTS_EACH = 70


async def wait_until_set(event):
    """Polls, because one thread per stream would be too many."""
    while not event.is_set():
        await asyncio.sleep(0.02)


def in_two_halves(everybody_is_here):
    """Streams 1.1 MB, and sends the second half when all streams have begun."""

    async def behave(provider, request, writer):
        await writer.begin_stream()
        events = list(provider.events(request, "hello", ()))
        index = next(index for index, event in enumerate(events) if b"hello" in event)
        large = events[index].replace(b"hello ", WORDS.encode())
        for event in events[: index + 1]:
            await writer.send(event)
        for number in range(EVENTS_EACH):
            if number == EVENTS_EACH // 2:
                await wait_until_set(everybody_is_here)
            await writer.send(large)
        for event in events[index + 1 :]:
            await writer.send(event)
        await writer.end()

    return behave


async def read_stream(port, body, begun):
    """Returns the length of a streamed answer, and true if it is complete."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    length, tail, is_first = 0, b"", True
    while piece := await reader.read(1 << 20):
        if is_first:
            is_first = False
            begun()
        length += len(piece)
        tail = (tail + piece)[-200:]
    writer.close()
    return length, b"[DONE]" in tail


@pytest.mark.timeout(300)
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_many_large_streams_on_one_worker_come_to_their_end(own_stack, world, provider):
    stack = own_stack(concurrency=1)
    everybody_is_here = threading.Event()
    getattr(world, provider).habit = in_two_halves(everybody_is_here)
    model = {"openai": "openai/gpt-4o-mini", "anthropic": "anthropic/claude-sonnet-4-6"}[provider]
    body = json.dumps({"model": model, "messages": HELLO, "stream": True, "metadata": {"test": "large"}}).encode()
    begun = 0

    def begin():
        nonlocal begun
        begun += 1
        if begun == STREAMS:
            everybody_is_here.set()

    async def read_all():
        return await asyncio.gather(*(read_stream(stack.ports["gateway"], body, begin) for _ in range(STREAMS)))

    results = asyncio.run(read_all())
    assert all(is_whole for _, is_whole in results)
    assert min(length for length, _ in results) > 1_000_000

    wait_for(lambda: len(outcomes(stack)) == STREAMS, "all traces", 200)
    assert set(outcomes(stack)) == {"completed"}


def outcomes(stack):
    """Returns the outcomes of all traces of the test."""
    outcomes, cursor = [], ""
    while cursor is not None:
        page = stack.get(f"/v1/traces?metadata.test=large&limit=500{cursor and '&cursor=' + cursor}", stack.management)
        outcomes += [trace["outcome"] for trace in page["data"]]
        cursor = page["next_cursor"]
    return outcomes


def memory(stack):
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.ports['metrics']}/stats/prometheus") as reply:
        lines = reply.read().decode().splitlines()
    return next(int(line.split()[-1]) for line in lines if line.startswith("opentracy_vm_memory_bytes"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("place", ["direct", "planned"])
def test_bodies_are_refused_before_the_memory_is_gone(own_stack, world, place):
    config = world.config(circuit_breaker={"enabled": True, "consecutive_failures": 1})
    models = ["openai/unlisted", "second/large"]
    if place == "planned":
        config["aliases"] |= {
            f"planned-{number}": {"candidates": [model], "retries": 1} for number, model in enumerate(models)
        }
        models = ["planned-0", "planned-1"]
    asked, answering = models
    stack = own_stack(config, concurrency=1)
    let_go = threading.Event()
    good = mock.answer("Hello from the mock.")

    async def wait(provider, request, writer):
        await wait_until_set(let_go)
        await good(provider, request, writer)

    world.openai.habit = wait
    before = wait_for(lambda: memory(stack), "the metric")
    # The Responses API repeats parts of a request in its answer, so the whole request is kept.
    body = json.dumps({"model": asked, "input": "x" * (20 << 20)}).encode()

    def ask(_):
        status, headers, reply = stack.post(body, path="/v1/responses")
        return status, headers.get("retry-after"), (reply.get("error") or {}).get("code")

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(ask, number) for number in range(40)]
        wait_for(lambda: any(answer.done() for answer in answers), "a refusal", 120)
        refused = [answer.result() for answer in answers if answer.done()]
        assert set(refused) == {(503, "1", "gateway_overloaded")}
        assert memory(stack) > before + (300 << 20)
        # There is memory for a small request, but not for its answer. The model has not failed.
        world.second.habit = mock.answer("x" * (25 << 20))
        for _ in range(2):
            status, _, reply = stack.post({"model": answering, "messages": HELLO})
            assert (status, reply["error"]["code"]) == (503, "gateway_overloaded")
            assert {attempt["error"] for attempt in reply["error"]["attempts"]} == {"refused_by_gateway"}
        let_go.set()
        results = [answer.result() for answer in answers]
    assert {status for status, _, _ in results} == {200, 503}
    wait_for(lambda: memory(stack) < before + (100 << 20), "the memory to be freed")
    assert stack.post({"model": "openai/gpt-4o-mini", "input": "Hello!"}, path="/v1/responses")[0] == 200
    assert "terminated" not in stack.log("envoy") and "trap" not in stack.log("envoy")
