"""An unchanged application with OpenAI's Python SDK, and providers of every format."""

import base64
import json

import openai
import pytest
from support import providers as mock
from support.requests import MODELS
from support.stack import wait_for

# Aliases with several candidates. The provider's model is the first or the second one.
ALIASES = {
    "openai": "smart",
    "anthropic": "smart",
    "gemini": "google",
    "bedrock": "amazon",
    "cohere": "canadian",
    "mistral": "french",
    "vertex": "cloud",
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
QUESTION = {"role": "user", "content": "What is the weather in Paris and Rome?"}
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 20).decode()

each_format = pytest.mark.parametrize("provider", MODELS)


@each_format
def test_a_chat(client, stack, world, hello, provider):
    raw = client.chat.completions.with_raw_response.create(
        model=MODELS[provider], messages=hello, user="u-1", metadata={"team": "search"}
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == "Hello from the mock."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == 20
    assert answer.usage.total_tokens == 30
    assert answer._cost > 0
    assert answer._latency_ms > 0
    assert answer._routing["selected_model"] == MODELS[provider]
    assert raw.headers["x-opentracy-selected-model"] == MODELS[provider]
    assert raw.headers["x-opentracy-attempts"] == "1"
    assert float(raw.headers["x-opentracy-routing-ms"]) == 0
    trace = stack.trace(raw.headers["x-opentracy-trace-id"])
    assert trace["provider"] == provider
    assert trace["requested_model"] == MODELS[provider]
    assert (trace["status"], trace["outcome"], trace["stream"]) == (200, "completed", False)
    assert trace["request"]["messages"] == hello
    assert trace["response"]["choices"][0]["message"]["content"] == "Hello from the mock."
    assert (trace["tokens"]["input"], trace["tokens"]["output"]) == (20, 10)
    assert trace["cost"]["total"] == pytest.approx(answer._cost)
    assert trace["user"] == "u-1"
    assert trace["metadata"] == {"team": "search"}
    assert trace["attempts"][0]["status"] == 200


@each_format
@pytest.mark.parametrize("include_usage", [False, True])
def test_a_stream(client, stack, world, hello, provider, include_usage):
    options = {"stream_options": {"include_usage": True}} if include_usage else {}
    chunks = list(client.chat.completions.create(model=MODELS[provider], messages=hello, stream=True, **options))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.strip() == "Hello from the mock."
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert reasons[-1] == "stop" and not any(reasons[:-1])
    last = chunks[-1]
    assert last._cost > 0 and last._latency_ms > 0
    assert last._routing["selected_model"] == MODELS[provider]
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == ([30] if include_usage else [])
    trace = stack.trace(last._routing["trace_id"])
    assert trace["stream"] and trace["time_to_first_token_ms"] <= trace["latency_ms"]
    assert trace["response"]["choices"][0]["message"]["content"].strip() == "Hello from the mock."
    assert (trace["tokens"]["input"], trace["tokens"]["output"]) == (20, 10)


@each_format
@pytest.mark.parametrize("stream", [False, True])
def test_tools_in_two_turns_of_one_session(client, stack, world, provider, stream):
    getattr(world, provider).habit = mock.assistant
    # The alias begins with Anthropic. The session keeps the provider that served its first turn.
    if provider == "openai":
        world.anthropic.script.append(mock.status(529))
    messages = [{"role": "system", "content": "Be brief."}, QUESTION]
    ask = {"model": ALIASES[provider], "tools": [WEATHER], "tool_choice": "auto"}
    create = client.chat.completions.with_raw_response.create
    if stream:
        raw = create(messages=messages, stream=True, **ask)
        first = message_of(list(raw.parse()))
    else:
        raw = create(messages=messages, **ask)
        first = raw.parse().choices[0].message.model_dump(exclude_none=True)
    session = raw.headers["x-opentracy-session-id"]
    calls = first["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["get_weather"] * 2
    assert len({call["id"] for call in calls}) == 2
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"city": "Paris"}, {"city": "Rome"}]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "sunny"} for call in calls]
    raw = create(messages=[*messages, first, *results], extra_headers={"X-OpenTracy-Session-Id": session}, **ask)
    second = raw.parse()
    assert second.choices[0].message.content == "It is sunny."
    assert raw.headers["x-opentracy-session-id"] == session
    assert raw.headers["x-opentracy-selected-model"].startswith(provider)
    assert raw.headers["x-opentracy-attempts"] == "1"
    if provider == "gemini":
        replayed = world.gemini.requests[-1].json["contents"][1]["parts"]
        assert "c2lnbmF0dXJl" in [part.get("thoughtSignature") for part in replayed]
    stack.trace(raw.headers["x-opentracy-trace-id"])
    # Two workers may have served the turns, and each reports its own trace.
    turns = wait_for(
        lambda: len(found := stack.traces(f"session={session}&order=oldest_first")) == 2 and found, "both traces"
    )
    assert [turn["provider"] for turn in turns] == [provider] * 2
    called = turns[0]["response"]["choices"][0]["message"]["tool_calls"]
    assert [call["function"]["name"] for call in called] == ["get_weather"] * 2


