"""Clients of Anthropic's Messages and OpenAI's Responses APIs, each with its own SDK."""

import json

import anthropic
import openai
import pytest
from anthropic import Anthropic
from support import providers as mock
from support.requests import HELLO
from test_chat import ALIASES, MODELS

each_format = pytest.mark.parametrize("provider", MODELS)
each_path = pytest.mark.parametrize("names", [MODELS, ALIASES], ids=["direct", "internal"])
QUESTION = [{"role": "user", "content": "What is the weather in Paris and Rome?"}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"name": "get_weather", "description": "The weather in a city", "input_schema": CITY}
FUNCTION = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": CITY,
    "strict": False,
}


@pytest.fixture
def claude(stack):
    return Anthropic(base_url=stack.base_url.removesuffix("/v1"), api_key="whatever", max_retries=0)


def prefer(world, provider, names):
    """Makes the alias's first candidate fail if it is another provider's, so this one answers."""
    if names is ALIASES and provider == "openai":
        world.anthropic.script.append(mock.status(529))


# Anthropic's Messages


@each_format
@each_path
def test_a_message(claude, stack, world, provider, names):
    prefer(world, provider, names)
    raw = claude.messages.with_raw_response.create(
        model=names[provider], max_tokens=100, messages=HELLO, system="Be brief.", metadata={"user_id": "u-1"}
    )
    answer = raw.parse()
    assert (answer.type, answer.role, answer.stop_reason) == ("message", "assistant", "end_turn")
    assert [block.text for block in answer.content] == ["Hello from the mock."]
    usage = answer.usage
    assert usage.input_tokens + usage.cache_read_input_tokens + (usage.cache_creation_input_tokens or 0) == 20
    assert usage.output_tokens == 10 and usage.cache_read_input_tokens in (4, 5)
    assert answer._cost > 0 and answer._routing["selected_model"].startswith(provider)
    trace = stack.trace(raw.headers["x-opentracy-trace-id"])
    assert (trace["status"], trace["outcome"], trace["provider"], trace["user"]) == (200, "completed", provider, "u-1")
    assert (trace["tokens"]["input"], trace["tokens"]["output"]) == (20, 10)
    assert trace["response"]["content"][0]["text"] == "Hello from the mock."
    assert trace["cost"]["total"] == pytest.approx(answer._cost)


@each_format
@each_path
def test_a_stream_of_a_message(claude, stack, world, provider, names):
    prefer(world, provider, names)
    with claude.messages.stream(model=names[provider], max_tokens=100, messages=HELLO) as stream:
        kinds = [event.type for event in stream]
        answer = stream.get_final_message()
        headers = stream.response.headers
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert answer.content[0].text.strip() == "Hello from the mock."
    assert (answer.stop_reason, answer.usage.output_tokens) == ("end_turn", 10)
    trace = stack.trace(headers["x-opentracy-trace-id"])
    assert trace["stream"] and (trace["tokens"]["input"], trace["tokens"]["output"]) == (20, 10)
    assert trace["response"]["content"][0]["text"].strip() == "Hello from the mock."
    assert trace["cost"]["total"] > 0


@each_format
@pytest.mark.parametrize("stream", [False, True])
def test_tools_of_a_messages_client(claude, world, provider, stream):
    getattr(world, provider).habit = mock.assistant
    ask = {"model": MODELS[provider], "max_tokens": 1000, "tools": [TOOL]}
    if stream:
        with claude.messages.stream(messages=QUESTION, **ask) as events:
            first = events.get_final_message()
    else:
        first = claude.messages.create(messages=QUESTION, **ask)
    assert first.stop_reason == "tool_use"
    calls = [block for block in first.content if block.type == "tool_use"]
    assert [call.input for call in calls] == [{"city": "Paris"}, {"city": "Rome"}]
    assert len({call.id for call in calls}) == 2
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"} for call in calls]
    content = [block.model_dump(exclude_none=True) for block in first.content]
    messages = [*QUESTION, {"role": "assistant", "content": content}, {"role": "user", "content": results}]
    second = claude.messages.create(messages=messages, **ask)
    assert second.content[0].text == "It is sunny."


def test_what_gemini_signed_comes_back_through_a_messages_client(claude, world):
    world.gemini.habit = mock.assistant
    ask = {"model": MODELS["gemini"], "max_tokens": 1000, "tools": [TOOL]}
    first = claude.messages.create(messages=QUESTION, **ask)
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}
        for block in first.content
        if block.type == "tool_use"
    ]
    content = [block.model_dump(exclude_none=True) for block in first.content]
    messages = [*QUESTION, {"role": "assistant", "content": content}, {"role": "user", "content": results}]
    claude.messages.create(messages=messages, **ask)
    replayed = world.gemini.requests[-1].json["contents"][1]["parts"]
    assert "c2lnbmF0dXJl" in [part.get("thoughtSignature") for part in replayed]
    # Anthropic would refuse the signature of another provider, so it is not sent.
    world.gemini.habit = mock.status(500)
    claude.messages.create(**{**ask, "model": "anthropic/claude-sonnet-4-6"}, messages=messages)
    assert "opentracy" not in json.dumps(world.anthropic.requests[-1].json)


