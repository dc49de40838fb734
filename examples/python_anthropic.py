"""Requests a message and a stream with Anthropic's SDK, from a model of any provider.

pip install anthropic
cargo xtask run                            # in another terminal, with OPENAI_API_KEY set
python examples/python_anthropic.py        # without a key: OPENTRACY_MODEL=demo/echo
"""

import os

from anthropic import Anthropic

BASE_URL = os.environ.get("OPENTRACY_URL", "http://127.0.0.1:8080")
MODEL = os.environ.get("OPENTRACY_MODEL", "openai/gpt-4o-mini")

# A client key, once the gateway requires keys.
client = Anthropic(base_url=BASE_URL, api_key=os.environ.get("OPENTRACY_KEY", "anything"))


def message():
    answer = client.messages.create(
        model=MODEL,
        max_tokens=100,
        messages=[{"role": "user", "content": "Say hello."}],
    )
    print(answer.content[0].text)
    print("model:", answer._routing["selected_model"])
    print("cost: ", answer._cost, "USD")


def stream():
    with client.messages.stream(
        model=MODEL,
        max_tokens=100,
        messages=[{"role": "user", "content": "Count to five."}],
    ) as events:
        for text in events.text_stream:
            print(text, end="", flush=True)
    print()


if __name__ == "__main__":
    message()
    stream()
