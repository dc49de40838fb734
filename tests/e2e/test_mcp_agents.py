"""Agents: a model that calls tools of third-party MCP servers, and answers A2A clients."""

import asyncio
import json
import os
import subprocess
import sys

import openai
import pytest
from support.providers import answer
from support.stack import START_TIMEOUT, Stack, free_port, wait_for


def calls_tool(name, arguments, text=""):
    """Calls a tool first, and then answers with its result."""

    async def behave(provider, request, writer):
        messages = request.json["messages"]
        heard = [message["content"] for message in messages if message["role"] == "tool"]
        if heard:
            return await answer(text=f"I heard: {' | '.join(map(str, heard))}")(provider, request, writer)
        calls = [(f"call_{index}", name, arguments) for index, arguments in enumerate(arguments)]
        return await answer(text=text, calls=calls)(provider, request, writer)

    return behave


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """Starts the reference server `everything`, once per transport."""
    folder = tmp_path_factory.mktemp("everything")
    program = f"{os.environ['OPENTRACY_NODE_PROGRAMS']}/mcp-server-everything"
    servers, ports = [], {}
    for transport in ("streamableHttp", "sse"):
        ports[transport] = free_port()
        environment = {"PATH": os.environ["PATH"], "PORT": str(ports[transport])}
        log = open(folder / f"{transport}.log", "wb")
        servers.append(subprocess.Popen([program, transport], env=environment, stdout=log, stderr=log))

    def is_up(port):
        import socket

        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    for port in ports.values():
        wait_for(lambda: is_up(port), "the server's start", START_TIMEOUT)
    yield program, ports
    for server in servers:
        server.terminate()


@pytest.fixture(scope="module")
def agency(session_world, everything, tmp_path_factory):
    program, ports = everything
    session_world.reset()
    config = session_world.config()
    model = ["openai/gpt-4o-mini", "second/large"]
    time_server = {"command": [sys.executable, "-m", "mcp_server_time", "--local-timezone", "UTC"]}
    http = {"url": f"http://127.0.0.1:{ports['streamableHttp']}/mcp"}
    config["agents"] = {
        "clock": {
            "description": "Knows what time it is",
            "candidates": model,
            "system_prompt": "You are a clock.",
            "mcp_servers": {"time": time_server},
        },
        "http": {"candidates": model, "mcp_servers": {"all": http}},
        "sse": {
            "candidates": model,
            "mcp_servers": {"all": {"url": f"http://127.0.0.1:{ports['sse']}/sse", "transport": "sse"}},
        },
        "stdio": {"candidates": model, "mcp_servers": {"all": {"command": [program, "stdio"]}}},
        "both": {
            "candidates": model,
            "mcp_servers": {"time": time_server, "all": http},
            "tools": ["time__*", "all__echo"],
        },
        "half": {"candidates": model, "mcp_servers": {"time": time_server, "gone": {"command": ["/no/such/program"]}}},
        "gone": {"candidates": model, "mcp_servers": {"gone": {"url": f"http://127.0.0.1:{free_port()}/mcp"}}},
        "short": {"candidates": model, "mcp_servers": {"time": time_server}, "limits": {"max_turns": 2}},
        "poor": {"candidates": model, "mcp_servers": {"time": time_server}, "limits": {"max_cost": 1e-9}},
        "hasty": {"candidates": model, "mcp_servers": {"all": http}, "limits": {"tool_timeout": "500ms"}},
        "late": {"candidates": model, "limits": {"timeout": "1s"}},
        "plain": {"candidates": model},
    }
    stack = Stack(tmp_path_factory.mktemp("agents"), config).start()
    yield stack
    stack.stop()


@pytest.fixture
def sdk(agency, world):
    return openai.OpenAI(base_url=agency.base_url, api_key="x", max_retries=0)


def ask(sdk, agent, content="Go.", **more):
    return sdk.chat.completions.create(model=agent, messages=[{"role": "user", "content": content}], **more)


