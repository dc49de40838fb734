"""Streams that end early on either side, and other kinds of connections."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request

import httpx2
import openai
import pytest
import yaml
from openai import OpenAI
from support import providers as mock
from support.requests import HELLO, MODELS
from support.stack import wait_for

# Aliases whose first candidate is the provider's model.
ALIASES = {
    "openai": "chain",
    "anthropic": "smart",
    "gemini": "google",
    "bedrock": "amazon",
    "cohere": "canadian",
    "mistral": "french",
    "vertex": "cloud",
}

each_format = pytest.mark.parametrize("provider", MODELS)


def read_until_error(client, model):
    """Returns the headers, the text before the SDK raised an error, and the error."""
    stream = client.chat.completions.with_raw_response.create(model=model, messages=HELLO, stream=True)
    text = ""
    try:
        for chunk in stream.parse():
            text += chunk.choices[0].delta.content or "" if chunk.choices else ""
    except (openai.APIError, httpx2.HTTPError) as error:
        return stream.headers, text, error
    raise AssertionError("the stream ended as if it were complete")


@each_format
@pytest.mark.parametrize("path", ["direct", "internal"])
@pytest.mark.parametrize("how", ["error", "end", "eof"])
def test_a_stream_that_stops_short_ends_with_an_error_event(client, stack, world, provider, path, how):
    """The provider sends an error event, or closes cleanly without the last event."""
    getattr(world, provider).habit = mock.break_off(4, how)
    model = MODELS[provider] if path == "direct" else ALIASES[provider]
    headers, text, error = read_until_error(client, model)
    assert text.startswith("one ")
    assert isinstance(error, openai.APIError) and error.type in ("api_error", "overloaded_error")
    trace = stack.trace(headers["x-opentracy-trace-id"])
    assert trace["outcome"] == "upstream_broke_off"
    assert trace["error"]["message"] == error.message
    assert trace["response"]["choices"][0]["message"]["content"].startswith("one ")
    # After the first byte, a stream does not fail over.
    assert sum(len(each.requests) for each in world.providers) == 1


@each_format
@pytest.mark.parametrize("path", ["direct", "internal"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_stream_whose_connection_breaks_is_no_complete_stream(client, stack, world, provider, path, how):
    """Envoy propagates a broken connection past every filter; the client's library reports it."""
    getattr(world, provider).habit = mock.break_off(4, how)
    model = MODELS[provider] if path == "direct" else ALIASES[provider]
    headers, text, _ = read_until_error(client, model)
    assert text.startswith("one ")
    trace = stack.trace(headers["x-opentracy-trace-id"])
    assert trace["outcome"] == "upstream_broke_off"
    assert trace["error"]["code"] == "incomplete_stream"


@each_format
@pytest.mark.parametrize("path", ["direct", "internal"])
def test_a_client_that_leaves_cancels_the_provider(client, stack, world, provider, path):
    getattr(world, provider).habit = mock.endless()
    model = MODELS[provider] if path == "direct" else ALIASES[provider]
    raw = client.chat.completions.with_raw_response.create(model=model, messages=HELLO, stream=True)
    stream = raw.parse()
    for _ in range(3):
        next(stream)
    stream.close()
    request = getattr(world, provider).requests[0]
    assert request.canceled.wait(2), "the stream at the provider was not canceled"
    trace = stack.trace(raw.headers["x-opentracy-trace-id"])
    assert trace["outcome"] == "client_disconnected"
    assert trace["response"]["choices"][0]["message"]["content"].startswith("on")


def test_a_client_that_leaves_before_the_answer_cancels_the_provider(stack, world):
    world.openai.habit = mock.hang
    body = json.dumps({"model": "openai/gpt-4o-mini", "messages": HELLO, "metadata": {"test": "left-early"}}).encode()
    host = f"127.0.0.1:{stack.ports['gateway']}".encode()
    with socket.create_connection(("127.0.0.1", stack.ports["gateway"])) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: %s\r\ncontent-length: %d\r\n\r\n%s" % (host, len(body), body)
        )
        wait_for(lambda: world.openai.requests, "the request")
    assert world.openai.requests[0].canceled.wait(2), "the call at the provider was not canceled"
    (trace,) = wait_for(lambda: stack.traces("metadata.test=left-early"), "the trace")
    assert trace["outcome"] == "client_disconnected"
    assert trace["status"] == 0


