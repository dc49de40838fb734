"""Traces of calls, and searches for them."""

import json
import urllib.parse

import pytest
from support import providers as mock
from support.stack import Stack, wait_for

SECRETS = {
    "e-mail": "jane.doe@example.com",
    "phone": "+1 (415) 555-0132",
    "card": "4111 1111 1111 1111",
    "key": "sk-proj-abcdefghijklmnopqrstuvwxyz123456",
    "token": "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
}


def ask(stack, text, model="openai/gpt-4o-mini", **more):
    status, headers, reply = stack.post({"model": model, "messages": [{"role": "user", "content": text}], **more})
    return headers["x-opentracy-trace-id"], reply


@pytest.fixture(scope="module")
def calls(session_world, filter_form, tmp_path_factory):
    """Starts a stack with a few calls. Returns it with their ids by name."""
    world = session_world
    world.reset()
    stack = Stack(tmp_path_factory.mktemp("traces"), world.config()).start()
    ids = {}
    ids["first"], _ = ask(stack, "Tell me about zebras", metadata={"team": "search", "env": "prod"})
    ids["second"], _ = ask(stack, "Tell me about lions", model="smart", metadata={"team": "ads"})
    world.openai.script.append(mock.status(429))
    ids["limited"], _ = ask(stack, "Nobody hears this")
    ids["free"], _ = ask(stack, "No price for this", model="second/large")
    wait_for(lambda: len(stack.traces()) == 4, "the traces")
    yield stack, ids
    stack.stop()


@pytest.mark.parametrize(
    "query,expected",
    [
        ({}, ["free", "limited", "second", "first"]),
        ({"order": "oldest_first"}, ["first", "second", "limited", "free"]),
        ({"provider": "openai"}, ["limited", "first"]),
        ({"model": "claude-sonnet-4-6"}, ["second"]),
        ({"model": "anthropic/claude-sonnet-4-6"}, ["second"]),
        ({"alias": "smart"}, ["second"]),
        ({"status": "429"}, ["limited"]),
        ({"metadata.team": "search"}, ["first"]),
        ({"metadata.team": "search", "metadata.env": "test"}, []),
        ({"q": "zebras"}, ["first"]),
        ({"q": "tell about"}, ["second", "first"]),
        ({"q": "mock"}, ["free", "second", "first"]),
        ({"q": '"; drop table'}, []),
        ({"min_cost": "0.0000001"}, ["second", "first"]),
        ({"max_cost": "0.00001"}, ["first"]),
        ({"since": "2100-01-01T00:00:00Z"}, []),
        ({"until": "2100-01-01T00:00:00Z", "provider": "second"}, ["free"]),
    ],
)
def test_filters(calls, query, expected):
    stack, ids = calls
    names = {id: name for name, id in ids.items()}
    found = [names[trace["id"]] for trace in stack.traces(urllib.parse.urlencode(query))]
    assert found == expected


def test_pages(calls):
    stack, ids = calls
    seen, cursor = [], ""
    while cursor is not None:
        page = stack.get(f"/v1/traces?limit=1{cursor and '&cursor=' + cursor}", stack.management)
        seen += [trace["id"] for trace in page["data"]]
        cursor = page["next_cursor"]
    assert seen == [ids[name] for name in ("free", "limited", "second", "first")]


@pytest.mark.parametrize(
    "query", ["since=yesterday", "status=x", "limit=0", "colour=red", "min_cost=much", "cursor=%00"]
)
def test_a_filter_that_can_not_be_read_is_a_400(stack, query):
    status, _, reply = stack.post(None, path=f"/v1/traces?{query}", method="GET", origin=stack.management)
    assert status == 400
    assert query.split("=")[0] in reply["error"]["message"]