def test_a_message_for_anthropic_goes_as_it_is(claude, world):
    thinking = {"type": "enabled", "budget_tokens": 2000}
    body = {
        "max_tokens": 4000,
        "messages": HELLO,
        "thinking": thinking,
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    }
    claude.messages.create(
        model="anthropic/claude-sonnet-4-5", **body, extra_headers={"anthropic-beta": "context-1m-2025-08-07"}
    )
    (request,) = world.anthropic.requests
    assert request.json == {"model": "claude-sonnet-4-5", **body}
    assert request.headers["anthropic-beta"] == "context-1m-2025-08-07"


def test_room_to_think_goes_to_models_that_think(claude, world):
    """Coding agents send a thinking budget to every model; a model without thinking refuses it."""
    thinking = {"type": "enabled", "budget_tokens": 10_000}
    for model in (
        "openai/gpt-4o-mini",
        "openai/gpt-5",
        "bedrock/us.amazon.nova-2-lite-v1:0",
        "cohere/command-a-03-2025",
    ):
        claude.messages.create(model=model, max_tokens=20_000, messages=HELLO, thinking=thinking)
    plain, reasoning = (request.json for request in world.openai.requests)
    assert "reasoning_effort" not in plain and reasoning["reasoning_effort"] == "medium"
    assert world.bedrock.requests[0].json["additionalModelRequestFields"] == {
        "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}
    }
    assert world.cohere.requests[0].json["thinking"] == {"type": "enabled", "token_budget": 8192}


def test_tokens_are_counted_by_anthropic_or_estimated(claude, world):
    world.anthropic.habit = mock.count_tokens
    raw = claude.messages.with_raw_response.count_tokens(model="anthropic/claude-sonnet-4-6", messages=HELLO)
    assert raw.parse().input_tokens == 4321
    assert "set-cookie" not in raw.headers and "x-envoy-overloaded" not in raw.headers
    short = claude.messages.count_tokens(model="openai/gpt-4o-mini", messages=HELLO).input_tokens
    long = claude.messages.count_tokens(model="openai/gpt-4o-mini", messages=HELLO * 20, tools=[TOOL]).input_tokens
    assert 0 < short < long and not world.openai.requests


@each_path
@pytest.mark.parametrize(
    "status,kind",
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
    ],
)
@pytest.mark.parametrize("provider", ["openai", "anthropic", "bedrock"])
def test_errors_to_a_messages_client(claude, world, provider, status, kind, names):
    for each in world.providers:
        each.habit = mock.status(status)
    with pytest.raises(kind) as error:
        claude.messages.create(model=names[provider], max_tokens=10, messages=HELLO)
    body = error.value.response.json()
    assert body["type"] == "error" and body["error"]["message"] and body["error"]["type"].endswith("_error")
    assert body["error"]["attempts"][-1]["status"] == status


@each_format
def test_a_messages_stream_that_breaks_off_ends_with_an_error_event(claude, stack, world, provider):
    getattr(world, provider).habit = mock.break_off(4, "error")
    text = ""
    with pytest.raises(anthropic.APIError):
        with claude.messages.stream(model=MODELS[provider], max_tokens=10, messages=HELLO) as stream:
            trace_id = stream.response.headers["x-opentracy-trace-id"]
            for piece in stream.text_stream:
                text += piece
    assert text.startswith("one ")
    assert stack.trace(trace_id)["outcome"] == "upstream_broke_off"


def test_features_of_anthropic_alone_are_refused_for_others(claude, world):
    with pytest.raises(anthropic.BadRequestError, match="only Anthropic runs this tool"):
        claude.messages.create(
            model="openai/gpt-4o",
            max_tokens=10,
            messages=HELLO,
            tools=[{"type": "web_search_20250305", "name": "web_search"}],
        )
    assert not world.openai.requests


# OpenAI's Responses


@each_format
@each_path
def test_a_response(client, stack, world, provider, names):
    prefer(world, provider, names)
    raw = client.responses.with_raw_response.create(
        model=names[provider], input="Hello!", instructions="Be brief.", user="u-1", metadata={"team": "search"}
    )
    answer = raw.parse()
    assert (answer.object, answer.status, answer.output_text) == ("response", "completed", "Hello from the mock.")
    assert (answer.usage.input_tokens, answer.usage.total_tokens) == (20, 30)
    assert answer._cost > 0 and answer._routing["selected_model"].startswith(provider)
    trace = stack.trace(raw.headers["x-opentracy-trace-id"])
    assert (trace["status"], trace["outcome"], trace["provider"], trace["user"]) == (200, "completed", provider, "u-1")
    assert trace["metadata"] == {"team": "search"}
    assert (trace["tokens"]["input"], trace["tokens"]["output"]) == (20, 10)


