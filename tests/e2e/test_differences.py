"""Compares the two forms of the filter: no provider, client or trace can tell which one it is.

The inputs are those of the recorded exchanges in `filter-core/fixtures/exchanges/`: requests and
answers of the translation's fixtures, calls that pass through, and faults.
"""

import dataclasses
import http.client
import json
import pathlib
import re

import pytest
from support import aws, filters
from support.http import Server
from support.stack import Stack, free_port

FIXTURES = pathlib.Path(__file__).parents[2] / "translate" / "fixtures"
MODELS = {
    "openai": "openai/small",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "gemini": "gemini/gemini-2.5-flash",
    "bedrock": "bedrock/us.amazon.nova-pro-v1:0",
    "cohere": "cohere/command-a-03-2025",
}
JSON = "application/json"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
# Ids and times, which differ from call to call.
VARYING = [
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"\b00-[0-9a-f]{32}-[0-9a-f]{16}-01\b"), "TRACEPARENT"),
    (re.compile(r"\bses_[0-9A-Za-z_-]+"), "SESSION"),
    (re.compile(r"\b(chatcmpl|msg|resp|rs|fc|call|item)[-_][0-9A-Za-z_-]+"), r"\1-ID"),
    (re.compile(r'"(created|created_at|completed_at)": ?[0-9.]+'), r'"\1":TIME'),
    # An error of the gateway's own has no first token.
    (re.compile(r'"time_to_first_token_ms": ?(null|[0-9.]+)'), '"time_to_first_token_ms":TIME'),
    (re.compile(r'"(\w*_(?:ms|micros)|start\w*|stored\w*)": ?("[^"]*"|[0-9.]+)'), r'"\1":TIME'),
]
VARYING_HEADERS = {"date", "x-opentracy-routing-ms", "x-opentracy-overhead-ms"}


@dataclasses.dataclass
class Answer:
    """A provider's answer; with `cut`, the connection ends before that byte of the body."""

    status: int = 200
    content_type: str = JSON
    body: bytes = b"{}"
    cut: int | None = None


@dataclasses.dataclass
class Case:
    name: str
    path: str
    body: bytes
    # One for each attempt; the last one answers any more.
    answers: list[Answer]
    content_type: str = JSON
    method: str = "POST"


class Recorder:
    """A provider that answers what a case says, and keeps the requests."""

    def __init__(self):
        self.requests = []
        self.answers = []
        self._server = Server(self._handle)
        self.origin = f"http://127.0.0.1:{self._server.port}"

    async def _handle(self, request, writer):
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.cut == 0:
            return writer.close()
        writer.headers(answer.status, {"content-type": answer.content_type}, chunked=True)
        for start in range(0, len(answer.body), 97):
            if answer.cut is not None and start >= answer.cut:
                return writer.close()
            await writer.send(answer.body[start : start + 97])
        await writer.end()

    def stop(self):
        self._server.stop()


@pytest.fixture(scope="module")
def provider():
    recorder = Recorder()
    yield recorder
    recorder.stop()


@pytest.fixture(scope="module")
def stacks(filter_form, provider, tmp_path_factory):
    """Starts a stack with either form of the filter. Nothing else differs, apart from ports."""
    if "wasm" not in filters.FORMS:
        pytest.skip("there is no wasm filter to compare with")
    config = {
        "providers": {
            "openai": {"base_url": f"{provider.origin}/v1", "api_key": "key-of-openai"},
            "second": {"format": "openai", "base_url": f"{provider.origin}/v1", "api_key": "key-of-second"},
            "anthropic": {"base_url": provider.origin, "api_key": "key-of-anthropic"},
            "gemini": {"base_url": f"{provider.origin}/v1beta", "api_key": "key-of-gemini"},
            "bedrock": {"base_url": provider.origin, "api_key": "key-of-bedrock"},
            "cohere": {"base_url": provider.origin, "api_key": "key-of-cohere"},
            "gone": {"format": "openai", "base_url": f"http://127.0.0.1:{free_port()}/v1"},
        },
        "aliases": {
            "only": {"candidates": ["openai/small"]},
            "chain": {"candidates": ["openai/small", "second/large", MODELS["anthropic"]]},
            "gone-first": {"candidates": ["gone/x", "second/large"]},
        },
        "circuit_breaker": {"enabled": False},
    }
    both = [
        Stack(tmp_path_factory.mktemp(kind), config, filter_form=filters.FORMS[kind]).start()
        for kind in ("wasm", "native")
    ]
    yield both
    for stack in both:
        stack.stop()