def message_of(chunks):
    """Assembles a streamed message as an application does."""
    text, calls = "", {}
    for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            for part in choice.delta.tool_calls or []:
                call = calls.setdefault(part.index, {"type": "function", "function": {"name": "", "arguments": ""}})
                if part.id:
                    call["id"] = part.id
                if extra := part.model_dump().get("extra_content"):
                    call["extra_content"] = extra
                call["function"]["name"] += part.function.name or ""
                call["function"]["arguments"] += part.function.arguments or ""
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    return {"role": "assistant", "content": text, "tool_calls": [calls[index] for index in sorted(calls)]}


@each_format
def test_images(client, world, provider):
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.jpg"}},
    ]
    if provider == "bedrock":
        # Bedrock does not fetch images.
        with pytest.raises(openai.BadRequestError, match="fetches no images") as refusal:
            client.chat.completions.create(model=MODELS[provider], messages=[{"role": "user", "content": parts}])
        assert refusal.value.param == "messages[0].content[2].image_url.url"
        parts.pop()
    answer = client.chat.completions.create(model=MODELS[provider], messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content == "Hello from the mock."
    request = getattr(world, provider).requests[0].json
    if provider in ("openai", "mistral", "cohere"):
        assert request["messages"][0]["content"] == parts
    elif provider == "gemini":
        sent = request["contents"][0]["parts"]
        assert sent[1]["inlineData"] == {"mimeType": "image/png", "data": PIXEL}
        assert sent[2]["fileData"] == {"mimeType": "image/jpeg", "fileUri": "https://example.com/cat.jpg"}
    elif provider == "bedrock":
        assert request["messages"][0]["content"][1] == {"image": {"format": "png", "source": {"bytes": PIXEL}}}
    else:
        sent = request["messages"][0]["content"]
        assert [part["source"]["type"] for part in sent[1:]] == ["base64", "url"]
        assert sent[1]["source"]["data"] == PIXEL


@each_format
@pytest.mark.parametrize(
    "status,kind",
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (529, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_sdks_own(client, world, hello, provider, status, kind, stream):
    getattr(world, provider).habit = mock.status(status, message="what the provider says")
    with pytest.raises(kind) as caught:
        client.chat.completions.create(model=MODELS[provider], messages=hello, stream=stream)
    error = caught.value
    assert error.status_code == (503 if status == 529 else status)
    # The message of a provider about the gateway's key is not shown to the client.
    assert "what the provider says" in error.message
    assert error.type and error.body["attempts"][0]["provider"] == provider


@pytest.mark.parametrize("status", [401, 429, 500])
@each_format
def test_an_error_without_a_body_is_still_reported(client, world, hello, provider, status):
    getattr(world, provider).habit = mock.status(status, body=b"")
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=MODELS[provider], messages=hello)
    assert caught.value.status_code == status
    assert provider in caught.value.body["message"]


def test_a_known_model_needs_no_provider(client, world, hello):
    answer = client.chat.completions.create(model="gpt-4o", messages=hello)
    assert answer._routing["selected_model"] == "openai/gpt-4o"
    assert world.openai.requests[0].json["model"] == "gpt-4o"


def test_fields_we_do_not_know_pass_byte_for_byte(stack, world):
    body = (
        b'{ "temperature" : 1.50, "model":"openai/gpt-4o", '
        b'"messages" :[ {"role":"user","content":"caf\\u00e9"}],  "new_field": {"a" : 1e3} }'
    )
    status, _, _ = stack.post(body)
    # The mock refuses fields that the SDK's types don't have, but only after it has recorded them.
    assert status == 400
    assert world.openai.requests[0].body == body.replace(b"openai/gpt-4o", b"gpt-4o")


def test_an_unknown_price_is_no_price(client, stack, world, hello):
    answer = client.chat.completions.create(model="second/large", messages=hello)
    assert answer._cost is None
    assert stack.trace(answer._routing["trace_id"])["cost"] is None


@pytest.mark.parametrize(
    "model,path",
    [
        ("azure/my-gpt", "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"),
        ("azure/my/gpt", "/openai/deployments/my%2Fgpt/chat/completions?api-version=2024-10-21"),
        ("azure-v1/my-gpt", "/openai/v1/chat/completions"),
    ],
)
def test_azure_has_its_own_paths_and_its_own_header(client, world, hello, model, path):
    answer = client.chat.completions.create(model=model, messages=hello)
    assert answer.choices[0].message.content == "Hello from the mock."
    (request,) = world.second.requests
    assert request.path == path
    assert request.headers["api-key"] == "azure-key" and "authorization" not in request.headers


def test_a_reasoning_model_gets_its_own_limit(client, world, hello):
    client.chat.completions.create(model="openai/o3-mini", messages=hello, max_tokens=50)
    assert world.openai.requests[0].json["max_completion_tokens"] == 50
    assert "max_tokens" not in world.openai.requests[0].json


def test_cache_markers_reach_anthropic_and_nobody_else(client, world):
    marker = {"type": "ephemeral"}
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Long rules.", "cache_control": marker}]},
        {"role": "user", "content": [{"type": "text", "text": "Hello!", "cache_control": marker}]},
    ]
    world.anthropic.script.append(mock.status(529))
    client.chat.completions.create(model="smart", messages=messages)
    client.chat.completions.create(model="smart", messages=messages)
    sent = world.anthropic.requests[-1].json
    assert sent["system"][0]["cache_control"] == sent["messages"][0]["content"][0]["cache_control"] == marker
    assert b"cache_control" not in world.openai.requests[0].body
