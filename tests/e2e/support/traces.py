"""The same traces in every run, and requests that list and delete traces."""

import json
import random
import uuid
from datetime import datetime, timezone

START = 1_760_000_000_000_000
COUNT = 600
MODELS = [
    ("openai", "gpt-4o-mini"),
    ("openai", "gpt-4o"),
    ("anthropic", "claude-sonnet-4-6"),
    ("together", "meta-llama/Llama-3.3-70B"),
]
WORDS = "sun moon star river Straße naïve 東京 привет engine window paper bridge stone cloud".split()


def iso(micros):
    seconds, rest = divmod(micros, 1_000_000)
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:06d}Z"


def made_up_traces():
    """Returns traces of every kind, the same ones in every run."""
    chance = random.Random(7)
    traces = []
    for number in range(COUNT):
        micros = START + number * 37_000_000 + chance.randrange(1000)
        provider, model = chance.choice(MODELS)
        error = chance.random() < 0.1
        has_content = chance.random() < 0.9
        tokens = {
            "input": chance.randrange(2000),
            "output": chance.randrange(500),
            "cache_read": 1,
            "cache_write": 2,
            "reasoning": 3,
        }
        said = " ".join(chance.choices(WORDS, k=6))
        total = chance.randrange(10**6) / 1e10
        call = [{"id": f"call_{number}", "type": "function", "function": {"name": "look", "arguments": "{}"}}]
        in_session = chance.random() < 0.5
        session = f"session-{number // 20}"
        results = [
            {"role": "tool", "tool_call_id": f"call_{before}", "content": "seen"}
            for before in range(number - 3, number)
        ]
        random_bits = chance.getrandbits(74)
        client = [None, "OpenAI/Python 2.1.0", "curl/8.5", "OpenAI/Python 2.0.0"][number % 4]
        bits = (micros // 1000) << 80 | 7 << 76 | (random_bits >> 62) << 64 | 2 << 62 | random_bits & ((1 << 62) - 1)
        traces.append(
            {
                "id": str(uuid.UUID(int=bits)),
                "started_at": iso(micros),
                "api": "chat_completions",
                "requested_model": "smart",
                "alias": chance.choice(["smart", "cheap", None]),
                "provider": None if error and chance.random() < 0.3 else provider,
                "model": model,
                "key": chance.choice([None, "team-a", "team-b"]),
                **({"client": client} if client else {}),
                "stream": chance.random() < 0.5,
                "status": chance.choice([429, 500, 503, 400]) if error else 200,
                "outcome": chance.choice(["completed", "client_disconnected", "upstream_broke_off"]),
                "error": {
                    "type": chance.choice(["rate_limit_error", "api_error"]),
                    "code": chance.choice([None, "x"]),
                    "message": "no",
                }
                if error
                else None,
                "latency_ms": chance.randrange(1, 9_000_000) / 1000,
                "time_to_first_token_ms": chance.choice([None, chance.randrange(1, 900_000) / 1000]),
                "routing_ms": 0.5,
                "tokens": None if error else tokens,
                "cost": None
                if chance.random() < 0.2
                else {"input": total, "output": 0.0, "cache_read": 0.0, "cache_write": 0.0, "total": total},
                "session_id": session if in_session else None,
                "cluster_id": chance.choice([None, *range(5)]),
                "expected_error": chance.choice([None, 0.25]),
                "decision": chance.choice(
                    [
                        None,
                        {
                            "outcome": "decided",
                            "pack": "0123456789ab",
                            "score": 0.5,
                            "cost_weight": 0.1,
                            "embedding_ms": 9.25,
                            "reason": 'it\'s the "best"',
                        },
                    ]
                ),
                "user": chance.choice([None, "user-1", "user-2"]),
                "metadata": chance.choice(
                    [{}, {"team": "search"}, {"team": "ads", "tier": "gold"}, {"tier": "search"}]
                ),
                "traceparent": chance.choice([None, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]),
                "attempts": [
                    {
                        "number": n + 1,
                        "provider": provider,
                        "model": model,
                        "status": chance.choice([None, 200]),
                        "error": chance.choice([None, "timeout"]),
                        "latency_ms": 1.5,
                    }
                    for n in range(chance.randrange(3))
                ],
                "request": {"model": "smart", "messages": [{"role": "user", "content": said}, *results]}
                if has_content
                else None,
                "response": {
                    "choices": [
                        {"index": 0, "message": {"role": "assistant", "content": said.upper(), "tool_calls": call}}
                    ]
                }
                if has_content
                else None,
                "content_truncated": False,
            }
        )
    return traces


def everything(control_plane, limit=170, **query):
    traces, cursor = [], None
    while True:
        page = control_plane.get("/v1/traces", limit=limit, **query, **({"cursor": cursor} if cursor else {}))
        traces += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            assert len({trace["id"] for trace in traces}) == len(traces)
            return traces


def deleted(control_plane, query):
    status, body = control_plane.request("DELETE", f"/v1/traces?{query}", headers={"x-request-id": "please-forget"})
    assert status == 200, body
    return json.loads(body)["deleted"]
