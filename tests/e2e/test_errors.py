"""Invalid requests, and failures of the gateway itself.

The answer is always JSON in OpenAI's format, and the message names the fix.
"""

import pytest
from support import providers as mock
from support.requests import HELLO


def refusal(stack, body, **more):
    """Returns the status and the error of a request that must not reach a provider."""
    status, headers, reply = stack.post(body, **more)
    assert headers["content-type"].startswith("application/json")
    error = reply["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    return status, error


@pytest.mark.parametrize(
    "body,param,words",
    [
        (b'{"model": "gpt-4o", "messages": [}', None, "line 1"),
        (b"not json", None, "line 1"),
        (b"", None, "no body"),
        (b"[]", None, "object"),
        ({"messages": HELLO}, "model", "missing"),
        ({"model": None, "messages": HELLO}, "model", "missing"),
        ({"model": 4, "messages": HELLO}, "model", "string"),
        ({"model": "gpt-4o"}, "messages", "missing"),
        ({"model": "gpt-4o", "messages": []}, "messages", "empty"),
        ({"model": "gpt-4o", "messages": "Hello"}, "messages", "list"),
        ({"model": "gpt-4o", "messages": HELLO, "stream_options": {"include_usage": True}}, "stream_options", "stream"),
        ({"model": "a b/c", "messages": HELLO}, "model", "printable"),
    ],
)
def test_a_request_that_can_not_be_read(stack, world, body, param, words):
    status, error = refusal(stack, body)
    assert (status, error["type"]) == (400, "invalid_request_error")
    assert error["param"] == param
    assert words in error["message"], error["message"]
    assert not any(provider.requests for provider in world.providers)


@pytest.mark.parametrize(
    "model,near",
    [("gpt-4o-mimi", "gpt-4o-mini"), ("antropic/claude-x", "anthropic/claude-x"), ("smrt", "smart"), ("qqqqq", None)],
)
def test_an_unknown_model_brings_near_matches(stack, world, model, near):
    status, error = refusal(stack, {"model": model, "messages": HELLO})
    assert (status, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert near is None or f'"{near}"' in error["message"]
    assert ("Did you mean" in error["message"]) == (near is not None)


def test_a_provider_without_a_key_names_the_variable(stack, world):
    status, error = refusal(stack, {"model": "groq/llama-3.3-70b-versatile", "messages": HELLO})
    assert (status, error["code"]) == (401, "provider_key_missing")
    assert "GROQ_API_KEY" in error["message"]


def test_a_body_over_the_limit(own_stack, world):
    stack = own_stack(config={**world.config(), "gateway": {"max_body_bytes": 100_000}})
    status, error = refusal(stack, {"model": "smart", "messages": [{"role": "user", "content": "x" * 200_000}]})
    assert (status, error["code"]) == (413, "request_too_large")
    assert "gateway.max_body_bytes" in error["message"]
    status, _, _ = stack.post({"model": "smart", "messages": [{"role": "user", "content": "x" * 50_000}]})
    assert status == 200


@pytest.mark.parametrize("model,expected", [("gone/x", "upstream_unavailable"), ("all-gone", "upstream_unavailable")])
def test_an_upstream_out_of_reach(stack, world, model, expected):
    status, error = refusal(stack, {"model": model, "messages": HELLO})
    assert (status, error["code"]) == (502, expected)


def test_an_upstream_that_takes_too_long(stack, world):
    world.openai.habit = mock.hang
    status, error = refusal(stack, {"model": "only", "messages": HELLO})
    assert (status, error["code"], error["type"]) == (504, "upstream_timeout", "timeout_error")


def test_an_upstream_that_speaks_no_json(stack, world):
    world.openai.habit = mock.status(200, {"content-type": "text/html"}, b"<html>")
    for model in ("openai/gpt-4o", "only"):
        status, error = refusal(stack, {"model": model, "messages": HELLO})
        assert (status, error["code"]) == (502, "invalid_upstream_response")


def test_an_alias_that_needs_the_control_plane_says_so_when_it_is_down(own_stack, world):
    stack = own_stack()
    stack.kill_control_plane()
    status, headers, reply = stack.post({"model": "auto", "messages": HELLO})
    assert (status, reply["error"]["code"]) == (503, "router_unavailable")
    assert "when_router_is_down" in reply["error"]["message"]
    assert headers["retry-after"]
    for model in ("auto-anyway", "smart", "openai/gpt-4o"):
        status, _, _ = stack.post({"model": model, "messages": HELLO})
        assert status == 200
    assert "smart" in {model["id"] for model in stack.get("/v1/models")["data"]}


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/chat/completions/more", "/v1/filesystem", "/", "/v2"])
def test_a_path_that_is_not_there(stack, path):
    status, error = refusal(stack, {"model": "gpt-4o", "messages": HELLO}, path=path)
    assert (status, error["code"]) == (404, "unknown_url")
    assert path in error["message"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_method_that_is_not_there(stack, method):
    status, error = refusal(stack, None, method=method)
    assert status == 405
    assert "POST" in error["message"]


def test_what_anthropic_does_not_support_is_a_400_that_names_the_field(stack, world):
    body = {"model": "anthropic/claude-sonnet-4-6", "messages": HELLO, "n": 2}
    status, error = refusal(stack, body)
    assert (status, error["param"], error["code"]) == (400, "n", "unsupported_parameter")
    assert not world.anthropic.requests


def test_the_gateway_starts_before_the_control_plane(world, tmp_path):
    from support.stack import Stack, wait_for

    stack = Stack(tmp_path, world.config())
    stack.write_config(world.config())
    stack.start_envoy()
    try:
        wait_for(lambda: answers(stack), "the listener")
        status, error = refusal(stack, {"model": "gpt-4o", "messages": HELLO})
        assert (status, error["code"]) == (503, "gateway_starting")
        stack.start_control_plane()
        stack.wait_until_healthy()
        assert stack.post({"model": "gpt-4o", "messages": HELLO})[0] == 200
    finally:
        stack.stop()


def answers(stack):
    try:
        return stack.post(None, path="/health", method="GET")[0] == 503
    except OSError:
        return False
