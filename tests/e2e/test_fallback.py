"""A failed attempt moves on to the next candidate, for whole answers and for streams."""

import concurrent.futures
import json

import openai
import pytest
from openai import OpenAI
from support import providers as mock
from support.neighbors import GuestStack
from support.requests import HELLO
from support.stack import wait_for

# Faults, each with its error in the trace.
FAULTS = {
    "429": (mock.status(429), "rate_limit"),
    "500": (mock.status(500), "server_error"),
    "503": (mock.status(503), "overloaded"),
    "529": (mock.status(529), "overloaded"),
    "html-502": (mock.status(502, {"content-type": "text/html"}, b"<html>Bad gateway</html>"), "server_error"),
    "empty-503": (mock.status(503, body=b""), "overloaded"),
    "reset": (mock.reset, "connection_reset"),
    "close": (mock.close, "connection_reset"),
    "cut": (mock.cut, "connection_reset"),
    "hang": (mock.hang, "timeout"),
    "silence-after-headers": (mock.silence_after_headers, "timeout"),
    "error-as-first-event": (mock.error_as_first_event, "overloaded"),
}
STREAM_ONLY = {"error-as-first-event"}


CASES = [
    pytest.param(name, stream, id=f"{name}-{'stream' if stream else 'json'}")
    for stream in (False, True)
    for name in FAULTS
    if stream or name not in STREAM_ONLY
]


def ask(client, model, stream, **more):
    """Returns the text of an answer, and the object with the gateway's fields."""
    answer = client.chat.completions.create(model=model, messages=HELLO, stream=stream, **more)
    if not stream:
        return answer.choices[0].message.content, answer
    chunks = list(answer)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    return text, chunks[-1]


@pytest.mark.parametrize("fault,stream", CASES)
def test_a_failure_of_the_first_candidate_moves_to_the_second(client, stack, world, fault, stream):
    behavior, word = FAULTS[fault]
    world.openai.habit = behavior
    text, answer = ask(client, "chain", stream)
    assert text.strip() == "Hello from the mock."
    assert answer._routing["selected_model"] == "second/large"
    assert answer._routing["attempts"] == 2
    assert len(world.openai.requests) == len(world.second.requests) == 1
    trace = stack.trace(answer._routing["trace_id"], attempts=2)
    attempts = [(attempt["provider"], attempt["error"]) for attempt in trace["attempts"]]
    assert attempts == [("openai", word), ("second", None)]


@pytest.mark.parametrize("fault,stream", CASES)
def test_failures_of_two_candidates_move_to_the_third_of_another_format(client, world, fault, stream):
    world.openai.habit = world.second.habit = FAULTS[fault][0]
    text, answer = ask(client, "chain", stream)
    assert text.strip() == "Hello from the mock."
    assert answer._routing["selected_model"] == "anthropic/claude-sonnet-4-6"
    assert answer._routing["attempts"] == 3
    assert len(world.anthropic.requests) == 1


@pytest.mark.parametrize("fault,stream", CASES)
def test_when_all_fail_the_last_error_is_returned_with_all_attempts(client, stack, world, fault, stream):
    behavior, word = FAULTS[fault]
    world.openai.habit = world.second.habit = world.anthropic.habit = behavior
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, "chain", stream)
    error = caught.value
    expected = {
        "429": 429,
        "500": 500,
        "hang": 504,
        "silence-after-headers": 504,
        "reset": 502,
        "close": 502,
        "cut": 502,
        "html-502": 502,
    }
    assert error.status_code == expected.get(fault, 503)
    attempts = error.body["attempts"]
    assert [attempt["provider"] for attempt in attempts] == ["openai", "second", "anthropic"]
    assert attempts[-1]["error"] == word
    assert error.response.headers["x-opentracy-attempts"] == "3"
    trace = stack.trace(error.response.headers["x-opentracy-trace-id"], attempts=3)
    assert [attempt["error"] for attempt in trace["attempts"]] == [word] * 3
    assert trace["status"] == error.status_code


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    # Several refused connections eject a host. It is then unavailable like a host without an
    # address.
    "prefix,words",
    [("gone", {"connection_failed", "no_healthy_host"}), ("nowhere", {"no_healthy_host"})],
)
def test_a_host_that_is_not_there_moves_on(client, stack, world, prefix, words, stream):
    text, answer = ask(client, f"{prefix}-first", stream)
    assert answer._routing["selected_model"] == "second/large"
    text, answer = ask(client, f"{prefix}-twice", stream)
    assert answer._routing["selected_model"] == "anthropic/claude-sonnet-4-6"
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, f"all-{prefix}", stream)
    assert caught.value.status_code == 502
    errors = [attempt["error"] for attempt in caught.value.body["attempts"]]
    assert len(errors) == 3 and words.issuperset(errors)


def test_a_providers_only_address_never_rests(own_stack):
    stack = own_stack(concurrency=1)

    def word():
        return stack.post({"model": "gone/x", "messages": HELLO})[2]["error"]["attempts"][0]["error"]

    assert [word() for _ in range(12)] == ["connection_failed"] * 12


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_the_client_or_the_operator_did_wrong_stays(client, world, status, stream):
    world.openai.habit = mock.status(status)
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, "chain", stream)
    assert caught.value.status_code == status
    assert not world.second.requests
    assert len(caught.value.body["attempts"]) == 1


def test_a_mixed_sequence_of_failures_is_reported_in_order(client, stack, world):
    world.openai.habit, world.second.habit, world.anthropic.habit = mock.hang, mock.status(429), mock.reset
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, "chain", False)
    words = [attempt["error"] for attempt in caught.value.body["attempts"]]
    assert words == ["timeout", "rate_limit", "connection_reset"]


