"""Providers that stall in an answer, or disconnect before it.

The client gets an error in time.
"""

import asyncio
import http.client
import json
import time

import anthropic
import httpx
import openai
import pytest
from openai import OpenAI
from support import providers as mock
from support.requests import HELLO
from support.stack import wait_for

NAMED = {"openai": "openai/gpt-4o-mini", "anthropic": "anthropic/claude-sonnet-4-6", "gemini": "gemini/gemini-2.5-pro"}
NAMED_BY = {model: name for name, model in NAMED.items()}
# Longer than any timeout in these tests.
LONG = 20


def pause_after(events):
    """Sends `events` events of a stream, or half of a JSON answer, and then nothing."""

    async def behave(provider, request, writer):
        if provider.streams(request):
            await writer.begin_stream()
            for event in list(provider.events(request, "one two three", ()))[:events]:
                await writer.send(event)
        else:
            body = json.dumps(provider.body(request, "one two three", ())).encode()
            writer.headers(200, {"content-type": "application/json"}, chunked=True)
            await writer.send(body[: len(body) // 2])
        await mock.hang(provider, request, writer)

    return behave


def drip(pause):
    """Sends an answer piece by piece, with pauses that are shorter than the timeout."""

    async def behave(provider, request, writer):
        body = json.dumps(provider.body(request, "one two three", ())).encode()
        writer.headers(200, {"content-type": "application/json"}, chunked=True)
        for start in range(0, len(body), 8):
            await writer.send(body[start : start + 8])
            await asyncio.sleep(pause)
        await writer.end()

    return behave


@pytest.fixture
def impatient(own_stack, world):
    config = world.config()
    for provider in config["providers"].values():
        provider["timeout"] = "1s"
    config["aliases"]["pair"] = {"candidates": ["openai/gpt-4o-mini", "second/large"]}
    return own_stack(config)


def providers_of(world):
    return {"openai": world.openai, "anthropic": world.anthropic, "gemini": world.gemini}


@pytest.mark.parametrize("stream", [False, True])
def test_a_stall_before_the_first_piece_is_an_error_or_fails_over(impatient, world, stream):
    client = OpenAI(base_url=impatient.base_url, api_key="x", max_retries=0)
    for name, provider in providers_of(world).items():
        for habit in (mock.silence_after_headers, pause_after(0)):
            provider.habit = habit
            started = time.monotonic()
            with pytest.raises(openai.APIStatusError) as caught:
                list(client.chat.completions.create(model=NAMED[name], messages=HELLO, stream=stream))
            assert caught.value.status_code == 504 and caught.value.code == "upstream_timeout"
            assert time.monotonic() - started < LONG
            assert caught.value.body["attempts"][0]["error"] == "timeout"
            trace = impatient.trace(caught.value.response.headers["x-opentracy-trace-id"])
            assert trace["attempts"][0]["error"] == "timeout" and trace["status"] == 504
            wait_for(provider.requests[-1].canceled.is_set, "the end of the request at the provider")
    world.openai.habit = pause_after(0)
    answer = client.chat.completions.create(model="pair", messages=HELLO, stream=stream)
    chunks = list(answer) if stream else [answer]
    assert chunks[-1]._routing["selected_model"] == "second/large"
    attempts = impatient.trace(chunks[-1]._routing["trace_id"], attempts=2)["attempts"]
    assert [attempt["error"] for attempt in attempts] == ["timeout", None]


def test_a_json_answer_has_its_timeout_in_all(impatient, world):
    world.openai.habit = drip(0.4)
    status, _, reply = impatient.post({"model": NAMED["openai"], "messages": HELLO})
    assert (status, reply["error"]["code"]) == (504, "upstream_timeout")
    world.second.habit = drip(0.001)
    status, headers, _ = impatient.post({"model": "pair", "messages": HELLO})
    assert (status, headers["x-opentracy-selected-model"]) == (200, "second/large")


@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "anthropic/claude-sonnet-4-6", "pair"])
def test_a_stall_in_mid_stream_ends_the_clients_stream(impatient, world, model):
    for provider in (world.openai, world.second, world.anthropic):
        provider.habit = pause_after(5)
    client = OpenAI(base_url=impatient.base_url, api_key="x", max_retries=0)
    started = time.monotonic()
    stream = client.chat.completions.create(
        model=model, messages=HELLO, stream=True, metadata={"test": f"stop-{model}"}
    )
    text = ""
    with pytest.raises((httpx.TransportError, openai.APIError)):
        for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    assert text.startswith("one")
    assert 1 <= time.monotonic() - started < LONG
    (trace,) = wait_for(lambda: impatient.traces(f"metadata.test=stop-{model}"), "the trace")
    trace = impatient.trace(trace["id"])
    assert trace["outcome"] == "upstream_broke_off" and trace["error"]
    assert trace["attempts"][0]["error"] == "timeout"


def test_a_slow_stream_that_goes_on_is_left_alone(impatient, world):
    world.openai.habit = mock.answer("one two three four five", pause=0.4)
    client = OpenAI(base_url=impatient.base_url, api_key="x", max_retries=0)
    chunks = list(client.chat.completions.create(model=NAMED["openai"], messages=HELLO, stream=True))
    assert chunks[-1]._routing["selected_model"] == NAMED["openai"]


def test_other_endpoints_have_the_same_timeout(impatient, world):
    async def half(provider, request, writer):
        writer.headers(200, {"content-type": "audio/mpeg"}, chunked=True)
        await writer.send(b"sound")
        await mock.hang(provider, request, writer)

    world.openai.habit = half
    speech = {"model": "openai/tts-1", "input": "Hello", "voice": "alloy"}
    started = time.monotonic()
    with pytest.raises(http.client.IncompleteRead):
        impatient.post_raw(speech, path="/v1/audio/speech")
    assert time.monotonic() - started < LONG
    world.anthropic.habit = mock.silence_after_headers
    client = anthropic.Anthropic(base_url=impatient.origin, api_key="x", max_retries=0)
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.count_tokens(model=NAMED["anthropic"], messages=HELLO)
    assert caught.value.status_code == 504


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [*NAMED.values(), "only"])
def test_a_connection_that_breaks_before_the_answer_is_tried_again(stack, world, model, stream):
    """A provider closes an idle connection while a request is on its way to it."""
    provider = providers_of(world)[NAMED_BY.get(model, "openai")]
    for how in (mock.close, mock.reset):
        provider.script.append(how)
        client = OpenAI(base_url=stack.base_url, api_key="x", max_retries=0)
        answer = client.chat.completions.create(model=model, messages=HELLO, stream=stream)
        chunks = list(answer) if stream else [answer]
        assert chunks[-1]._routing["attempts"] == 1
        trace = stack.trace(chunks[-1]._routing["trace_id"])
        assert [attempt["error"] for attempt in trace["attempts"]] == [None]
    assert len(provider.requests) == 4


def test_a_timeout_is_not_tried_again(impatient, world):
    world.openai.habit = mock.hang
    status, _, reply = impatient.post({"model": NAMED["openai"], "messages": HELLO})
    assert (status, reply["error"]["code"]) == (504, "upstream_timeout")
    assert len(world.openai.requests) == 1
