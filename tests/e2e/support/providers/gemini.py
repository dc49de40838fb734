"""Google's Gemini API."""

import re

from .. import oracles
from .provider import Provider, sse


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
