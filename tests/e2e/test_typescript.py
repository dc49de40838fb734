"""OpenAI's TypeScript SDK, tested with Node's test runner."""

import os
import pathlib
import subprocess

import pytest
from support import providers as mock

SCRIPT = pathlib.Path(__file__).parent.parent / "typescript/sdk.test.ts"


@pytest.mark.parametrize(
    "model",
    [
        "openai/gpt-4o-mini",
        "anthropic/claude-sonnet-4-6",
        "gemini/gemini-2.5-pro",
        "bedrock/us.amazon.nova-pro-v1:0",
        "cohere/command-a-03-2025",
    ],
)
def test_the_typescript_sdk(stack, world, model):
    for provider in world.providers:
        provider.habit = mock.assistant
    environment = {**os.environ, "OPENTRACY_BASE_URL": stack.base_url, "OPENTRACY_MODEL": model}
    ran = subprocess.run(
        [f"{os.environ['OPENTRACY_NODE_PROGRAMS']}/tsx", "--test", str(SCRIPT)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=35,
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    assert "pass 7" in ran.stdout
