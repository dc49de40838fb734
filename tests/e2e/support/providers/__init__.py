"""Mock providers that check requests with the provider's SDK and answer with its real events."""

from .anthropic import Anthropic
from .bedrock import Bedrock
from .behaviors import (
    answer,
    anything,
    assistant,
    break_off,
    close,
    count_tokens,
    cut,
    endless,
    error_as_first_event,
    hang,
    reset,
    silence_after_headers,
    status,
)
from .cohere import Cohere
from .gemini import Gemini
from .mistral import Mistral
from .openai import OpenAi
from .provider import Provider
from .vertex import Vertex

__all__ = [
    "Anthropic",
    "Bedrock",
    "Cohere",
    "Gemini",
    "Mistral",
    "OpenAi",
    "Provider",
    "Vertex",
    "answer",
    "anything",
    "assistant",
    "break_off",
    "close",
    "count_tokens",
    "cut",
    "endless",
    "error_as_first_event",
    "hang",
    "reset",
    "silence_after_headers",
    "status",
]
