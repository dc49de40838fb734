"""Mock providers that check requests with the provider's SDK and answer with its real events."""

import asyncio
import collections
import json
import re

from urllib.parse import unquote

from . import aws, oracles
from .http import Server


class Provider:
    """A provider that answers correctly by default.

    `script` is a queue of behaviors for the next requests; `habit` is the behavior when the
    queue is empty.
    """

    def __init__(self):
        self.requests = []
        self.script = collections.deque()
        self.habit = None
        self._server = Server(self._handle)

    @property
    def origin(self):
        return f"http://127.0.0.1:{self._server.port}"

    # The content type of a stream.
    stream_type = "text/event-stream; charset=utf-8"

    async def _handle(self, request, writer):
        writer.stream_type = self.stream_type
        self.requests.append(request)
        behavior = self.script.popleft() if self.script else self.habit
        if behavior is None:
            behavior = answer(text="Hello from the mock.")
        await behavior(self, request, writer)

    def serves(self, request):
        """Returns true if the request has a path that this provider serves."""
        return request.path == self.chat_path

    def streams(self, request):
        return bool(request.json.get("stream"))

    def model(self, request):
        return request.json["model"]

    def break_stream(self):
        """Returns an event that can't be parsed, or nothing if the format has no such event."""
        return b""

    def reset(self):
        self.requests.clear()
        self.script.clear()
        self.habit = None

    def stop(self):
        self._server.stop()


