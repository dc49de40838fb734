"""Without keys, pages of other sites and other host names get no access."""

import json

import pytest
from support.requests import HELLO


@pytest.mark.parametrize(
    "headers,status",
    [
        ({}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "localhost:8000"}, 200),
        ({"host": "[::1]:8000"}, 200),
    ],
)
def test_without_keys_no_other_site_makes_a_browser_call(stack, headers, status):
    with stack._open(None, headers=headers, path="/v1/traces", method="GET", origin=stack.management) as reply:
        assert reply.status == status
        assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize(
    "headers,status",
    [
        ({}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null", "content-type": "text/plain"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "evil.example"}, 403),
        ({"host": "localhost:8080"}, 200),
    ],
)
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/models", "/statsz", "/proxy/openai/v1/models", "/v1/route"]
)
def test_without_keys_no_other_site_calls_the_gateway(stack, world, headers, status, path):
    is_post = path in ("/v1/chat/completions", "/v1/route")
    body = json.dumps({"model": "openai/gpt-4o", "messages": HELLO}).encode() if is_post else None
    with stack._open(body, headers=headers, path=path, method="POST" if is_post else "GET") as reply:
        found, text = reply.status, reply.read().decode()
    if status == 403:
        assert found == 403 and "cross_site_request" in text
        assert not any(provider.requests for provider in world.providers)
    else:
        assert found != 403, text


def test_the_gateways_own_host_names_need_no_key(own_stack, world):
    config = {**world.config(), "access": {"hosts": ["llm.example.com"]}}
    stack = own_stack(config)
    ask = lambda host: stack.post({"model": "openai/gpt-4o", "messages": HELLO}, headers={"host": host})[0]
    assert ask("llm.example.com") == ask("LLM.example.com:8080") == 200
    assert ask("other.example.com") == 403
