"""The Converse API of Amazon Bedrock."""

import json
import re

from urllib.parse import unquote

from .. import aws, oracles
from .provider import Provider


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
