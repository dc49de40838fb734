"""Every endpoint except those for conversations, called with the official SDK."""

import base64
import io
import re
import struct

import openai
import pytest
from support.endpoints import VECTOR, OpenAiServer, Others
from support.neighbors import GuestStack
from support.stack import Stack, wait_for


@pytest.fixture(scope="module")
def mocks():
    mine, others = OpenAiServer(), Others()
    yield mine, others
    mine.server.stop()
    others.server.stop()


@pytest.fixture(scope="module", params=["alone", "guest"])
def served(request, mocks, neighbors, filter_form, tmp_path_factory):
    mine, others = mocks
    other = f"http://127.0.0.1:{others.server.port}"
    config = {
        "providers": {
            "openai": {"base_url": f"{mine.origin}/v1", "api_key": "sk-endpoints"},
            "jina": {"format": "openai", "base_url": f"{mine.origin}/v1", "api_key": "sk-endpoints"},
            "gemini": {"base_url": f"{other}/v1beta", "api_key": "g"},
            "cohere": {"base_url": other, "api_key": "c"},
            "mistral": {"base_url": f"{other}/mistral/v1", "api_key": "m"},
            "bedrock": {"base_url": other, "region": "us-east-1"},
        },
        "aliases": {"embed": {"candidates": ["openai/text-embedding-3-small"]}},
        "endpoints": {"transcriptions": "openai/whisper-1"},
        "prices": {"openai/text-embedding-3-small": {"input": 2e-8, "output": 0}},
        "keys": {
            "root": {"key_env": "ROOT", "role": "admin"},
            "limited": {"key_env": "LIMITED", "limits": {"requests_per_minute": 1000, "concurrent_requests": 100}},
        },
    }
    environment = {
        "ROOT": "root",
        "LIMITED": "limited",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    folder = tmp_path_factory.mktemp("endpoints")
    options = {"environment": environment, "key": "root"}
    if request.param == "guest":
        stack = GuestStack(folder, config, neighbors, **options).start()
    else:
        stack = Stack(folder, config, **options).start()
    yield stack
    stack.stop()


@pytest.fixture
def sdk(served, mocks):
    mocks[0].requests.clear()
    mocks[0].problems.clear()
    yield openai.OpenAI(base_url=served.base_url, api_key="root", max_retries=0)
    assert not mocks[0].problems


def traced(stack, raw):
    return stack.trace(raw.headers["x-opentracy-trace-id"])


@pytest.mark.parametrize("model", ["text-embedding-3-small", "openai/text-embedding-3-small", "embed"])
def test_embeddings(sdk, served, mocks, model):
    raw = sdk.embeddings.with_raw_response.create(model=model, input=["a", "b"])
    answer = raw.parse()
    assert [each.embedding for each in answer.data] == [VECTOR, VECTOR]
    assert raw.headers["x-opentracy-selected-model"] == "openai/text-embedding-3-small"
    trace = traced(served, raw)
    assert (trace["api"], trace["provider"], trace["status"]) == ("embeddings", "openai", 200)
    assert trace["key"] == "root" and trace["tokens"]["input"] == 4
    assert trace["cost"]["total"] == pytest.approx(8e-8)
    assert trace["request"]["input"] == ["a", "b"] and trace["response"] is None


@pytest.mark.parametrize(
    "model,tokens",
    [
        ("gemini/gemini-embedding-001", 0),
        ("cohere/embed-v4.0", 6),
        ("bedrock/amazon.titan-embed-text-v2:0", 5),
        ("mistral/mistral-embed", 7),
    ],
)
@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_embeddings_of_other_formats(sdk, served, model, tokens, encoding):
    more = {} if encoding is None else {"encoding_format": encoding}
    wait_for(lambda: served.post({"model": model, "input": "warm"}, path="/v1/embeddings")[0] == 200, "credentials")
    answer = sdk.embeddings.create(model=model, input="a", dimensions=3, **more)
    vector = answer.data[0].embedding
    if encoding == "base64" and isinstance(vector, str):
        vector = list(struct.unpack("<3f", base64.b64decode(vector)))
    assert vector == VECTOR
    assert answer.usage.prompt_tokens == tokens


def test_unsupported_embeddings_are_explained(sdk):
    with pytest.raises(openai.BadRequestError) as raised:
        sdk.embeddings.create(model="bedrock/amazon.titan-embed-text-v2:0", input=["a", "b"])
    assert raised.value.param == "input" and "one text" in raised.value.message
    with pytest.raises(openai.BadRequestError) as raised:
        sdk.images.generate(model="cohere/x", prompt="a")
    assert raised.value.code == "unsupported_endpoint"


def test_images(sdk, served):
    raw = sdk.images.with_raw_response.generate(model="gpt-image-1", prompt="a cat")
    assert raw.parse().data[0].b64_json == "aGk="
    trace = traced(served, raw)
    assert (trace["api"], trace["tokens"]["output"]) == ("images", 100)


def test_speech_is_streamed(sdk, served):
    with sdk.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="hello") as reply:
        assert reply.headers["content-type"] == "audio/mpeg"
        assert b"".join(reply.iter_bytes()) == b"".join(bytes([index]) * 1000 for index in range(20))
        trace = traced(served, reply)
    assert trace["api"] == "speech" and trace["response"] is None and trace["request"]["input"] == "hello"


