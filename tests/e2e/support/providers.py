"""Mock providers: they check what they receive with the provider's own SDK, and answer with its real events."""

import asyncio
import collections
import json
import re

import pydantic
from anthropic.types import message_create_params
from google.genai import types as genai
from openai.types.chat import completion_create_params

from .http import Server
from .strict import Mismatch, check


class Provider:
    """A provider that behaves, unless told otherwise.

    `script` is a queue of behaviours for the next requests; `habit` is what it does when the queue is empty.
    """

    def __init__(self):
        self.requests = []
        self.script = collections.deque()
        self.habit = None
        self._server = Server(self._handle)

    @property
    def origin(self):
        return f"http://127.0.0.1:{self._server.port}"

    async def _handle(self, request, writer):
        self.requests.append(request)
        behaviour = self.script.popleft() if self.script else self.habit
        if behaviour is None:
            behaviour = answer(text="Hello from the mock.")
        await behaviour(self, request, writer)

    def serves(self, request):
        """Whether a request came to the right path."""
        return request.path == self.chat_path

    def streams(self, request):
        return bool(request.json.get("stream"))

    def reset(self):
        self.requests.clear()
        self.script.clear()
        self.habit = None

    def stop(self):
        self._server.stop()


class OpenAi(Provider):
    chat_path = "/v1/chat/completions"
    # Azure's two, of which the older has the model in it.
    azure_paths = re.compile(r"/openai/v1/chat/completions|/openai/deployments/[^/?]+/chat/completions\?api-version=[\w-]+")

    def serves(self, request):
        return request.path == self.chat_path or self.azure_paths.fullmatch(request.path)

    def problem(self, request):
        kinds = completion_create_params
        kind = kinds.CompletionCreateParamsStreaming if request.json.get("stream") else kinds.CompletionCreateParamsNonStreaming
        try:
            check(request.json, kind)
        except Mismatch as problem:
            return str(problem)
        return None

    def error(self, status, message):
        return {"error": {"message": message, "type": "server_error", "param": None, "code": f"code_{status}"}}

    def body(self, request, text, calls):
        message = {"role": "assistant", "content": text, "refusal": None}
        if calls:
            message["tool_calls"] = [
                {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
                for id, name, arguments in calls
            ]
        return {
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": request.json["model"],
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls" if calls else "stop"}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30,
                      "prompt_tokens_details": {"cached_tokens": 4}},
        }

    def events(self, request, text, calls):
        def chunk(choices, **more):
            return sse({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000,
                        "model": request.json["model"], "choices": choices, **more})

        def delta(delta, finish_reason=None):
            return chunk([{"index": 0, "delta": delta, "finish_reason": finish_reason}])

        yield delta({"role": "assistant", "content": ""})
        for word in (text or "").split(" "):
            yield delta({"content": word + " "})
        for index, (id, name, arguments) in enumerate(calls):
            yield delta({"tool_calls": [{"index": index, "id": id, "type": "function",
                                         "function": {"name": name, "arguments": ""}}]})
            yield delta({"tool_calls": [{"index": index, "function": {"arguments": json.dumps(arguments)}}]})
        yield delta({}, "tool_calls" if calls else "stop")
        if (request.json.get("stream_options") or {}).get("include_usage"):
            yield chunk([], usage={"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30,
                                   "prompt_tokens_details": {"cached_tokens": 4}})
        yield b"data: [DONE]\n\n"

    def error_event(self, message):
        return sse({"error": {"message": message, "type": "server_error", "code": 503}})


