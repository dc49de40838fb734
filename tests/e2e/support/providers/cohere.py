"""Cohere's chat API."""

import json

from .. import oracles
from .provider import Provider, sse


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
