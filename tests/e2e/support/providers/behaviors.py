"""Behaviors of mock providers. Each is an `async (provider, request, writer)`."""

import asyncio
import json
import re


def answer(text=None, calls=(), pause=0.0):
    """Checks the request and answers, streamed if asked to. `calls` are (id, name, arguments)."""

    async def behave(provider, request, writer):
        if not provider.serves(request):
            return await writer.reply(404, provider.error(404, f"no such path {request.path}"))
        if problem := provider.problem(request):
            return await writer.reply(400, provider.error(400, problem))
        if not provider.streams(request):
            await asyncio.sleep(pause)
            return await writer.reply(200, provider.body(request, text, calls), {"x-request-id": "req_1"})
        await writer.begin_stream()
        for event in provider.events(request, text, calls):
            await writer.send(event)
            await asyncio.sleep(pause)
        await writer.end()

    return behave


async def count_tokens(provider, request, writer):
    """Answers Anthropic's token count."""
    assert request.path == "/v1/messages/count_tokens", request.path
    await writer.reply(200, {"input_tokens": 4321}, {"set-cookie": "a=b", "x-envoy-overloaded": "1"})


async def anything(provider, request, writer):
    """Answers any request, on any path."""
    await writer.reply(200, {"object": "list", "data": [], "usage": {"prompt_tokens": 3, "total_tokens": 3}})


async def assistant(provider, request, writer):
    """Calls the first tool for two cities, and then answers with the results."""
    body = json.dumps(request.json)
    is_answer = any(
        f'"{word}"' in body
        for word in ("tool_call_id", "tool_result", "functionResponse", "toolResult", "function_call_output")
    )
    tools = request.json.get("tools") or request.json.get("toolConfig") or []
    names = re.findall(r'"name": "(\w+)"', json.dumps(tools))
    if names and not is_answer:
        calls = [("call_paris", names[0], {"city": "Paris"}), ("call_rome", names[0], {"city": "Rome"})]
        return await answer("Let me look.", calls)(provider, request, writer)
    await answer("It is sunny." if is_answer else "Hello from the mock.")(provider, request, writer)


def status(code, headers=None, body=None, message="the mock fails"):
    async def behave(provider, request, writer):
        await writer.reply(code, provider.error(code, message) if body is None else body, headers)

    return behave


async def reset(provider, request, writer):
    writer.reset()


async def close(provider, request, writer):
    writer.close()


async def hang(provider, request, writer):
    await asyncio.to_thread(request.canceled.wait, 30)
    writer.close()


async def silence_after_headers(provider, request, writer):
    """Sends headers, and then nothing."""
    if provider.streams(request):
        await writer.begin_stream()
    else:
        writer.headers(200, {"content-type": "application/json"}, chunked=True)
    await hang(provider, request, writer)


async def cut(provider, request, writer):
    """Sends headers and a part of an answer, and closes the connection."""
    if provider.streams(request):
        await writer.begin_stream()
        await writer.send(b"data: ")
    else:
        writer.headers(200, {"content-type": "application/json"}, chunked=True)
        await writer.send(b'{"id": "cut", "choices": [{"index": 0, "message": {"role": "assistant", "content": "On')
    await asyncio.sleep(0.05)
    writer.close()


async def error_as_first_event(provider, request, writer):
    await writer.begin_stream()
    await writer.send(provider.error_event("overloaded"))
    await writer.end()


def break_off(after, how):
    """Sends some events of a stream and then `end`s, `close`s, `reset`s or sends an `error`."""

    async def behave(provider, request, writer):
        await writer.begin_stream(chunked=how != "eof")
        for event in list(provider.events(request, "one two three four five six", ()))[:after]:
            await writer.send(event)
            await asyncio.sleep(0.01)
        if how == "error":
            await writer.send(provider.error_event("overloaded in mid-stream"))
            await writer.end()
        elif how in ("end", "eof"):
            await writer.end()
        elif how == "close":
            writer.close()
        elif how == "reset":
            writer.reset()

    return behave


def endless(pause=0.02):
    """Streams until the client disconnects."""

    async def behave(provider, request, writer):
        await writer.begin_stream()
        events = list(provider.events(request, "on and on", ()))
        index = next(index for index, event in enumerate(events) if b"and " in event)
        for event in events[:index]:
            await writer.send(event)
        while not request.canceled.is_set():
            await writer.send(events[index])
            await asyncio.sleep(pause)
        writer.close()

    return behave