class Anthropic(Provider):
    chat_path = "/v1/messages"
    # The SDK's types no longer have them; older models still take them.
    sampling = ("temperature", "top_p", "top_k")

    def problem(self, request):
        if request.headers.get("anthropic-version") != "2023-06-01":
            return "anthropic-version is missing"
        body = {name: value for name, value in request.json.items() if name not in self.sampling}
        kinds = message_create_params
        kind = kinds.MessageCreateParamsStreaming if body.get("stream") else kinds.MessageCreateParamsNonStreaming
        try:
            check(body, kind)
        except Mismatch as problem:
            return str(problem)
        roles = [message["role"] for message in body["messages"]]
        if not roles or roles[0] != "user":
            return "the first message must be the user's"
        return None

    def error(self, status, message):
        kinds = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
                 404: "not_found_error", 429: "rate_limit_error", 529: "overloaded_error"}
        return {"type": "error", "error": {"type": kinds.get(status, "api_error"), "message": message},
                "request_id": "req_1"}

    def body(self, request, text, calls):
        content = [{"type": "text", "text": text, "citations": None}] if text else []
        content += [{"type": "tool_use", "id": id, "name": name, "input": arguments} for id, name, arguments in calls]
        return {
            "id": "msg_1", "type": "message", "role": "assistant", "model": request.json["model"], "content": content,
            "stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None,
            "usage": {"input_tokens": 12, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 5,
                      "output_tokens": 10, "service_tier": "standard"},
        }

    def events(self, request, text, calls):
        def event(kind, **members):
            return f"event: {kind}\n".encode() + sse({"type": kind, **members})

        yield event("message_start", message={
            "id": "msg_1", "type": "message", "role": "assistant", "model": request.json["model"], "content": [],
            "stop_reason": None, "stop_sequence": None,
            "usage": {"input_tokens": 12, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 5,
                      "output_tokens": 1}})
        index = 0
        if text:
            yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
            yield event("ping")
            for word in text.split(" "):
                yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": word + " "})
            yield event("content_block_stop", index=0)
            index = 1
        for id, name, arguments in calls:
            yield event("content_block_start", index=index,
                        content_block={"type": "tool_use", "id": id, "name": name, "input": {}})
            if arguments:
                text = json.dumps(arguments)
                for part in ("", text[:3], text[3:]):
                    yield event("content_block_delta", index=index,
                                delta={"type": "input_json_delta", "partial_json": part})
            yield event("content_block_stop", index=index)
            index += 1
        yield event("message_delta", delta={"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None},
                    usage={"output_tokens": 10})
        yield event("message_stop")

    def error_event(self, message):
        return b"event: error\n" + sse({"type": "error", "error": {"type": "overloaded_error", "message": message}})


class Gemini(Provider):
    def serves(self, request):
        return re.fullmatch(r"/v1beta/models/[^/?]+:(generateContent|streamGenerateContent\?alt=sse)", request.path)

    def streams(self, request):
        return ":stream" in request.path

    def problem(self, request):
        kinds = {"systemInstruction": genai.Content, "contents": list[genai.Content], "tools": list[genai.Tool],
                 "toolConfig": genai.ToolConfig, "generationConfig": genai.GenerationConfig}
        try:
            for name, value in request.json.items():
                pydantic.TypeAdapter(kinds[name]).validate_python(value)
        except (KeyError, pydantic.ValidationError) as problem:
            return str(problem)
        turns = request.json["contents"]
        if not turns or any(not turn["parts"] for turn in turns):
            return "every content must have parts"
        calls = [part["functionCall"] for turn in turns for part in turn["parts"] if "functionCall" in part]
        results = [part["functionResponse"] for turn in turns for part in turn["parts"] if "functionResponse" in part]
        if [call["name"] for call in calls] != [result["name"] for result in results]:
            return "the number of function response parts must equal the number of function call parts"
        return None

    def error(self, status, message):
        return {"error": {"code": status, "message": message, "status": "UNAVAILABLE", "details": []}}

    def _answer(self, request, parts, finish_reason=None, **more):
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
        if finish_reason:
            candidate["finishReason"] = finish_reason
        model = request.path.split("/models/")[1].split(":")[0]
        return {"candidates": [candidate], "modelVersion": model, "responseId": "resp-1", **more}

    usage = {"promptTokenCount": 20, "cachedContentTokenCount": 5, "candidatesTokenCount": 7, "thoughtsTokenCount": 3,
             "totalTokenCount": 30}

    @staticmethod
    def _calls(calls):
        # Gemini gives its calls no ids, and a signature to the first.
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


def sse(data, newline=b"\n"):
    return b"data: " + json.dumps(data).encode() + newline * 2


# Behaviours. Each is an `async (provider, request, writer)`.


def answer(text=None, calls=(), pause=0.0):
    """A good answer, whole or streamed, after a check of the request. `calls` are (id, name, arguments)."""

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


async def assistant(provider, request, writer):
    """Calls the first tool it is given, once for each of two cities, and tells what the tools said."""
    body = json.dumps(request.json)
    is_answer = any(f'"{word}"' in body for word in ("tool_call_id", "tool_result", "functionResponse"))
    names = re.findall(r'"name": "(\w+)"', json.dumps(request.json.get("tools", [])))
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
    await asyncio.to_thread(request.cancelled.wait, 30)
    writer.close()


async def silence_after_headers(provider, request, writer):
    """The headers come, and then nothing."""
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
    """Sends some events of a good answer and then `end`s, `close`s or `reset`s, or sends an `error`."""

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
    """A stream that goes on until the client leaves."""

    async def behave(provider, request, writer):
        await writer.begin_stream()
        events = list(provider.events(request, "on and on", ()))
        await writer.send(events[0])
        index = 1
        if isinstance(provider, Anthropic):
            await writer.send(events[1])
            index = 3
        while not request.cancelled.is_set():
            await writer.send(events[index])
            await asyncio.sleep(pause)
        writer.close()

    return behave