def test_a_tool_of_a_third_party_server_is_called(agency, world, sdk):
    world.openai.habit = calls_tool(
        "time__convert_time",
        [
            {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"},
            {"source_timezone": "UTC", "time": "12:00", "target_timezone": "America/New_York"},
        ],
    )
    reply = ask(sdk, "clock", "What time is it there?")
    assert "Asia/Tokyo" in reply.choices[0].message.content and "21:00" in reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "stop"
    assert reply._agent["turns"] == 2 and reply._agent["tool_calls"] == 2 and reply._agent["cost"] > 0
    assert reply.usage.prompt_tokens == 40, "the sum of both turns"
    first, second = (request.json for request in world.openai.requests)
    assert first["messages"][0] == {"role": "system", "content": "You are a clock."}
    names = {tool["function"]["name"] for tool in first["tools"]}
    assert names == {"time__get_current_time", "time__convert_time"}
    assert [message["role"] for message in second["messages"]] == ["system", "user", "assistant", "tool", "tool"]
    # All belongs to one session: a trace for the agent and one for each turn of its model.
    session = reply._routing["session_id"]
    traces = wait_for(
        lambda: (found := agency.traces(f"session={session}")) and len(found) == 3 and found, "the traces", 10
    )
    assert sorted(trace["provider"] for trace in traces) == ["agents", "openai", "openai"]
    assert sum((trace["cost"] or {"total": 0})["total"] for trace in traces) == pytest.approx(reply._agent["cost"])


@pytest.mark.parametrize("agent", ["http", "sse", "stdio"])
def test_every_transport(agency, world, sdk, agent):
    world.openai.habit = calls_tool("all__echo", [{"message": f"by {agent}"}])
    assert f"by {agent}" in ask(sdk, agent).choices[0].message.content
    health = agency.get("/statsz", agency.management)["mcp_servers"][agent]["all"]
    assert health["connected"] and health["tools"] > 3 and health["calls"] == 1 and not health["error"]


def test_only_the_tools_that_are_allowed(agency, world, sdk):
    world.openai.habit = calls_tool("all__echo", [{"message": "allowed"}])
    assert "allowed" in ask(sdk, "both").choices[0].message.content
    names = {tool["function"]["name"] for tool in world.openai.requests[0].json["tools"]}
    assert names == {"time__get_current_time", "time__convert_time", "all__echo"}


def test_a_client_sees_what_happens_while_it_happens(agency, world, sdk):
    world.openai.habit = calls_tool("all__echo", [{"message": "streamed"}], text="Let me see.")
    chunks = list(ask(sdk, "http", stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.startswith("Let me see.") and "streamed" in text
    notes = [note for chunk in chunks if (note := getattr(chunk, "_agent", None)) and "event" in note]
    assert [(note["event"], note["tool"]) for note in notes] == [
        ("tool_called", "all__echo"),
        ("tool_answered", "all__echo"),
    ]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.prompt_tokens == 40


def test_tools_of_the_client_come_back_to_it(agency, world, sdk):
    tool = {
        "type": "function",
        "function": {"name": "my_own", "description": "Mine", "parameters": {"type": "object", "properties": {}}},
    }
    world.openai.habit = answer(calls=[("call_1", "my_own", {"a": 1})])
    for stream in (False, True):
        reply = ask(sdk, "http", tools=[tool], stream=stream)
        if stream:
            deltas = [chunk.choices[0] for chunk in reply if chunk.choices]
            call = next(delta.delta.tool_calls[0] for delta in deltas if delta.delta.tool_calls)
            reason = deltas[-1].finish_reason
        else:
            call, reason = reply.choices[0].message.tool_calls[0], reply.choices[0].finish_reason
        assert (call.function.name, json.loads(call.function.arguments), reason) == ("my_own", {"a": 1}, "tool_calls")
    # The client's result continues the conversation.
    world.openai.habit = calls_tool("all__echo", [])
    messages = [
        {"role": "user", "content": "Go."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "my_own", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "mine says 7"},
    ]
    reply = sdk.chat.completions.create(model="http", messages=messages, tools=[tool])
    assert reply.choices[0].message.content.strip() == "I heard: mine says 7"


def test_the_error_of_a_tool_is_sent_to_the_model(agency, world, sdk):
    world.openai.habit = calls_tool(
        "time__convert_time", [{"source_timezone": "Nowhere/None", "time": "1", "target_timezone": "UTC"}]
    )
    assert "I heard" in ask(sdk, "clock").choices[0].message.content
    sent = [message for message in world.openai.requests[1].json["messages"] if message["role"] == "tool"][0]["content"]
    assert "Nowhere" in sent or "rror" in sent
    world.openai.habit = calls_tool("all__trigger-long-running-operation", [{"duration": 60, "steps": 2}])
    assert "did not answer within" in ask(sdk, "hasty").choices[0].message.content


@pytest.mark.parametrize(
    "agent,status,code",
    [
        ("short", 422, "agent_turn_limit"),
        ("poor", 422, "agent_cost_limit"),
        ("gone", 424, "mcp_unavailable"),
        ("late", 422, "agent_timeout"),
    ],
)
def test_an_agent_without_an_answer_returns_an_error(agency, world, sdk, agent, status, code):
    async def again(provider, request, writer):
        if agent == "late":
            await asyncio.sleep(3)
        await answer(calls=[("call_1", "time__get_current_time", {"timezone": "UTC"})])(provider, request, writer)

    world.openai.habit = again
    with pytest.raises(openai.APIStatusError) as raised:
        ask(sdk, agent)
    assert (raised.value.status_code, raised.value.code) == (status, code), raised.value.message
    with pytest.raises(openai.APIError):
        list(ask(sdk, agent, stream=True))


def test_a_server_that_is_down_leaves_the_others(agency, world, sdk):
    world.openai.habit = calls_tool("time__get_current_time", [{"timezone": "UTC"}])
    assert "I heard" in ask(sdk, "half").choices[0].message.content
    servers = agency.get("/statsz", agency.management)["mcp_servers"]["half"]
    assert servers["time"]["connected"] and not servers["gone"]["connected"]
    assert "/no/such/program" in servers["gone"]["error"]


def test_a_turn_fails_over_like_any_call(agency, world, sdk):
    from support.providers import status

    world.openai.habit = status(503)
    world.second.habit = calls_tool("all__echo", [{"message": "by the second"}])
    assert "by the second" in ask(sdk, "http").choices[0].message.content


def test_only_the_gateway_gets_to_an_agent(agency):
    body = {"model": "plain", "messages": [{"role": "user", "content": "x"}]}
    for headers in ({}, {"authorization": "Bearer x"}, {"x-opentracy-token": "x"}):
        status, _, _ = agency.post(body, headers=headers, path="/agents/v1/chat/completions", origin=agency.management)
        assert status == 401
    models = {model["id"] for model in agency.get("/v1/models")["data"]}
    assert "clock" in models and "clock.model" not in models


# Agent2Agent


async def a2a_answer(url, text, versions=None):
    """Returns the agent's answer to the official client, and every update before it."""
    import httpx
    from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
    from a2a.types import Message, Part, Role, SendMessageRequest

    async with httpx.AsyncClient(timeout=30) as http:
        card = await A2ACardResolver(http, url).get_agent_card()
        if versions:
            kept = [each for each in card.supported_interfaces if each.protocol_version in versions]
            del card.supported_interfaces[:]
            card.supported_interfaces.extend(kept)
        client = ClientFactory(ClientConfig(httpx_client=http, streaming=True)).create(card)
        message = Message(message_id="m-1", role=Role.ROLE_USER, parts=[Part(text=text)])
        return card, [update async for update in client.send_message(SendMessageRequest(message=message))]


@pytest.mark.parametrize("version", ["1.0", "0.3"])
def test_the_official_client_completes_a_streamed_task(agency, world, version):
    world.openai.habit = calls_tool("time__get_current_time", [{"timezone": "UTC"}])
    url = f"{agency.origin}/v1/a2a/clock"
    card, updates = asyncio.run(a2a_answer(url, "What time is it?", [version]))
    assert card.name == "clock" and card.description == "Knows what time it is" and card.capabilities.streaming
    text, states = "", []
    for update in updates:
        update = update[0] if isinstance(update, tuple) else update
        if update.HasField("artifact_update"):
            text += "".join(part.text for part in update.artifact_update.artifact.parts)
        if update.HasField("status_update"):
            states.append(update.status_update.status.state)
    assert "I heard" in text and "UTC" in text
    from a2a.types import TaskState

    assert states[-1] == TaskState.TASK_STATE_COMPLETED


def rpc(agency, method, params, path="/v1/a2a/plain", **headers):
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    status, _, reply = agency.post(body, path=path, headers=headers)
    assert status == 200 and reply["id"] == 7
    return reply


def message(text, **more):
    return {
        "message": {
            "kind": "message",
            "role": "user",
            "messageId": "m",
            "parts": [{"kind": "text", "text": text}],
            **more,
        }
    }


def test_a_task_is_found_again_and_its_context_goes_on(agency, world):
    task = rpc(agency, "message/send", message("one"))["result"]
    assert (task["kind"], task["status"]["state"]) == ("task", "completed")
    assert task["artifacts"][0]["parts"][0]["text"].strip() == "Hello from the mock."
    assert rpc(agency, "tasks/get", {"id": task["id"]})["result"]["artifacts"] == task["artifacts"]
    rpc(agency, "message/send", message("two", contextId=task["contextId"]))
    said = [each["content"] for each in world.openai.requests[-1].json["messages"]]
    assert [text.strip() for text in said] == ["one", "Hello from the mock.", "two"]
    assert rpc(agency, "tasks/cancel", {"id": task["id"]})["error"]["code"] == -32002


def test_a_task_is_canceled(agency, world):
    async def slow(provider, request, writer):
        await asyncio.sleep(5)
        await answer(text="late")(provider, request, writer)

    world.openai.habit = slow
    began = rpc(agency, "message/send", {**message("x"), "configuration": {"blocking": False}})["result"]
    assert began["status"]["state"] == "working"
    wait_for(lambda: world.openai.requests, "the call of the model")
    assert rpc(agency, "tasks/cancel", {"id": began["id"]})["result"]["status"]["state"] == "canceled"
    assert rpc(agency, "GetTask", {"id": began["id"]})["result"]["status"]["state"] == "TASK_STATE_CANCELED"
    wait_for(lambda: world.openai.requests[-1].canceled.is_set(), "the cancellation of the call")


@pytest.mark.parametrize(
    "method,params,code",
    [
        ("nothing/there", {}, -32601),
        ("message/send", {}, -32602),
        ("message/send", {"message": {"parts": []}}, -32602),
        ("message/send", {"message": {"parts": [{"kind": "file"}]}}, -32602),
        ("tasks/get", {}, -32602),
        ("tasks/get", {"id": "nobody"}, -32001),
        ("message/send", message("x", taskId="nobody"), -32001),
    ],
)
def test_invalid_calls_are_refused(agency, method, params, code):
    assert rpc(agency, method, params)["error"]["code"] == code


def test_a_malformed_call_is_refused(agency):
    for body, code in ((b"{", -32700), (b"[]", -32700), (b"{}", -32600), (b'{"jsonrpc":"1.0","method":"x"}', -32600)):
        status, _, reply = agency.post(body, path="/v1/a2a")
        assert (status, reply["error"]["code"]) == (200, code)
    status, _, reply = agency.post(None, method="GET", path="/v1/a2a/nobody/.well-known/agent-card.json")
    assert (status, reply["error"]["code"]) == (404, "agent_not_found")


@pytest.mark.parametrize(
    "agent,words",
    [
        ({"candidates": []}, "candidates"),
        ({"candidates": ["nobody/x"]}, "nobody"),
        ({"candidates": ["demo/echo"], "mcp_servers": {"a": {}}}, "`url` or `command`"),
        ({"candidates": ["demo/echo"], "mcp_servers": {"a b": {"command": ["x"]}}}, "server's name"),
    ],
)
def test_an_invalid_configuration_is_refused(agency, tmp_path, agent, words):
    import yaml

    path = tmp_path / "opentracy.yaml"
    path.write_text(yaml.safe_dump({"agents": {"a": agent}}))
    checked = subprocess.run(
        [agency._binary, "check", "--config", str(path)], capture_output=True, text=True, env=agency._environment
    )
    assert checked.returncode == 1 and words in checked.stderr, checked.stderr