@each_format
@each_path
def test_a_stream_of_a_response(client, stack, world, provider, names):
    prefer(world, provider, names)
    with client.responses.stream(model=names[provider], input="Hello!") as stream:
        kinds = [event.type for event in stream]
        answer = stream.get_final_response()
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert answer.output_text.strip() == "Hello from the mock."
    assert answer.usage.total_tokens == 30 and answer._cost > 0
    trace = stack.trace(answer._routing["trace_id"])
    assert trace["stream"] and (trace["tokens"]["input"], trace["tokens"]["output"]) == (20, 10)
    assert trace["response"]["output"][0]["content"][0]["text"].strip() == "Hello from the mock."


@each_format
@pytest.mark.parametrize("stream", [False, True])
def test_tools_of_a_responses_client(client, world, provider, stream):
    getattr(world, provider).habit = mock.assistant
    ask = {"model": MODELS[provider], "tools": [FUNCTION]}
    if stream:
        with client.responses.stream(input=QUESTION, **ask) as events:
            for _ in events:
                pass
            first = events.get_final_response()
    else:
        first = client.responses.create(input=QUESTION, **ask)
    calls = [item for item in first.output if item.type == "function_call"]
    assert [json.loads(call.arguments) for call in calls] == [{"city": "Paris"}, {"city": "Rome"}]
    assert len({call.call_id for call in calls}) == 2
    said = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
    for item in said:
        for part in item.get("content") or ():
            part.pop("parsed", None)
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls]
    second = client.responses.create(input=[*QUESTION, *said, *results], **ask)
    assert second.output_text == "It is sunny."
    if provider == "gemini":
        replayed = world.gemini.requests[-1].json["contents"][1]["parts"]
        assert "c2lnbmF0dXJl" in [part.get("thoughtSignature") for part in replayed]


def test_a_response_of_openai_goes_as_it_is(client, world):
    body = {
        "input": "Hello!",
        "previous_response_id": "resp_0",
        "tools": [{"type": "web_search"}],
        "reasoning": {"effort": "low"},
    }
    client.responses.create(model="openai/gpt-5", **body)
    (request,) = world.openai.requests
    assert request.path == "/v1/responses" and request.json == {"model": "gpt-5", **body}


def test_state_that_only_openai_keeps_is_refused_for_others(client, world):
    with pytest.raises(openai.BadRequestError, match="keeps no responses") as error:
        client.responses.create(model="anthropic/claude-sonnet-4-6", input="Hello!", previous_response_id="resp_0")
    assert error.value.param == "previous_response_id"
    assert not world.anthropic.requests


@each_format
def test_a_responses_stream_that_breaks_off_ends_with_an_error_event(client, stack, world, provider):
    getattr(world, provider).habit = mock.break_off(4, "end")
    stream = client.responses.with_raw_response.create(model=MODELS[provider], input="Hello!", stream=True)
    with pytest.raises(openai.APIError):
        for _ in stream.parse():
            pass
    assert stack.trace(stream.headers["x-opentracy-trace-id"])["outcome"] == "upstream_broke_off"


# Both APIs


@pytest.mark.parametrize("api", ["messages", "responses"])
@pytest.mark.parametrize("stream", [False, True])
def test_another_candidate_takes_over_for_every_api(claude, client, world, api, stream):
    world.anthropic.habit = mock.error_as_first_event if stream else mock.status(503)
    ask = {"model": "smart", "stream": stream}
    if api == "messages":
        answer = claude.messages.create(max_tokens=10, messages=HELLO, **ask)
        text = (
            "".join(event.delta.text for event in answer if event.type == "content_block_delta")
            if stream
            else answer.content[0].text
        )
    else:
        answer = client.responses.create(input="Hello!", **ask)
        text = (
            "".join(event.delta for event in answer if event.type == "response.output_text.delta")
            if stream
            else answer.output_text
        )
    assert text.strip() == "Hello from the mock."
    assert len(world.anthropic.requests) == len(world.openai.requests) == 1


@pytest.mark.parametrize(
    "path,body,param",
    [
        ("/v1/messages", {"model": "gpt-4o"}, "messages"),
        ("/v1/messages", {"messages": HELLO}, "model"),
        ("/v1/responses", {"model": "gpt-4o"}, "input"),
        ("/v1/responses", {"input": "x"}, "model"),
        ("/v1/messages", {"model": "gpt-4o", "messages": []}, "messages"),
        ("/v1/responses", {"model": "anthropic/claude-sonnet-4-6", "input": 5}, "input"),
    ],
)
def test_mistakes_are_named(stack, world, path, body, param):
    status, _, reply = stack.post(body, path=path)
    assert (status, reply["error"]["param"]) == (400, param), reply
    assert reply["error"]["message"]
    assert not any(provider.requests for provider in world.providers)