@pytest.mark.parametrize("model,sent", [("whisper-1", "whisper-1"), ("openai/whisper-1", "whisper-1"), ("jina/x", "x")])
@pytest.mark.parametrize("what", ["transcriptions", "translations"])
def test_audio_goes_up_as_a_form(sdk, served, what, model, sent):
    audio = ("a.wav", io.BytesIO(b"RIFF" + bytes(300_000)), "audio/wav")
    raw = getattr(sdk.audio, what).with_raw_response.create(model=model, file=audio)
    assert raw.parse().text.startswith(f"{sent} heard 300")
    assert traced(served, raw)["api"] == what


def test_what_comes_while_a_limit_is_asked_for_is_not_lost(sdk):
    audio = bytes(range(256)) * 2000
    client = sdk.with_options(api_key="limited")
    lengths = set()
    for _ in range(10):
        answer = client.audio.transcriptions.create(model="openai/whisper-1", file=("a.wav", audio, "audio/wav"))
        lengths.add(int(answer.text.split()[2]))
    assert len(lengths) == 1 and lengths.pop() > len(audio)


@pytest.mark.parametrize("path", ["/v1/moderations", "/proxy/openai/v1/moderations"])
def test_a_providers_error_shows_no_key(served, path):
    status, headers, reply = served.post({"input": "a", "model": "refuse-me"}, path=path)
    assert status == 401 and "very-secret" not in str(reply), reply
    trace = served.trace(headers["x-opentracy-trace-id"])
    assert "very-secret" not in str(trace) and trace["error"]["type"] == "authentication_error"


def test_a_form_is_not_held(served, mocks):
    """The provider gets the beginning of a file before its end is sent. Files can have any size."""
    import socket

    mine = mocks[0]
    mine.requests.clear()
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\ncontent-type: audio/wav\r\n\r\n'
    tail = b'\r\n--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
    size = 40 << 20
    with socket.create_connection(("127.0.0.1", served.ports["gateway"])) as connection:
        connection.sendall(
            b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nauthorization: Bearer root\r\n"
            b"content-type: multipart/form-data; boundary=b\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n" % (served.ports["gateway"], len(head) + size + len(tail))
        )
        connection.sendall(head)
        memory = lambda: int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{served.envoy.pid}/status").read())[1]) // 1024
        before, peak = memory(), 0
        for _ in range(40):
            connection.sendall(bytes(1 << 20))
            peak = max(peak, memory())
        connection.sendall(tail)
        reply = b""
        while chunk := connection.recv(65536):
            reply += chunk
    assert reply.startswith(b"HTTP/1.1 200"), reply[:500]
    assert b"whisper-1 heard 41943" in reply
    assert peak - before < 30, f"{peak - before} MB more memory for a file of 40 MB"


def test_moderations(sdk, served):
    raw = sdk.moderations.with_raw_response.create(input="hello")
    assert raw.parse().results[0].flagged is False
    assert traced(served, raw)["api"] == "moderations"


@pytest.mark.parametrize("stream", [False, True])
def test_old_completions(sdk, served, stream):
    raw = sdk.completions.with_raw_response.create(model="openai/gpt-3.5-turbo-instruct", prompt="say", stream=stream)
    parsed = raw.parse()
    text = "".join(chunk.choices[0].text for chunk in parsed if chunk.choices) if stream else parsed.choices[0].text
    assert text.strip() == "a b"
    trace = traced(served, raw)
    assert (trace["api"], trace["tokens"]["input"], trace["tokens"]["output"]) == ("completions", 5, 2)


@pytest.mark.parametrize("model,first", [("jina/jina-reranker-v2", 1), ("cohere/rerank-v4", 0)])
def test_rerank(served, mocks, model, first):
    body = {"model": model, "query": "q", "documents": ["a", "b"], "top_n": 2}
    status, headers, reply = served.post(body, path="/v1/rerank")
    assert status == 200 and reply["results"][0]["index"] == first
    requests = mocks[0].requests if model.startswith("jina") else mocks[1].requests
    assert requests[-1].json["model"] == model.split("/")[1]
    assert served.trace(headers["x-opentracy-trace-id"])["api"] == "rerank"


