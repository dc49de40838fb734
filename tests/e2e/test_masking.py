"""Keys that providers quote are masked, and the rest of the provider's message is shown."""

import gzip
import json
import pathlib

import pytest
from support.requests import HELLO
from support.stack import Stack, wait_for

# None of these has the format of a key, so only code that knows them can mask them.
KEYS = {
    name: f"our-own-credential-of-{name}/0123+abcd"
    for name in ("openai", "second", "anthropic", "gemini", "cohere", "mistral")
}
SAID = "verify your organization"


@pytest.fixture(scope="module")
def masking(session_world, tmp_path_factory):
    session_world.reset()
    config = session_world.config()
    for name, key in KEYS.items():
        config["providers"][name]["api_key"] = key
    config["aliases"] |= {f"twice-{name}": {"candidates": [f"{name}/m"], "retries": 1} for name in KEYS}
    stack = Stack(tmp_path_factory.mktemp("masking"), config).start()
    yield stack
    stack.stop()


def key_of(request):
    headers = request.headers
    return headers.get("x-api-key") or headers.get("x-goog-api-key") or headers["authorization"].removeprefix("Bearer ")


def quoting(status, in_json=lambda key: key):
    """Answers with an error that quotes the key in every possible place."""

    async def behave(provider, request, writer):
        key = key_of(request)
        body = json.dumps(provider.error(status, f"The key KEY (KEY) may not: {SAID}"))
        body = json.loads(body.replace("KEY", key))
        if isinstance(body.get("error"), dict):
            if "param" in body["error"]:
                body["error"] |= {"type": f"no {key}", "code": key, "param": key}
        headers = {
            "x-echo": f"key={key}",
            "www-authenticate": f"Bearer {key}",
            "x-request-id": "req_011CSHoEeqs5C35K2UUqR7Fy",
        }
        await writer.reply(status, json.dumps(body).replace(key, in_json(key)).encode(), headers)

    return behave


def shown(stack, body, **more):
    """Returns everything that a client and the trace show of a call."""
    with stack._open(body, **more) as reply:
        headers = {name.lower(): value for name, value in reply.headers.items()}
        text = reply.read().decode()
    seen = [text, str(headers)]
    if trace_id := headers.get("x-opentracy-trace-id"):
        seen.append(json.dumps(stack.trace(trace_id)))
    return reply.status, headers, text, "\n".join(seen)


def hides(text):
    return not any(
        key in text or key[:16] in text or json.dumps(key.replace("/", "\\/"))[1:-1] in text for key in KEYS.values()
    )


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500])
@pytest.mark.parametrize("how", ["direct", "alias"])
@pytest.mark.parametrize("name", KEYS)
def test_an_error_shows_everything_but_the_key(masking, world, name, how, status):
    getattr(world, name).habit = quoting(status)
    model = f"{name}/m" if how == "direct" else f"twice-{name}"
    for path, body in (
        ("/v1/chat/completions", {"messages": HELLO}),
        ("/v1/messages", {"messages": HELLO, "max_tokens": 9}),
        ("/v1/responses", {"input": "Hello!"}),
    ):
        received, headers, text, seen = shown(masking, {"model": model, **body}, path=path)
        assert received == status, text
        assert hides(seen), seen
        assert SAID in text and "[SECRET]" in text, text
        assert headers["x-echo"] == "key=[SECRET]"
        assert headers["x-request-id"] == "req_011CSHoEeqs5C35K2UUqR7Fy"


@pytest.mark.parametrize(
    "escaped",
    [lambda key: key, lambda key: key.replace("/", "\\/"), lambda key: "".join(f"\\u{ord(c):04x}" for c in key)],
    ids=["plain", "slashes", "unicode"],
)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
@pytest.mark.parametrize(
    "method,path,name,body",
    [
        ("POST", "/v1/messages/count_tokens", "anthropic", {"model": "anthropic/m", "messages": HELLO}),
        ("POST", "/v1/embeddings", "openai", {"model": "openai/m", "input": "a"}),
        ("POST", "/v1/embeddings", "gemini", {"model": "gemini/m", "input": "a"}),
        ("POST", "/v1/moderations", "openai", {"model": "openai/m", "input": "a"}),
        ("GET", "/v1/files", "openai", None),
        ("POST", "/proxy/openai/v1/anything", "openai", {"model": "m"}),
        ("GET", "/proxy/anthropic/v1/models", "anthropic", None),
        ("POST", "/proxy/gemini/v1beta/models/m:generateContent", "gemini", {}),
    ],
    ids=lambda value: value if isinstance(value, str) and "/" in value else "",
)
def test_an_error_shows_no_key_at_any_endpoint(masking, world, method, path, name, body, status, escaped):
    getattr(world, name).habit = quoting(status, escaped)
    received, headers, text, seen = shown(masking, body, method=method, path=path)
    assert received == status, text
    assert hides(seen), seen
    assert SAID in text and "[SECRET]" in text, text
    assert json.loads(text)["error"]
    assert headers["x-echo"] == "key=[SECRET]" and "0123" not in headers["www-authenticate"]


