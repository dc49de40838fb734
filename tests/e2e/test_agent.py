"""An agent's conversation of five turns with parallel tool calls.

It works the same with every provider, and across a change of provider.
"""

import json

import pytest
from support import providers as mock
from test_chat import ALIASES, MODELS, QUESTION, WEATHER

CITIES = [["Paris", "Rome"], ["Oslo", "Lima"], ["Cairo", "Delhi"], ["Tokyo", "Quito"]]


def turn(number):
    """Calls the tool for two cities in each of four turns, then answers."""
    if number < len(CITIES):
        calls = [(f"toolu_{city}", "get_weather", {"city": city}) for city in CITIES[number]]
        return mock.answer(f"Turn {number}.", calls)
    return mock.answer("That is all.")


def converse(client, model, before_turn=lambda number: None):
    messages = [{"role": "system", "content": "Be brief."}, dict(QUESTION)]
    selected = []
    for number in range(len(CITIES) + 1):
        before_turn(number)
        answer = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER], max_tokens=1000)
        selected.append(answer._routing["selected_model"])
        message = answer.choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        if not message.tool_calls:
            break
        assert [json.loads(call.function.arguments)["city"] for call in message.tool_calls] == CITIES[number]
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": f"{call.function.arguments}: sunny"}
            for call in message.tool_calls
        ]
    assert message.content == "That is all."
    return selected, messages


@pytest.mark.parametrize("provider", MODELS)
def test_five_turns(client, world, provider):
    """Each mock checks the whole conversation with the types of its provider's SDK."""
    selected, messages = converse(
        client, MODELS[provider], lambda number: getattr(world, provider).script.append(turn(number))
    )
    assert selected == [MODELS[provider]] * 5
    assert len(messages) == 2 + 4 * 3 + 1


@pytest.mark.parametrize("provider", [name for name in MODELS if name != "openai"])
@pytest.mark.parametrize("direction", ["there", "back"])
def test_five_turns_that_change_provider_in_the_middle(client, world, provider, direction):
    """One candidate serves the first two turns and the other one the rest of the conversation."""
    first = getattr(world, provider)

    def before_turn(number):
        is_first = (number < 2) == (direction == "there")
        first.habit = turn(number) if is_first else mock.status(503)
        world.openai.habit = turn(number)

    selected, _ = converse(client, ALIASES[provider], before_turn)
    is_own = [model.startswith(provider) for model in selected]
    assert is_own == ([True] * 2 + [False] * 3 if direction == "there" else [False] * 2 + [True] * 3)