def test_files_and_batches(sdk, served):
    made = sdk.files.create(file=("a.jsonl", b"{}\n"), purpose="batch")
    assert made.id == "file-1"
    assert list(sdk.files.list()) == []
    assert sdk.files.retrieve("file-1").filename == "a.jsonl"
    assert sdk.files.content("file-1").read() == b"line 1\nline 2\n"
    assert sdk.files.delete("file-1").deleted
    batch = sdk.batches.create(input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h")
    assert batch.id == "batch-1"
    assert sdk.batches.retrieve("batch-1").status == "validating"
    assert list(sdk.batches.list()) == []
    assert sdk.batches.cancel("batch-1").id == "batch-1"
    other = sdk.with_options(default_headers={"x-opentracy-provider": "nobody"})
    with pytest.raises(openai.NotFoundError) as raised:
        other.files.list()
    assert raised.value.code == "provider_not_found"


def test_models(sdk):
    assert "openai/gpt-4o-mini" in {model.id for model in sdk.models.list()}


# A provider's own API


def test_a_providers_own_api(served, mocks):
    mocks[0].requests.clear()
    client = openai.OpenAI(
        base_url=f"{served.origin}/proxy/openai/v1",
        api_key="root",
        max_retries=0,
        default_headers={"cookie": "client-secret", "x-own": "kept", "x-forwarded-for": "1.2.3.4"},
    )
    raw = client.models.with_raw_response.list()
    assert [model.id for model in raw.parse()] == ["m"]
    assert raw.headers["x-provider"] == "yes" and "set-cookie" not in raw.headers
    seen = mocks[0].requests[0].headers
    assert seen["authorization"] == "Bearer sk-endpoints" and seen["x-own"] == "kept"
    assert not {"cookie", "x-forwarded-for", "x-opentracy-hop", "x-envoy-attempt-count"} & set(seen)
    assert "root" not in str(seen)
    trace = served.trace(raw.headers["x-opentracy-trace-id"])
    assert (trace["api"], trace["provider"], trace["model"]) == ("proxy", "openai", None)


def test_any_method_and_body_pass_as_they_are(served):
    body = b'{"odd":   [1,\n2]}'
    status, _, reply = served.post(body, method="PATCH", path="/proxy/openai/own/thing?a=1&b=%20")
    assert status == 207
    assert reply == {"method": "PATCH", "query": "a=1&b=%20", "body": body.decode()}


def test_a_proxied_stream_is_streamed_and_priced(served):
    client = openai.OpenAI(base_url=f"{served.origin}/proxy/openai/v1", api_key="root", max_retries=0)
    raw = client.completions.with_raw_response.create(model="m", prompt="say", stream=True)
    assert len(list(raw.parse())) == 3
    trace = traced(served, raw)
    assert trace["stream"] and trace["tokens"]["input"] == 5


def test_a_signed_provider_is_signed_for_in_the_proxy_too(served):
    body = {"inputText": "a"}
    path = "/proxy/bedrock/model/amazon.titan-embed-text-v2%3A0/invoke"
    wait_for(
        lambda: (
            served.post({"model": "bedrock/amazon.titan-embed-text-v2:0", "input": "a"}, path="/v1/embeddings")[0]
            == 200
        ),
        "credentials",
        10,
    )
    status, _, reply = served.post(body, path=path)
    assert (status, reply.get("embedding")) == (200, VECTOR), reply


@pytest.mark.parametrize(
    "path,status",
    [
        ("/proxy/nobody/v1/models", 404),
        ("/proxy/demo/demo/v1/../../v1/traces", 404),
        ("/proxy/demo/%2e%2e/%2e%2e/v1/traces", 400),
        ("/proxy/demo/..%2f..%2fv1/traces", 400),
        ("/proxy/", 404),
        ("/proxy", 404),
    ],
)
def test_the_proxy_reaches_nothing_else(served, path, status):
    found, _, reply = served.post(None, method="GET", path=path)
    assert found in (status, 400, 404), reply
    assert "data" not in (reply or {})


def test_an_unreachable_provider_is_an_error_in_openais_format(own_stack, world):
    stack = own_stack()
    status, _, reply = stack.post({"model": "gone/x", "input": "a"}, path="/v1/embeddings")
    assert status in (502, 503) and reply["error"]["code"]
    status, _, reply = stack.post(None, method="GET", path="/proxy/gone/v1/models")
    assert status in (502, 503) and reply["error"]["code"]


@pytest.mark.parametrize("path", ["/healthz", "/statsz", "/metrics"])
def test_health_and_metrics_are_on_the_gateways_listener_too(served, path):
    with served._open(None, method="GET", path=path) as reply:
        assert reply.status == 200
    if path == "/healthz":
        assert served.post_raw(None, method="GET", path=path) == b"ok"
