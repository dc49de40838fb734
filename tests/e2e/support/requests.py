"""Requests that many tests send."""

HELLO = [{"role": "user", "content": "Hello!"}]
# A model of each provider that a mock plays.
MODELS = {
    "openai": "openai/gpt-4o-mini",
    "anthropic": "anthropic/claude-sonnet-4-6",
    "gemini": "gemini/gemini-2.5-pro",
    "bedrock": "bedrock/us.amazon.nova-pro-v1:0",
    "cohere": "cohere/command-a-03-2025",
    "mistral": "mistral/mistral-large-latest",
    "vertex": "vertex/claude-sonnet-4-5@20250929",
}
