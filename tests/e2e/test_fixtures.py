"""Checks the translators' fixtures with the SDKs of their recipients.

Requests are checked with the provider's SDK, and answers with the client's.
"""

import json
import pathlib

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from support import oracles

FIXTURES = pathlib.Path(__file__).parents[2] / "translate" / "fixtures"
FORMATS = ["anthropic", "gemini", "bedrock", "cohere"]


def outputs(pattern):
    found = sorted(FIXTURES.glob(pattern))
    assert found, f"no fixtures match {pattern}"
    return pytest.mark.parametrize("path", found, ids=lambda path: f"{path.parts[-3]}-{path.name.split('.')[0]}")


def request_of(path):
    body = json.loads(path.read_text())
    if "refused" in body:
        error = body["refused"]["error"]
        assert body["refused"]["status"] == 400 and error["message"]
        pytest.skip("refused with a 400")
    return body


@outputs("anthropic/requests/*.out.json")
def test_anthropic_takes_the_request(path):
    assert oracles.anthropic(request_of(path)) is None


@outputs("gemini/requests/*.out.json")
def test_gemini_takes_the_request(path):
    assert oracles.gemini(request_of(path)) is None


@outputs("bedrock/requests/*.out.json")
def test_bedrock_takes_the_request(path):
    assert oracles.bedrock(request_of(path)) is None


@outputs("cohere/requests/*.out.json")
def test_cohere_takes_the_request(path):
    assert oracles.cohere_v2(request_of(path)) is None


@outputs("dialects/mistral/*.out.json")
def test_mistral_takes_the_request(path):
    assert oracles.mistral_chat(request_of(path)) is None


@outputs("[mr]es*/requests/*.out.json")
def test_what_other_clients_ask_is_a_chat_completion_request(path):
    body = request_of(path)
    # Fields that only some providers support. The others don't get them.
    without = json.loads(
        json.dumps(body),
        object_hook=lambda members: {
            name: value
            for name, value in members.items()
            if name not in ("cache_control", "extra_content", "reasoning_content")
        },
    )
    assert oracles.openai(without) is None


CELLS = {path.stem: json.loads(path.read_text()) for path in sorted((FIXTURES / "cells").glob("*.json"))}
ORACLES = {
    "anthropic": oracles.anthropic,
    "gemini": oracles.gemini,
    "vertex": oracles.gemini,
    "bedrock": oracles.bedrock,
    "cohere": oracles.cohere_v2,
    "mistral": oracles.mistral_chat,
}


def is_beyond_openai(provider, field):
    """Returns true if the provider supports a field that OpenAI's own types don't have."""
    return provider == "openrouter" and field == "cache_control"


@pytest.mark.parametrize("provider,field", [(provider, field) for provider, cells in CELLS.items() for field in cells])
def test_every_cell_of_the_table_is_what_the_provider_takes(provider, field):
    if is_beyond_openai(provider, field):
        pytest.skip("the field is the provider's own")
    assert ORACLES.get(provider, oracles.openai)(CELLS[provider][field]) is None


answers = [path for name in FORMATS for path in sorted(FIXTURES.glob(f"{name}/responses/*.out.json"))]


@pytest.mark.parametrize("path", answers, ids=lambda path: f"{path.parts[-3]}-{path.name.split('.')[0]}")
def test_an_answer_is_what_openais_sdk_reads(path):
    body = json.loads(path.read_text())
    if "error" in body:
        assert body["status"] >= 400 and body["error"]["message"]
    else:
        completion = ChatCompletion.model_validate(body, strict=True)
        for choice in completion.choices:
            for call in choice.message.tool_calls or ():
                assert isinstance(json.loads(call.function.arguments), dict)
            assert choice.finish_reason != "tool_calls" or choice.message.tool_calls


streams = [path for name in FORMATS for path in sorted(FIXTURES.glob(f"{name}/streams/*.out.sse"))]


@pytest.mark.parametrize("path", streams, ids=lambda path: f"{path.parts[-3]}-{path.name.split('.')[0]}")
def test_a_stream_is_what_openais_sdk_reads(path):
    text = path.read_text()
    if text.startswith("{"):
        assert json.loads(text)["error"]["message"]
        return
    events = [event.removeprefix("data: ") for event in text.strip().split("\n\n")]
    if events[-1] != "[DONE]":
        assert json.loads(events.pop())["error"]["message"]
        is_complete = False
    else:
        events.pop()
        is_complete = True
    chunks = [ChatCompletionChunk.model_validate(json.loads(event), strict=True) for event in events]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({chunk.id for chunk in chunks}) == 1
    arguments = {}
    for chunk in chunks:
        for choice in chunk.choices:
            for call in choice.delta.tool_calls or ():
                assert call.index in range(len(arguments) + 1)
                assert (call.index in arguments) == (call.id is None)
                arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    if is_complete:
        # A provider that disconnects after its answer has not reported its usage.
        if not chunks[-1].choices:
            assert chunks.pop().usage
        assert chunks[-1].choices[0].finish_reason
        assert all(isinstance(json.loads(text), dict) for text in arguments.values())


@outputs("messages/responses/*.out.json")
def test_a_message_is_what_anthropics_sdk_reads(path):
    body = json.loads(path.read_text())
    if "error" not in body:
        Message.model_validate(body, strict=True)


@outputs("responses/responses/*.out.json")
def test_a_response_is_what_openais_sdk_reads(path):
    body = json.loads(path.read_text())
    if body.get("error") is None:
        Response.model_validate(body)


def events_of(path):
    text = path.read_text()
    if text.startswith("{"):
        assert json.loads(text)["error"]["message"]
        return []
    events = [event.split("\n") for event in text.strip().split("\n\n")]
    for name, data in events:
        assert name.removeprefix("event: ") == json.loads(data.removeprefix("data: "))["type"]
    return [json.loads(data.removeprefix("data: ")) for _, data in events]


@outputs("messages/streams/*.out.sse")
def test_events_are_what_anthropics_sdk_reads(path):
    open_block, count = None, 0
    for event in events_of(path):
        if event["type"] == "error":
            continue
        TypeAdapter(RawMessageStreamEvent).validate_python(event)
        # Blocks follow one another in the order of their indexes.
        if event["type"] == "content_block_start":
            assert open_block is None and event["index"] == count
            open_block = count
        elif event["type"] == "content_block_delta":
            assert event["index"] == open_block
        elif event["type"] == "content_block_stop":
            assert event["index"] == open_block
            open_block, count = None, count + 1


@outputs("responses/streams/*.out.sse")
def test_events_of_a_response_are_what_openais_sdk_reads(path):
    events = events_of(path)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        if event["type"] != "error":
            TypeAdapter(ResponseStreamEvent).validate_python(event)
    added = [event for event in events if event["type"] == "response.output_item.added"]
    done = [event for event in events if event["type"] == "response.output_item.done"]
    if events and events[-1]["type"] == "response.completed":
        assert len(added) == len(done) == len(events[-1]["response"]["output"])