def test_a_trace_that_is_not_there(stack):
    status, _, reply = stack.post(None, path="/v1/traces/nothing", method="GET", origin=stack.management)
    assert status == 404 and "nothing" in reply["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_no_text_is_kept_when_content_is_off(own_stack, world, stream):
    stack = own_stack(environment={"OPENTRACY_TRACE_CONTENT": "false"})
    if stream:
        body = {"model": "smart", "messages": [{"role": "user", "content": "private words"}], "stream": True}
        stack.post_raw(body)
    else:
        ask(stack, "private words")
    (trace,) = wait_for(stack.traces, "the trace")
    assert trace["request"] is None and trace["response"] is None
    assert trace["tokens"]["input"] == 20
    assert b"private words" not in (stack.folder / "traces.db").read_bytes() + wal(stack)


@pytest.mark.parametrize("stream", [False, True])
def test_secrets_are_masked_before_they_leave_the_filter(own_stack, world, stream):
    stack = own_stack(environment={"OPENTRACY_TRACE_REDACT": "true"})
    words = ", ".join(SECRETS.values())
    world.anthropic.habit = mock.answer(f"You said {words}")
    body = {
        "model": "smart",
        "messages": [{"role": "user", "content": f"I am {words}."}],
        "stream": stream,
        "metadata": {"mail": SECRETS["e-mail"]},
        "user": SECRETS["e-mail"],
    }
    answer = stack.post_raw(body)
    (trace,) = wait_for(stack.traces, "the trace")
    stored = (stack.folder / "traces.db").read_bytes() + wal(stack)
    for name, secret in SECRETS.items():
        assert secret not in json.dumps(trace), name
        assert secret.encode() not in stored, name
    assert "You said" in trace["response"]["choices"][0]["message"]["content"]
    # The client and the provider get the original text.
    if not stream:
        assert SECRETS["e-mail"] in answer.decode()
    assert SECRETS["e-mail"] in world.anthropic.requests[0].body.decode()


def wal(stack):
    path = stack.folder / "traces.db-wal"
    return path.read_bytes() if path.exists() else b""


def test_a_long_conversation_is_cut_and_says_so(own_stack, world):
    stack = own_stack(config={**world.config(), "traces": {"max_content_bytes": 1000}})
    trace_id, _ = ask(stack, "x" * 5000)
    trace = stack.trace(trace_id)
    assert trace["content_truncated"] is True
    assert trace["tokens"]["input"] == 20


def test_the_attempts_of_a_fallback_are_in_the_trace(stack, world):
    world.openai.habit = mock.status(503)
    trace_id, _ = ask(stack, "Hello", model="chain")
    trace = stack.trace(trace_id, attempts=2)
    assert [
        (attempt["number"], attempt["provider"], attempt["status"], attempt["error"]) for attempt in trace["attempts"]
    ] == [(1, "openai", 503, "overloaded"), (2, "second", 200, None)]
    assert all(attempt["latency_ms"] > 0 for attempt in trace["attempts"])
    assert trace["alias"] == "chain" and trace["model"] == "large"


@pytest.mark.parametrize(
    "path, body",
    [
        ("/v1/chat/completions", {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}),
        (
            "/v1/messages",
            {"model": "openai/gpt-4o-mini", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]},
        ),
        ("/v1/embeddings", {"model": "openai/text-embedding-3-small", "input": "Hello"}),
    ],
)
def test_the_client_of_every_call_is_in_its_trace(stack, path, body):
    for agent, client in [
        ("OpenAI/Python 2.1.0", "OpenAI/Python 2.1.0"),
        ("claude-cli/2.0.1 (external, cli)", "claude-cli/2.0.1"),
        ("x" * 1000, "x" * 64),
        ("(jane@example.org)", None),
    ]:
        _, headers, _ = stack.post(body, path=path, headers={"user-agent": agent})
        trace = stack.trace(headers["x-opentracy-trace-id"], attempts=0)
        assert trace.get("client") == client
        if client:
            found = stack.traces(f"client={urllib.parse.quote(client)}")
            assert trace["id"] in [other["id"] for other in found]
