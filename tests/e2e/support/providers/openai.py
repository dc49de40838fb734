"""OpenAI and Azure: chat completions and the Responses API."""

import json
import re

from .. import oracles
from .provider import Provider, sse


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