def inputs(folder, what):
    """Returns the inputs of a folder of fixtures, by name."""
    return [(path.name, path.read_bytes()) for path in sorted((FIXTURES / folder / what).glob("*.in.*"))]


def of_fixtures(folder):
    """Returns a case for each answer, stream and error of a folder, with its requests in turn."""
    path, model = "/v1/chat/completions", MODELS.get(folder)
    if not model:
        path, model = f"/v1/{folder}", MODELS["openai"]
    answers = [(name, False, Answer(body=body)) for name, body in inputs(folder, "responses")]
    for name, body in inputs(folder, "streams"):
        kind = "text/event-stream"
        if folder == "bedrock":
            messages = [json.loads(line) for line in body.splitlines() if line.strip()]
            body = b"".join(aws.event(*event) for each in messages if isinstance(each, dict) for event in each.items())
            kind = "application/vnd.amazon.eventstream"
        answers.append((name, True, Answer(content_type=kind, body=body)))
    for name, body in inputs(folder, "errors"):
        answers.append((name, False, Answer(status=int(re.match(r"\d+", name)[0]), body=body)))
    requests = [json.loads(body) for name, body in inputs(folder, "requests") if not name.startswith("400")]
    assert requests and answers
    for number, (name, is_stream, answer) in enumerate(answers):
        body = {**requests[number % len(requests)], "model": model, "stream": is_stream}
        yield Case(f"{folder} {name}", path, json.dumps(body).encode(), [answer])


def passthrough():
    usage = Answer(body=b'{"usage": {"prompt_tokens": 7, "total_tokens": 7}, "data": []}')
    error = b'{"error": {"message": "no: key-of-openai", "type": "x"}}'
    for path, body in [
        ("/v1/embeddings", {"model": "openai/small", "input": "a"}),
        ("/v1/embeddings", {"model": "cohere/embed-v4.0", "input": ["a", "b"]}),
        ("/v1/embeddings", {"model": "anthropic/x", "input": "a"}),
        ("/v1/embeddings", {"model": 1}),
        ("/v1/embeddings", []),
        ("/v1/images/generations", {"model": "gpt-image-1", "prompt": "a cat"}),
        ("/v1/moderations", {"input": "hello"}),
        ("/v1/rerank", {"model": "cohere/rerank-v3.5", "query": "q", "documents": ["d"]}),
        ("/v1/completions", {"model": "only", "prompt": "a"}),
        ("/v1/audio/speech", {"model": "tts-1", "input": "a", "voice": "alloy"}),
        ("/v1/batches", {"input_file_id": "file-1"}),
        ("/proxy/openai/responses/resp_1/cancel", {}),
        ("/proxy/openai/v1/chat/completions?x=1", {"model": "small"}),
        ("/proxy/nobody/x", {}),
        ("/proxy/openai/../admin", {}),
    ]:
        for answer in (
            usage,
            Answer(401, body=error),
            Answer(429, body=error),
            Answer(cut=0),
            Answer(body=error, cut=1),
        ):
            yield Case(f"{path} {body} {answer}", path, json.dumps(body).encode(), [answer])
    stream = b'data: {"choices":[]}\n\ndata: {"usage":{"prompt_tokens":3}}\n\ndata: [DONE]\n\n'
    body = b'{"model": "only", "prompt": "a", "stream": true}'
    yield Case("a stream", "/v1/completions", body, [Answer(content_type="text/event-stream", body=stream)])
    form = (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nopenai/whisper-1\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\nsound\r\n--b--\r\n'
    )
    for path in ("/v1/audio/transcriptions", "/v1/audio/translations"):
        yield Case(f"{path} form", path, form, [usage], content_type="multipart/form-data; boundary=b")
    for path in ("/v1/files", "/v1/files/file-1/content", "/v1/batches?limit=2", "/v1/models"):
        yield Case(f"GET {path}", path, b"", [usage], method="GET")


