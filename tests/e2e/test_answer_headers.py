"""No answer of a provider sets headers of the gateway or of Envoy, on any path to the client."""

import pytest
from support import providers as mock
from support.requests import HELLO

FORGED = {
    **{
        f"x-opentracy-{name}": "forged"
        for name in (
            "trace-id",
            "selected-model",
            "cache",
            "session-id",
            "budget",
            "token",
            "plan",
            "cluster",
            "attempts",
            "routing-ms",
            "cluster-id",
            "expected-error",
            "routing",
            "on-behalf-of",
            "anything",
        )
    },
    "x-opentracy-retry": "1",
    "x-opentracy-attempt-log": "[]",
    **{
        f"x-envoy-{name}": "forged"
        for name in ("upstream-service-time", "overloaded", "degraded", "attempt-count", "ratelimited", "anything")
    },
    "X-Opentracy-Upper": "forged",
}


def forging(behave):
    """Adds headers to the answer that a provider must not set."""

    async def behave_and_forge(provider, request, writer):
        send = writer.headers
        writer.headers = lambda status, headers, chunked: send(status, {**headers, **FORGED}, chunked)
        await behave(provider, request, writer)

    return behave_and_forge


CHAT = {"messages": HELLO}
EXITS = {
    "direct": ("/v1/chat/completions", {"model": "openai/gpt-4o-mini", **CHAT}),
    "direct-stream": ("/v1/chat/completions", {"model": "openai/gpt-4o-mini", "stream": True, **CHAT}),
    "translated": ("/v1/chat/completions", {"model": "anthropic/claude-sonnet-4-6", **CHAT}),
    "translated-stream": ("/v1/chat/completions", {"model": "anthropic/claude-sonnet-4-6", "stream": True, **CHAT}),
    "alias": ("/v1/chat/completions", {"model": "chain", **CHAT}),
    "alias-stream": ("/v1/chat/completions", {"model": "chain", "stream": True, **CHAT}),
    "responses": ("/v1/responses", {"model": "openai/gpt-4o-mini", "input": "Hello!"}),
    "responses-stream": ("/v1/responses", {"model": "openai/gpt-4o-mini", "input": "Hello!", "stream": True}),
    "messages": ("/v1/messages", {"model": "openai/gpt-4o-mini", "max_tokens": 5, **CHAT}),
    "count-tokens": ("/v1/messages/count_tokens", {"model": "anthropic/claude-sonnet-4-6", **CHAT}),
    "embeddings": ("/v1/embeddings", {"model": "openai/text-embedding-3-small", "input": "a"}),
    "moderations": ("/v1/moderations", {"model": "openai/omni", "input": "a"}),
    "files": ("/v1/files", None),
    "file": ("/v1/files/file-1", None),
    "proxy": ("/proxy/openai/v1/models", None),
    "proxy-post": ("/proxy/openai/v1/anything", {"model": "m"}),
}
ANSWERS = {"count-tokens": mock.count_tokens}


@pytest.mark.parametrize("fails", [None, 400, 401, 503], ids=lambda status: f"status-{status or 200}")
@pytest.mark.parametrize("exit", EXITS)
def test_a_provider_sets_no_header_of_the_gateways(stack, world, exit, fails):
    path, body = EXITS[exit]
    is_call = path.startswith(("/v1/chat", "/v1/responses", "/v1/messages")) and exit != "count-tokens"
    answer = ANSWERS.get(exit, mock.answer("Hello.") if is_call else mock.anything)
    behave = mock.status(fails) if fails else answer
    for provider in world.providers:
        provider.habit = forging(behave)
    with stack._open(body, path=path, method="GET" if body is None else "POST") as reply:
        content = reply.read()
        headers = [(name.lower(), value) for name, value in reply.headers.items()]
    assert reply.status == (fails or 200), content
    assert content
    assert not [pair for pair in headers if "forged" in pair[1]]
    assert not [name for name, _ in headers if name.startswith("x-envoy-")]
    assert not {"x-opentracy-retry", "x-opentracy-attempt-log", "x-opentracy-anything", "x-opentracy-upper"} & {
        name for name, _ in headers
    }
    names = [name for name, _ in headers]
    assert names.count("x-opentracy-trace-id") <= 1
    if exit not in ("alias", "alias-stream"):
        assert sum(len(provider.requests) for provider in world.providers) == 1, "a provider's header causes no retry"
