"""Traces record what the configuration allows, and nothing else."""

import json
import pathlib
import sqlite3

import pytest
import zstandard
from support.stack import wait_for

KEY = "client-key-of-the-quiet-team"
OTHER = "client-key-of-the-masked-team"
ROOT = "an-administrators-key"
SAID = (
    "Write to jane.doe@example.com or +49 170 1234567, card 4111 1111 1111 1111, "
    "IBAN DE44500105175407324931, from 203.0.113.9, badge EMP-123456"
)
SENSITIVE = ["jane.doe", "170 1234567", "4111 1111", "DE4450010517", "203.0.113.9", "EMP-123456"]


@pytest.fixture(scope="module")
def private(session_world, tmp_path_factory):
    from support.stack import Stack

    session_world.reset()
    config = session_world.config()
    config["aliases"] |= {
        "quiet": {"candidates": ["openai/gpt-4o-mini"], "traces": {"content": False}},
        "masked": {"candidates": ["openai/gpt-4o-mini", "anthropic/claude-sonnet-4-6"], "traces": {"redact": True}},
    }
    config["traces"] = {"patterns": {"badge": "EMP-[0-9]{6}"}}
    config["keys"] = {
        "quiet-team": {"key_env": "QUIET_KEY", "traces": {"content": False}},
        "masked-team": {"key_env": "MASKED_KEY", "traces": {"redact": True}},
        "root": {"key_env": "ROOT_KEY", "role": "admin"},
    }
    environment = {"QUIET_KEY": KEY, "MASKED_KEY": OTHER, "ROOT_KEY": ROOT}
    stack = Stack(tmp_path_factory.mktemp("private"), config, environment=environment, key=ROOT).start()
    yield stack
    stack.stop()


def trace_of(stack, model="openai/gpt-4o-mini", headers=None, **more):
    messages = [{"role": "user", "content": SAID}]
    status, reply_headers, _ = stack.post(
        {
            "model": model,
            "messages": messages,
            "user": "jane.doe@example.com",
            "metadata": {"mail": "jane.doe@example.com"},
            **more,
        },
        headers=headers or {},
    )
    assert status == 200
    return stack.trace(reply_headers["x-opentracy-trace-id"])


def test_everything_is_recorded_by_default(private):
    trace = trace_of(private)
    assert all(word in json.dumps(trace) for word in SENSITIVE)
    assert trace["key"] == "root"


@pytest.mark.parametrize(
    "case",
    [
        {"model": "quiet"},
        {"headers": {"authorization": f"Bearer {KEY}"}},
        {"headers": {"x-api-key": KEY}},
        {"headers": {"x-opentracy-content": "off"}},
        {"model": "masked", "headers": {"authorization": f"Bearer {KEY}"}},
    ],
    ids=["alias", "key", "anthropic-style-key", "header", "alias-and-key"],
)
def test_content_can_be_kept_out(private, case):
    trace = trace_of(private, **case)
    assert trace["request"] is None and trace["response"] is None
    assert trace["tokens"] and trace["cost"], "tokens and cost are recorded without content"
    assert private.traces("q=badge&limit=1") is not None


def test_a_header_can_only_be_stricter(private):
    assert trace_of(private, "quiet", headers={"x-opentracy-content": "on"})["request"] is None


def test_a_misspelled_header_records_nothing(private, world):
    status, _, reply = private.post(
        {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": SAID}]},
        headers={"x-opentracy-content": "none"},
    )
    assert status == 400 and "X-OpenTracy-Content" in reply["error"]["message"]
    assert not world.openai.requests


@pytest.mark.parametrize(
    "case",
    [
        {"model": "masked"},
        {"model": "masked", "stream": True},
        {"headers": {"authorization": f"Bearer {OTHER}"}},
    ],
    ids=["alias", "stream", "key"],
)
def test_masked_is_masked_everywhere(private, world, case, tmp_path):
    seen = len(world.openai.requests)
    if case.get("stream"):
        body = private.post_raw({"model": "masked", "messages": [{"role": "user", "content": SAID}], "stream": True})
        assert b"[DONE]" in body
        trace = wait_for(
            lambda: next((t for t in private.traces("alias=masked&limit=1") if t["stream"]), None), "the stream's trace"
        )
    else:
        trace = trace_of(private, **case)
    text = json.dumps(trace)
    assert not [word for word in SENSITIVE if word in text], text
    for mark in ("[EMAIL]", "[PHONE]", "[CARD]", "[IBAN]", "[IP]", "[BADGE]"):
        assert mark in text
    # The provider gets the unmasked request.
    assert "jane.doe@example.com" in json.dumps(world.openai.requests[seen].json)


def test_nothing_masked_is_in_any_place_it_could_leak_to(session_world, tmp_path):
    """Checks journal, store, write-ahead log, logs, metrics and exports with all content masked."""
    from support.stack import Stack

    session_world.reset()
    config = {**session_world.config(), "traces": {"redact": True, "patterns": {"badge": "EMP-[0-9]{6}"}}}
    stack = Stack(tmp_path, config, environment={"OPENTRACY_LOG": "debug"}).start()
    try:
        trace = trace_of(stack)
        stack.post({"model": "gpt-4o", "messages": "wrong: " + SAID})
        wait_for(lambda: len(stack.traces()) == 2, "both traces")
        shown = [json.dumps(trace)]
        for path in ("/v1/traces", "/v1/traces/export", "/metrics", "/statsz", "/v1/analytics/summary?group_by=model"):
            shown.append(stack.post_raw(None, method="GET", path=path, origin=stack.management).decode())
        stack.kill_control_plane()
        for file in pathlib.Path(tmp_path).rglob("*"):
            if file.is_file() and "shm" not in file.name:
                shown.append(file.read_bytes().decode(errors="replace"))
        with sqlite3.connect(tmp_path / "traces.db") as store:
            for (record,) in store.execute("SELECT record FROM bodies"):
                shown.append(zstandard.ZstdDecompressor().decompress(record, max_output_size=1 << 24).decode())
        assert any("[EMAIL]" in text for text in shown)
        for word in SENSITIVE:
            assert not [text[:80] for text in shown if word in text], word
    finally:
        stack.stop()


@pytest.mark.parametrize("stream", [False, True])
def test_masked_is_masked_at_every_endpoint(private, session_world, stream):
    async def repeats(provider, request, writer):
        if request.json["model"] == "refused":
            return await writer.reply(
                400, {"error": {"message": f"not this: {SAID}", "type": "x", "param": None, "code": None}}
            )
        if not stream:
            return await writer.reply(200, {"choices": [{"index": 0, "text": SAID}]})
        await writer.begin_stream()
        for start in range(0, len(SAID), 5):
            event = {"choices": [{"index": 0, "text": SAID[start : start + 5]}]}
            await writer.send(b"data: " + json.dumps(event).encode() + b"\n\n")
        await writer.end()

    session_world.reset()
    session_world.openai.habit = repeats
    for model, status in (("openai/davinci", 200), ("openai/refused", 400)):
        body = {"model": model, "prompt": SAID, "stream": stream}
        with private._open(body, path="/v1/completions", headers={"authorization": f"Bearer {OTHER}"}) as reply:
            assert reply.status == status
            reply.read()
        trace = private.trace(reply.headers["x-opentracy-trace-id"])
        assert trace["request"]["prompt"].startswith("Write to")
        assert not any(word in json.dumps(trace) for word in SENSITIVE), trace
        # Masking also covers values that are split between chunks of a stream.
        pieces = json.dumps(trace["response"])
        assert "jane" not in pieces and "4111" not in pieces
    session_world.reset()
