"""Mistral's chat API."""

from .. import oracles
from .openai import OpenAi


class Mistral(OpenAi):
    always_tells_usage = True

    def problem(self, request):
        return oracles.mistral_chat(request.json)
