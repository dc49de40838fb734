"""Questions to the router, and outcomes to fit its packs to."""

import json
import os

from .stack import wait_for

EMBEDDER = {"OPENTRACY_EMBEDDER": os.environ.get("OPENTRACY_TEST_EMBEDDER", "")}

PROMPTS = [
    "What is the capital of Portugal?",
    "Prove that the square root of 2 is irrational.",
    "Write a Python function that reverses a linked list.",
    "A baker sells 12 rolls at 40 cents each. How much does she take in?",
    "Explain the mechanism of the Diels-Alder reaction.",
    "¿Qué hora es en Madrid cuando son las tres en Nueva York?",
    "Tell me a joke about penguins.",
    "Reply in exactly five words: why is the sky blue?",
    "According to the passage, who owned the red boat?",
    "Find the last two digits of 3 to the 2025th power.",
]
SMALL, LARGE = "demo/small", "demo/large"


def ask(stack, prompt, weight=None, model="auto"):
    headers = {} if weight is None else {"x-opentracy-cost-weight": str(weight)}
    status, headers, body = stack.post(
        {"model": model, "messages": [{"role": "user", "content": prompt}]}, headers=headers
    )
    assert status == 200, body
    return headers, body


def route(stack, origin=None, **question):
    status, _, body = stack.post(question, path="/v1/route", origin=origin)
    return status, body


def send(stack, path, body=b"", method="POST"):
    status, _, reply = stack.post(body, path=path, method=method, origin=stack.management)
    return status, reply


def fit(stack, outcomes, **query):
    pairs = "&".join(f"{name}={value}" for name, value in query.items())
    lines = "\n".join(json.dumps(outcome) for outcome in outcomes).encode()
    status, job = send(stack, f"/v1/router/fits?{pairs}", lines)
    assert status == 202, job

    def finished():
        state = stack.get(f"/v1/router/fits/{job['id']}", stack.management)
        return state["state"] != "running" and state

    job = wait_for(finished, "the fit")
    assert job["state"] == "done", job
    return job["pack"]


def outcomes(wrong):
    """Returns outcomes for sums and poems; `wrong(model, topic)` is the error rate of a model."""
    animals = "cat dog owl fox bee ant cow hen pig elk".split()
    made = []
    for number in range(60):
        animal = animals[number % 10]
        for topic, prompt in (
            ("sums", f"What is {number + 13} plus {number * 7 + 5}?"),
            ("poems", f"Write poem number {number} about a {animal} in the rain."),
        ):
            made += [{"prompt": prompt, "model": model, "error": wrong(model, topic)} for model in (SMALL, LARGE)]
    return made