class OpenAi(Provider):
    always_tells_usage = False
    chat_path = "/v1/chat/completions"
    responses_path = "/v1/responses"
    # Azure's two paths. In the older one the path contains the model.
    azure_paths = re.compile(
        r"/openai/v1/chat/completions|/openai/deployments/[^/?]+/chat/completions\?api-version=[\w-]+"
    )

    def serves(self, request):
        paths = (self.chat_path, self.responses_path)
        return request.path in paths or self.azure_paths.fullmatch(request.path)

    def problem(self, request):
        if request.path == self.responses_path:
            return oracles.responses(request.json)
        return oracles.openai(request.json)

    def response(self, request, text, calls, status="completed"):
        """Returns the same answer in the format of the Responses API."""
        output = []
        if text:
            part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
            output.append(
                {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
            )
        output += [
            {
                "id": f"fc_{id}",
                "type": "function_call",
                "status": "completed",
                "call_id": id,
                "name": name,
                "arguments": json.dumps(arguments),
            }
            for id, name, arguments in calls
        ]
        return {
            "id": "resp_1",
            "object": "response",
            "created_at": 1700000000,
            "status": status,
            "error": None,
            "model": request.json["model"],
            "output": output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": {
                "input_tokens": 20,
                "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
                "output_tokens": 10,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 30,
            },
        }

    def response_events(self, request, text, calls):
        number = 0

        def event(kind, **members):
            nonlocal number
            number += 1
            return f"event: {kind}\n".encode() + sse({"type": kind, "sequence_number": number - 1, **members})

        whole = self.response(request, text, calls)
        yield event("response.created", response={**whole, "status": "in_progress", "output": [], "usage": None})
        for index, item in enumerate(whole["output"]):
            yield event("response.output_item.added", output_index=index, item={**item, "status": "in_progress"})
            if item["type"] == "message":
                for word in text.split(" "):
                    yield event(
                        "response.output_text.delta",
                        item_id=item["id"],
                        output_index=index,
                        content_index=0,
                        delta=word + " ",
                        logprobs=[],
                    )
            yield event("response.output_item.done", output_index=index, item=item)
        yield event("response.completed", response=whole)

    def error(self, status, message):
        return {"error": {"message": message, "type": "server_error", "param": None, "code": f"code_{status}"}}

    def body(self, request, text, calls):
        if request.path == self.responses_path:
            return self.response(request, text, calls)
        message = {"role": "assistant", "content": text, "refusal": None}
        if calls:
            message["tool_calls"] = [
                {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
                for id, name, arguments in calls
            ]
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1700000000,
            "model": request.json["model"],
            "choices": [
                {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls" if calls else "stop"}
            ],
            "usage": {
                "prompt_tokens": 20,
                "completion_tokens": 10,
                "total_tokens": 30,
                "prompt_tokens_details": {"cached_tokens": 4},
            },
        }

    def events(self, request, text, calls):
        if request.path == self.responses_path:
            yield from self.response_events(request, text, calls)
            return

        def chunk(choices, **more):
            return sse(
                {
                    "id": "chatcmpl-1",
                    "object": "chat.completion.chunk",
                    "created": 1700000000,
                    "model": request.json["model"],
                    "choices": choices,
                    **more,
                }
            )

        def delta(delta, finish_reason=None):
            return chunk([{"index": 0, "delta": delta, "finish_reason": finish_reason}])

        yield delta({"role": "assistant", "content": ""})
        for word in (text or "").split(" "):
            yield delta({"content": word + " "})
        for index, (id, name, arguments) in enumerate(calls):
            yield delta(
                {
                    "tool_calls": [
                        {"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}
                    ]
                }
            )
            yield delta({"tool_calls": [{"index": index, "function": {"arguments": json.dumps(arguments)}}]})
        yield delta({}, "tool_calls" if calls else "stop")
        if self.always_tells_usage or (request.json.get("stream_options") or {}).get("include_usage"):
            yield chunk(
                [],
                usage={
                    "prompt_tokens": 20,
                    "completion_tokens": 10,
                    "total_tokens": 30,
                    "prompt_tokens_details": {"cached_tokens": 4},
                },
            )
        yield b"data: [DONE]\n\n"

    def error_event(self, message):
        return sse({"error": {"message": message, "type": "server_error", "code": 503}})


class Anthropic(Provider):
    chat_path = "/v1/messages"

    def problem(self, request):
        if request.headers.get("anthropic-version") != "2023-06-01":
            return "anthropic-version is missing"
        return oracles.anthropic(request.json)

    def error(self, status, message):
        kinds = {
            400: "invalid_request_error",
            401: "authentication_error",
            403: "permission_error",
            404: "not_found_error",
            429: "rate_limit_error",
            529: "overloaded_error",
        }
        return {
            "type": "error",
            "error": {"type": kinds.get(status, "api_error"), "message": message},
            "request_id": "req_1",
        }

    def body(self, request, text, calls):
        content = [{"type": "text", "text": text, "citations": None}] if text else []
        content += [{"type": "tool_use", "id": id, "name": name, "input": arguments} for id, name, arguments in calls]
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": self.model(request),
            "content": content,
            "stop_reason": "tool_use" if calls else "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 12,
                "cache_creation_input_tokens": 3,
                "cache_read_input_tokens": 5,
                "output_tokens": 10,
                "service_tier": "standard",
            },
        }

    def events(self, request, text, calls):
        def event(kind, **members):
            return f"event: {kind}\n".encode() + sse({"type": kind, **members})

        yield event(
            "message_start",
            message={
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": self.model(request),
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {
                    "input_tokens": 12,
                    "cache_creation_input_tokens": 3,
                    "cache_read_input_tokens": 5,
                    "output_tokens": 1,
                },
            },
        )
        index = 0
        if text:
            yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
            yield event("ping")
            for word in text.split(" "):
                yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": word + " "})
            yield event("content_block_stop", index=0)
            index = 1
        for id, name, arguments in calls:
            yield event(
                "content_block_start",
                index=index,
                content_block={"type": "tool_use", "id": id, "name": name, "input": {}},
            )
            if arguments:
                text = json.dumps(arguments)
                for part in ("", text[:3], text[3:]):
                    yield event(
                        "content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": part}
                    )
            yield event("content_block_stop", index=index)
            index += 1
        yield event(
            "message_delta",
            delta={"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None},
            usage={"output_tokens": 10},
        )
        yield event("message_stop")

    def error_event(self, message):
        return b"event: error\n" + sse({"type": "error", "error": {"type": "overloaded_error", "message": message}})


class Gemini(Provider):
    def serves(self, request):
        return re.fullmatch(r"/v1beta/models/[^/?]+:(generateContent|streamGenerateContent\?alt=sse)", request.path)

    def streams(self, request):
        return ":stream" in request.path

    def problem(self, request):
        return oracles.gemini(request.json)

    def error(self, status, message):
        return {"error": {"code": status, "message": message, "status": "UNAVAILABLE", "details": []}}

    def _answer(self, request, parts, finish_reason=None, **more):
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
        if finish_reason:
            candidate["finishReason"] = finish_reason
        model = request.path.split("/models/")[1].split(":")[0]
        return {"candidates": [candidate], "modelVersion": model, "responseId": "resp-1", **more}

    usage = {
        "promptTokenCount": 20,
        "cachedContentTokenCount": 5,
        "candidatesTokenCount": 7,
        "thoughtsTokenCount": 3,
        "totalTokenCount": 30,
    }

    @staticmethod
    def _calls(calls):
        # Gemini's calls have no ids, and only the first one has a signature.
        parts = [{"functionCall": {"name": name, "args": arguments}} for _, name, arguments in calls]
        if parts:
            parts[0]["thoughtSignature"] = "c2lnbmF0dXJl"
        return parts

    def body(self, request, text, calls):
        parts = [{"text": text}] if text else []
        return self._answer(request, parts + self._calls(calls), "STOP", usageMetadata=self.usage)

    def events(self, request, text, calls):
        for word in (text or "").split(" "):
            yield sse(self._answer(request, [{"text": word + " "}]), b"\r\n")
        for part in self._calls(calls):
            yield sse(self._answer(request, [part]), b"\r\n")
        yield sse(self._answer(request, [{"text": ""}], "STOP", usageMetadata=self.usage), b"\r\n")

    def error_event(self, message):
        return sse(self.error(503, message), b"\r\n")


class Bedrock(Provider):
    stream_type = "application/vnd.amazon.eventstream"
    credentials = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a-session-token==", "eu-west-1")
    api_key = "bedrock-api-key"

    def serves(self, request):
        return re.fullmatch(r"/model/[\w.%-]+/(converse|converse-stream)", request.path)

    def streams(self, request):
        return request.path.endswith("/converse-stream")

    def model(self, request):
        return unquote(request.path.split("/")[2])

    def problem(self, request):
        if request.headers.get("authorization") != f"Bearer {self.api_key}":
            if problem := oracles.signature(request, *self.credentials):
                return problem
        return oracles.bedrock(request.json, self.streams(request))

    def error(self, status, message):
        return {"message": message}

    usage = {
        "inputTokens": 12,
        "outputTokens": 10,
        "totalTokens": 30,
        "cacheReadInputTokens": 5,
        "cacheWriteInputTokens": 3,
    }

    def body(self, request, text, calls):
        content = [{"text": text}] if text else []
        content += [{"toolUse": {"toolUseId": id, "name": name, "input": arguments}} for id, name, arguments in calls]
        return {
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": "tool_use" if calls else "end_turn",
            "usage": self.usage,
            "metrics": {"latencyMs": 12},
        }

    def events(self, request, text, calls):
        yield aws.event("messageStart", {"role": "assistant", "p": "abcd"})
        index = 0
        for word in (text or "").split(" ") if text else ():
            yield aws.event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word + " "}, "p": "ab"})
        if text:
            yield aws.event("contentBlockStop", {"contentBlockIndex": 0})
            index = 1
        for id, name, arguments in calls:
            start = {"toolUse": {"toolUseId": id, "name": name}}
            yield aws.event("contentBlockStart", {"contentBlockIndex": index, "start": start})
            if arguments:
                whole = json.dumps(arguments)
                for part in (whole[:3], whole[3:]):
                    delta = {"toolUse": {"input": part}}
                    yield aws.event("contentBlockDelta", {"contentBlockIndex": index, "delta": delta})
            yield aws.event("contentBlockStop", {"contentBlockIndex": index})
            index += 1
        yield aws.event("messageStop", {"stopReason": "tool_use" if calls else "end_turn"})
        yield aws.event("metadata", {"usage": self.usage, "metrics": {"latencyMs": 12}})

    def error_event(self, message):
        return aws.exception("serviceUnavailableException", {"message": message})

    def break_stream(self):
        frame = bytearray(aws.event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x"}}))
        frame[-1] ^= 1
        return bytes(frame)


class Cohere(Provider):
    chat_path = "/v2/chat"

    def problem(self, request):
        return oracles.cohere_v2(request.json)

    def error(self, status, message):
        return {"id": "1", "message": message}

    usage = {
        "billed_units": {"input_tokens": 2, "output_tokens": 10},
        "tokens": {"input_tokens": 20, "output_tokens": 10},
        "cached_tokens": 4,
    }

    def body(self, request, text, calls):
        message = {"role": "assistant"}
        if calls:
            message["tool_plan"] = text
            message["tool_calls"] = [
                {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
                for id, name, arguments in calls
            ]
        else:
            message["content"] = [{"type": "text", "text": text}]
        return {
            "id": "1",
            "finish_reason": "TOOL_CALL" if calls else "COMPLETE",
            "message": message,
            "usage": self.usage,
        }

    def events(self, request, text, calls):
        def event(kind, **members):
            return f"event: {kind}\n".encode() + sse({"type": kind, **members})

        def message(**members):
            return {"message": members}

        yield event("message-start", id="1", delta=message(role="assistant", content=[], tool_plan="", tool_calls=[]))
        words = [word + " " for word in (text or "").split(" ")]
        if calls:
            for word in words:
                yield event("tool-plan-delta", delta=message(tool_plan=word))
        else:
            yield event("content-start", index=0, delta=message(content={"type": "text", "text": ""}))
            for word in words:
                yield event("content-delta", index=0, delta=message(content={"text": word}))
            yield event("content-end", index=0)
        for index, (id, name, arguments) in enumerate(calls):
            call = {"id": id, "type": "function", "function": {"name": name, "arguments": ""}}
            yield event("tool-call-start", index=index, delta=message(tool_calls=call))
            if arguments:
                part = {"function": {"arguments": json.dumps(arguments)}}
                yield event("tool-call-delta", index=index, delta=message(tool_calls=part))
            yield event("tool-call-end", index=index)
        delta = {"finish_reason": "TOOL_CALL" if calls else "COMPLETE", "usage": self.usage}
        yield event("message-end", id="1", delta=delta)
        yield b"data: [DONE]\n\n"

    def error_event(self, message):
        return b"event: message-end\n" + sse(
            {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": message}}
        )


class Mistral(OpenAi):
    always_tells_usage = True

    def problem(self, request):
        return oracles.mistral_chat(request.json)


class Vertex(Gemini):
    """Gemini and Claude, each at its publisher's path in one project."""

    root = "/v1/projects/my-project/locations/europe-west4/publishers"
    token = "ya29.token-of-the-service-account"

    def __init__(self):
        super().__init__()
        self._claude = Claude.__new__(Claude)

    def serves(self, request):
        return re.fullmatch(
            self.root + r"/(google/models/[\w.-]+:(generateContent|streamGenerateContent\?alt=sse)"
            r"|anthropic/models/[\w.@-]+:(rawPredict|streamRawPredict))",
            request.path,
        )

    def problem(self, request):
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return "the token is not the service account's"
        return self._of(request).problem(request)

    def streams(self, request):
        return "stream" in request.path.rsplit(":", 1)[1]

    def body(self, request, text, calls):
        return self._of(request).body(request, text, calls)

    def events(self, request, text, calls):
        return self._of(request).events(request, text, calls)

    def _of(self, request):
        return self._claude if "/anthropic/" in request.path else Google.__new__(Google)


class Google(Gemini):
    pass


class Claude(Anthropic):
    """Claude as Google serves it, with the model in the path and the version in the body."""

    def model(self, request):
        return request.path.split("/models/")[1].split(":")[0]

    def problem(self, request):
        body = request.json
        if body.pop("anthropic_version", None) != "vertex-2023-10-16" or "model" in body:
            return "anthropic_version must be in the body, and the model in the path"
        return oracles.anthropic({**body, "model": self.model(request)})


def sse(data, newline=b"\n"):
    return b"data: " + json.dumps(data).encode() + newline * 2


# Behaviors. Each is an `async (provider, request, writer)`.


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