def faults():
    def chat(model, **more):
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **more}
        return json.dumps(body).encode()

    fine = Answer(body=inputs("messages", "responses")[0][1])
    stream = Answer(content_type="text/event-stream", body=inputs("messages", "streams")[0][1])
    refusals = [Answer(429, body=b'{"error": {"message": "slow down"}}'), Answer(503, body=b"<html>down</html>")]
    # Answers that break off are in test_fallback.py: Envoy words the error for some of them, and
    # may have sent the last attempt twice.
    bad = [
        Answer(body=b'{"choices":[{'),
        Answer(body=b"[]"),
        Answer(body=b'{"error":{"message":"overloaded"}}'),
        Answer(502, "text/html", b"<html>bad gateway</html>"),
        Answer(401, body=b'{"error":{"message":"bad key key-of-openai"}}'),
        Answer(cut=0),
    ]
    for model in ("openai/small", "only", "chain", "gone-first", "gone/x"):
        for path in ("/v1/chat/completions", "/v1/messages"):
            body = chat(model, max_tokens=9)
            # The provider stage of a wasm filter can't pass the reason for an empty body on.
            empty = [Answer(body=b"")] if model in ("openai/small", "only") else []
            for answer in (*empty, *bad, *refusals, fine):
                yield Case(f"{path} {model} {answer}", path, body, [answer])
                yield Case(f"{path} {model} {answer}, then well", path, body, [answer, fine])
        for answer in (stream, *refusals):
            answers = [answer, stream]
            yield Case(f"{model} stream {answer}", "/v1/chat/completions", chat(model, stream=True), answers)
    for body in (
        chat("nobody/x"),
        chat("unknown"),
        chat("openai/small", messages=[], stream="yes"),
        b'{"model": "openai/small"}',
        b'"no object"',
        b"{",
        b"",
    ):
        yield Case(f"refused {body}", "/v1/chat/completions", body, [fine])


def masked(text):
    """Masks ids and times."""
    for pattern, name in VARYING:
        text = pattern.sub(name, text)
    return text


def sorted_headers(headers, body):
    pairs = ((name.lower(), masked(value)) for name, value in headers.items())
    # Times in a body have varying lengths.
    length = "content-length", str(len(body))
    pairs = ((name, "right" if (name, value) == length else value) for name, value in pairs)
    return sorted((name, "" if name in VARYING_HEADERS else value) for name, value in pairs)


def exchange(stack, provider, case):
    """Makes a call. Returns what provider and client got, the trace's id and its attempts."""
    provider.requests.clear()
    provider.answers = list(case.answers)
    headers = {"content-type": case.content_type, "user-agent": "curl/8", "traceparent": TRACEPARENT}
    body = case.body if case.method == "POST" else None
    got = {}
    with stack._open(body, headers=headers, path=case.path, method=case.method) as reply:
        try:
            text = reply.read()
        except http.client.IncompleteRead as cut:
            text = cut.partial + b" and no end"
        got["client"] = reply.status, sorted_headers(reply.headers, text), masked(text.decode(errors="replace"))
        trace_id, attempts = (reply.headers[f"x-opentracy-{what}"] for what in ("trace-id", "attempts"))
    got["provider"] = [
        (each.method, each.path, sorted_headers(each.headers, each.body), masked(each.body.decode(errors="replace")))
        for each in provider.requests
    ]
    # Envoy may have sent an attempt twice, if the connection closed at once.
    return got, trace_id, int(attempts or bool(provider.requests))


def all_exchanges(stack, provider, cases):
    results = [exchange(stack, provider, case) for case in cases]
    for got, trace_id, attempts in results:
        if trace_id:
            trace = stack.trace(trace_id, attempts)
            got["trace"] = masked(json.dumps(trace, sort_keys=True, indent=1))
    return [got for got, *_ in results]


@pytest.mark.parametrize("group", [*MODELS, "messages", "responses", "passthrough", "faults"])
def test_both_forms_of_the_filter_do_the_same(stacks, provider, group):
    own = {"passthrough": passthrough, "faults": faults}
    cases = list(own[group]() if group in own else of_fixtures(group))
    wasm, native = (all_exchanges(stack, provider, cases) for stack in stacks)
    traced = sum("trace" in got for got in wasm)
    print(f"{group}: {len(cases)} calls, {traced} traces")
    assert traced > len(cases) / 2
    for case, with_wasm, with_native in zip(cases, wasm, native, strict=True):
        assert with_wasm == with_native, case.name