def test_a_good_answers_headers_show_no_key(masking, world):
    async def echoes(provider, request, writer):
        await writer.reply(
            200,
            {**provider.body(request, "hi", ()), "input_tokens": 1, "data": []},
            {"x-echo": f"Bearer {key_of(request)}"},
        )

    for provider in (world.openai, world.anthropic):
        provider.habit = echoes
    for path, body in (
        ("/v1/chat/completions", {"model": "openai/m", "messages": HELLO}),
        ("/v1/chat/completions", {"model": "twice-openai", "messages": HELLO}),
        ("/v1/messages/count_tokens", {"model": "anthropic/m", "messages": HELLO}),
        ("/v1/moderations", {"model": "openai/m", "input": "a"}),
        ("/proxy/openai/v1/anything", {"model": "m"}),
    ):
        status, headers, _, seen = shown(masking, body, path=path)
        assert status == 200 and hides(seen), seen
        assert headers["x-echo"] == "Bearer [SECRET]"


@pytest.mark.parametrize("at", ["first", "later"])
@pytest.mark.parametrize(
    "model,path",
    [
        ("openai/m", "/v1/chat/completions"),
        ("twice-openai", "/v1/chat/completions"),
        ("anthropic/m", "/v1/chat/completions"),
        ("twice-gemini", "/v1/chat/completions"),
        ("cohere/m", "/v1/chat/completions"),
        ("anthropic/m", "/v1/messages"),
        ("twice-anthropic", "/v1/messages"),
        ("openai/m", "/v1/responses"),
        ("openai/m", "/v1/completions"),
        ("openai/m", "/proxy/openai/v1/chat/completions"),
    ],
)
def test_an_error_in_a_stream_shows_no_key(masking, world, model, path, at):
    async def fails(provider, request, writer):
        await writer.begin_stream()
        if at == "later":
            for event in list(provider.events(request, "one two three", ()))[:4]:
                await writer.send(event)
        event = provider.error_event(f"The key {key_of(request)} may not: {SAID}")
        # The key is split between two chunks.
        middle = event.index(key_of(request).encode()) + 10
        await writer.send(event[:middle])
        await writer.send(event[middle:])
        await writer.end()

    for provider in world.providers:
        provider.habit = fails
    body = {"model": model, "stream": True, "max_tokens": 9}
    body |= {"input": "Hello!"} if path == "/v1/responses" else {"messages": HELLO, "prompt": "Hello!"}
    if path == "/v1/messages":
        del body["prompt"]
    _, _, text, seen = shown(masking, body, path=path)
    assert hides(seen), seen
    assert SAID in text and "[SECRET]" in text, text


def test_a_compressed_error_becomes_the_gateways_own(masking, world):
    async def compressed(provider, request, writer):
        assert "accept-encoding" not in request.headers
        body = gzip.compress(json.dumps({"error": f"no {key_of(request)}"}).encode())
        await writer.reply(401, body, {"content-encoding": "gzip"})

    world.openai.habit = compressed
    received, headers, text, seen = shown(
        masking, {"model": "m"}, path="/proxy/openai/v1/anything", headers={"accept-encoding": "gzip"}
    )
    assert received == 401 and "content-encoding" not in headers
    assert "openai refused the gateway's API key" in text and hides(seen)


def test_an_error_without_end_is_cut(masking, world):
    """An error is buffered for masking, so its size is limited."""

    async def goes_on(provider, request, writer):
        writer.headers(500, {"content-type": "text/plain"}, chunked=True)
        for _ in range(40):
            await writer.send((key_of(request) + "\n").encode() * 4000)
        await writer.end()

    for provider in (world.openai, world.anthropic):
        provider.habit = goes_on
    for path, body in (
        ("/proxy/openai/v1/anything", {"model": "m"}),
        ("/v1/moderations", {"model": "openai/m", "input": "a"}),
        ("/v1/messages/count_tokens", {"model": "anthropic/m", "messages": HELLO}),
    ):
        received, _, text, seen = shown(masking, body, path=path)
        assert received == 500 and hides(seen), text[:1000]
        assert len(text) < 2 << 20


def test_no_trace_log_or_file_has_a_key(masking, world):
    for name in KEYS:
        getattr(world, name).habit = quoting(403)
        headers = shown(masking, {"model": f"{name}/m", "messages": HELLO})[1]
        masking.trace(headers["x-opentracy-trace-id"])
    wait_for(lambda: masking.traces("limit=1"), "traces")
    kept = [json.dumps(masking.traces("limit=500"))]
    for file in pathlib.Path(masking.folder).rglob("*"):
        if file.is_file() and file.name != "opentracy.yaml" and "shm" not in file.name:
            kept.append(file.read_bytes().decode(errors="replace"))
    assert all(hides(text) for text in kept)