def test_retry_after_reaches_the_client(client, world):
    for provider in world.providers:
        provider.habit = mock.status(429, {"retry-after": "7"})
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client, "chain", False)
    assert caught.value.response.headers["retry-after"] == "7"


def test_a_candidate_is_tried_again_before_the_next(client, world):
    world.openai.script.extend([mock.status(500), mock.answer("second try")])
    text, answer = ask(client, "twice", False)
    assert text == "second try"
    assert answer._routing["attempts"] == 2


def test_an_alias_of_one_keeps_its_time_out(client, world):
    world.openai.habit = mock.hang
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, "only", False)
    assert caught.value.status_code == 504


@pytest.mark.parametrize("stream", [False, True])
def test_an_overflowing_circuit_breaker_moves_on(client, world, stream):
    # The first request uses the provider's only connection, the second one waits for it, and the
    # others overflow.
    world.second.habit = mock.answer("from second", pause=0.5)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: ask(client, "narrow-first", stream)[1], range(6)))
    selected = [answer._routing["selected_model"] for answer in answers]
    assert "openai/gpt-4o-mini" in selected and "narrow/large" in selected


@pytest.mark.parametrize("stream", [False, True])
def test_64_requests_that_fail_over_at_once_are_all_answered(stack, world, stream):
    world.openai.habit = world.second.habit = mock.status(503)
    client = OpenAI(base_url=stack.base_url, api_key="x", max_retries=0)
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda _: ask(client, "chain", stream)[0].strip(), range(64)))
    assert answers == ["Hello from the mock."] * 64


@pytest.mark.parametrize("size", [20_000, 2_000_000, 20_000_000])
def test_a_large_body_fails_over_whole(client, world, size):
    world.openai.habit = world.second.habit = mock.status(503)
    # The number of tokens of an image does not follow from its size in bytes.
    data = "A" * (size // 4 * 4)
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}]
    answer = client.chat.completions.create(model="long-chain", messages=messages)
    assert answer._routing["attempts"] == 3
    for provider in world.providers[:2]:
        assert provider.requests[0].json["messages"] == messages
    assert world.anthropic.requests[0].json["messages"][0]["content"][1]["source"]["data"] == data


@pytest.mark.parametrize("stream", [False, True])
def test_a_trap_in_the_translator_costs_one_attempt(world, own_stack, stream):
    stack = own_stack(traps=True)
    client = OpenAI(base_url=stack.base_url, api_key="x", max_retries=0)
    text, answer = ask(client, "chain", stream, extra_headers={"x-opentracy-trap": "1"})
    assert answer._routing["selected_model"] == "second/large"
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, "chain", stream, extra_headers={"x-opentracy-trap": "1,2,3"})
    assert caught.value.status_code >= 500
    assert len(caught.value.body["attempts"]) == 3

    def first_candidate_answers():
        try:
            return ask(client, "chain", stream)[1]._routing["selected_model"] == "openai/gpt-4o-mini"
        except openai.APIStatusError:
            return False

    wait_for(first_candidate_answers, "the VM to restart")


def test_what_one_candidate_cannot_be_asked_goes_to_the_next(client, stack, world):
    """Bedrock does not fetch images, and does not support logprobs."""
    image = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]}]
    raw = client.chat.completions.with_raw_response.create(model="amazon", messages=messages, logprobs=True)
    assert raw.headers["x-opentracy-selected-model"] == "openai/gpt-4o-mini"
    assert not world.bedrock.requests
    attempts = stack.trace(raw.headers["x-opentracy-trace-id"])["attempts"]
    assert [(attempt["provider"], attempt["error"]) for attempt in attempts] == [
        ("bedrock", "refused_by_gateway"),
        ("openai", None),
    ]
    # If no candidate supports the request, the last refusal is the answer.
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model="only-bedrock", messages=messages)
    assert (error.value.code, error.value.param) == ("unsupported_parameter", "messages[0].content[1].image_url.url")
    assert [attempt["error"] for attempt in error.value.body["attempts"]] == ["refused_by_gateway"] * 2


@pytest.mark.parametrize("path", ["direct", "internal"])
def test_the_retry_delay_in_googles_body_becomes_a_header(client, world, path):
    for provider in world.providers:
        provider.habit = mock.status(500)
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.2s"}]
    body = {"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED", "details": details}}
    world.gemini.habit = mock.status(429, body=body)
    model = "gemini/gemini-2.5-pro" if path == "direct" else "only-gemini"
    with pytest.raises(openai.RateLimitError) as error:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hello!"}])
    assert error.value.response.headers["retry-after"] == "8"


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_by_name_whose_answer_is_cut_is_an_error(stack, world, stream):
    world.openai.habit = mock.cut
    body = {"model": "openai/gpt-4o-mini", "messages": HELLO, "stream": stream, "metadata": {"test": f"cut-{stream}"}}
    with stack._open(body) as reply:
        assert reply.status == 502
        content_type, text = reply.headers["content-type"], reply.read()
    # Envoy words the error for an answer that a wasm filter holds. On a listener of other
    # applications that is not ours to change.
    if not isinstance(stack, GuestStack) or stack.filter.kind == "native":
        assert content_type == "application/json"
        assert json.loads(text)["error"]["code"] == "upstream_unavailable"
    (trace,) = wait_for(lambda: stack.traces(f"metadata.test=cut-{stream}"), "the trace")
    assert (trace["status"], trace["error"]["code"]) == (502, "upstream_unavailable")
    assert [attempt["error"] for attempt in stack.trace(trace["id"])["attempts"]] == ["connection_reset"]
