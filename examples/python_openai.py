"""Requests a chat completion and a stream with OpenAI's SDK, from a model of any provider.

pip install openai
cargo xtask run                            # in another terminal, with ANTHROPIC_API_KEY set
python examples/python_openai.py           # without a key: OPENTRACY_MODEL=demo/echo
"""

import os

from openai import OpenAI

BASE_URL = os.environ.get("OPENTRACY_URL", "http://127.0.0.1:8080") + "/v1"
MODEL = os.environ.get("OPENTRACY_MODEL", "anthropic/claude-sonnet-4-6")

# A client key, once the gateway requires keys.
client = OpenAI(base_url=BASE_URL, api_key=os.environ.get("OPENTRACY_KEY", "anything"))


def chat():
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Say hello."}],
    )
    print(answer.choices[0].message.content)
    # Fields that the gateway adds to an answer. The cost is `None` if a price is unknown.
    print("model:   ", answer._routing["selected_model"])
    print("attempts:", answer._routing["attempts"])
    print("cost:    ", answer._cost, "USD")
    print("trace:   ", answer._routing["trace_id"])


def stream():
    chunks = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Count to five."}],
        stream=True,
    )
    for chunk in chunks:
        if chunk.choices and chunk.choices[0].delta.content:
            print(chunk.choices[0].delta.content, end="", flush=True)
    print()


if __name__ == "__main__":
    chat()
    stream()
