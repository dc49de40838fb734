"""Anthropic's Messages API."""

import json

from .. import oracles
from .provider import Provider, sse


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
