"""Google's Vertex AI, which serves Gemini and Claude."""

import re

from .. import oracles
from .anthropic import Anthropic
from .gemini import Gemini


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