@each_format
def test_http2_with_trailers(stack, world, provider):
    """A client ends its request with trailers, as some gRPC proxies do."""
    import h2.config
    import h2.connection
    import h2.events

    body = json.dumps({"model": MODELS[provider], "messages": HELLO}).encode()
    with socket.create_connection(("127.0.0.1", stack.ports["gateway"])) as connection:
        client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        client.initiate_connection()
        client.send_headers(
            1,
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", f"127.0.0.1:{stack.ports['gateway']}"),
                (":path", "/v1/chat/completions"),
                ("content-type", "application/json"),
                ("te", "trailers"),
            ],
        )
        client.send_data(1, body)
        client.send_headers(1, [("x-checksum", "abc")], end_stream=True)
        connection.sendall(client.data_to_send())
        connection.settimeout(10)
        status, reply, is_over = None, b"", False
        while not is_over:
            for event in client.receive_data(connection.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers)[b":status"]
                elif isinstance(event, h2.events.DataReceived):
                    reply += event.data
                is_over |= isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset))
    assert status == b"200"
    assert json.loads(reply)["choices"][0]["message"]["content"] == "Hello from the mock."


def test_draining_lets_streams_end(own_stack, world):
    """`POST /drain_listeners?graceful`, as in a rolling restart: open streams finish."""
    stack = own_stack()
    world.anthropic.habit = mock.answer("a long answer in a good many words that takes its time", pause=0.15)
    client = OpenAI(base_url=stack.base_url, api_key="x", max_retries=0)
    streams = [client.chat.completions.create(model="smart", messages=HELLO, stream=True) for _ in range(4)]
    texts = [""] * 4
    errors = []

    def read(index):
        try:
            for chunk in streams[index]:
                texts[index] += chunk.choices[0].delta.content or "" if chunk.choices else ""
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    readers = [threading.Thread(target=read, args=(index,)) for index in range(4)]
    for reader in readers:
        reader.start()
    time.sleep(0.3)
    admin = f"http://127.0.0.1:{stack.ports['admin']}/drain_listeners?graceful"
    urllib.request.urlopen(urllib.request.Request(admin, method="POST")).close()
    for reader in readers:
        reader.join()
    assert not errors
    assert [text.strip() for text in texts] == ["a long answer in a good many words that takes its time"] * 4
    wait_for(lambda: len(stack.traces("alias=smart")) == 4, "the traces")


@pytest.mark.parametrize("size", [100, 20_000, 300_000])
@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "anthropic/claude-sonnet-4-6", "chain"])
def test_a_buffering_filter_behind_ours_gets_the_whole_body(own_stack, world, size, model):
    stack = own_stack(edit_bootstrap=with_buffer_filter)
    messages = [{"role": "user", "content": "x" * size}]
    assert stack.post({"model": model, "messages": messages})[0] == 200
    provider = world.anthropic if model.startswith("anthropic") else world.openai
    assert "x" * size in provider.requests[0].body.decode()


def with_buffer_filter(bootstrap):
    config = yaml.safe_load(bootstrap)
    buffer = {
        "name": "envoy.filters.http.buffer",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
            "max_request_bytes": 33554432,
        },
    }
    for listener in config["static_resources"]["listeners"]:
        filters = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
        filters.insert(len(filters) - 1, buffer)
    return yaml.safe_dump(config).encode()


def test_envoy_ends_on_sigterm_with_its_last_traces_delivered(own_stack, world):
    stack = own_stack()
    for _ in range(20):
        assert stack.post({"model": "smart", "messages": HELLO})[0] == 200
    time.sleep(0.5)
    stack.envoy.send_signal(signal.SIGTERM)
    stack.envoy.wait(10)
    wait_for(lambda: len(stack.traces("alias=smart&limit=100")) == 20, "the traces")


def test_the_generated_bootstrap_is_valid(own_stack, tmp_path):
    stack = own_stack()
    checked = subprocess.run(
        [os.environ["OPENTRACY_ENVOY"], "--mode", "validate", "-c", str(stack.folder / "envoy.yaml")],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr[-2000:]
    assert "deprecated" not in checked.stderr.lower()


@pytest.mark.parametrize("model", ["only", "chain"])
def test_a_stream_may_take_longer_than_a_try_may_take_to_begin(client, world, model):
    words = "one two three four five six seven"
    world.openai.habit = mock.answer(words, pause=0.3)
    chunks = list(client.chat.completions.create(model=model, messages=HELLO, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).strip() == words
