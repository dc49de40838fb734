"""The traffic of other applications on the gateway's listener passes byte for byte unchanged."""

import json
import re
import socket

import grpc
import pytest

from support.neighbors import PlainEnvoy

HELLO = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]}
# Headers that are generated for each request, or that measure time.
CHANGING = re.compile(rb"(?im)^(date|x-request-id|x-envoy-upstream-service-time): .*\r\n")
BODY = b'{"model": "gpt-4o"}'
REQUESTS = {
    "root": (b"GET / HTTP/1.1\r\nhost: shop.example.com\r\n", b""),
    "v1": (b"GET /v1/x HTTP/1.1\r\nhost: shop.example.com\r\nauthorization: Bearer theirs\r\n", b""),
    "completion": (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: shop.example.com\r\ncontent-type: application/json\r\n",
        BODY,
    ),
    "files": (
        b"POST /v1/files HTTP/1.1\r\nhost: shop.example.com\r\ncontent-type: multipart/form-data; boundary=b\r\n",
        BODY,
    ),
    "proxy": (b"GET /proxy/openai/v1/models HTTP/1.1\r\nhost: shop.example.com\r\n", b""),
    "models": (b"GET /v1/models HTTP/1.1\r\nhost: shop.example.com\r\n", b""),
    "health": (b"GET /health HTTP/1.1\r\nhost: shop.example.com\r\n", b""),
    "metrics": (b"GET /metrics HTTP/1.1\r\nhost: shop.example.com\r\n", b""),
    "own headers": (
        b"GET /v1/orders HTTP/1.1\r\nhost: api.example.com\r\nx-opentracy-theirs: 1\r\nx-opentracy-token: t\r\n",
        b"",
    ),
    "404 of an app": (b"GET /missing HTTP/1.1\r\nhost: shop.example.com\r\n", b""),
    "404 of Envoy": (b"GET /v1/nothing HTTP/1.1\r\nhost: api.example.com\r\n", b""),
    "413": (b"POST /small HTTP/1.1\r\nhost: api.example.com\r\n", b"x" * 200),
    "503": (b"GET /gone HTTP/1.1\r\nhost: api.example.com\r\n", b""),
    "other port": (b"GET /v1/models HTTP/1.1\r\nhost: llm.example.com.evil\r\n", b""),
}


@pytest.fixture(scope="module")
def plain(neighbors, tmp_path_factory):
    envoy = PlainEnvoy(tmp_path_factory.mktemp("plain"), neighbors).start()
    yield envoy
    envoy.stop()


def raw(stack, head, body):
    head += b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", stack.ports["gateway"]), timeout=10) as connection:
        connection.sendall(head + body)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def exchange(stack, head, body):
    """Returns the bytes of the answer, and of the request as the application received it."""
    shop = stack.neighbors[0]
    before = len(shop.received)
    answer = raw(stack, head, body)
    port = str(stack.ports["gateway"]).encode()
    received = [CHANGING.sub(b"", each) for each in shop.received[before:]]
    return CHANGING.sub(b"", answer).replace(port, b"PORT"), received


@pytest.mark.parametrize("name", REQUESTS)
def test_a_neighbors_requests_and_answers_stay_as_they_are(plain, session_guest, name):
    head, body = REQUESTS[name]
    before, after = exchange(plain, head, body), exchange(session_guest, head, body)
    assert before == after
    assert before[0].startswith(b"HTTP/1.1 ")


def test_a_neighbors_websocket_stays_as_it_is(plain, session_guest):
    def talk(stack):
        with socket.create_connection(("127.0.0.1", stack.ports["gateway"]), timeout=10) as connection:
            connection.sendall(
                b"GET /v1/realtime HTTP/1.1\r\nhost: shop.example.com\r\n"
                b"connection: Upgrade\r\nupgrade: websocket\r\n\r\n"
            )
            answer = connection.recv(65536)
            connection.sendall(b"ping")
            return CHANGING.sub(b"", answer), connection.recv(65536)

    before, after = talk(plain), talk(session_guest)
    assert before == after and before[1] == b"ping"


@pytest.mark.parametrize("method", ["Echo", "Nothing"])
def test_a_neighbors_grpc_stays_as_it_is(plain, session_guest, method):
    def call(stack):
        options = [("grpc.default_authority", "api.example.com")]
        with grpc.insecure_channel(f"127.0.0.1:{stack.ports['gateway']}", options=options) as channel:
            try:
                return channel.unary_unary(f"/shop.Echo/{method}")(b"hello", timeout=10)
            except grpc.RpcError as error:
                return error.code(), error.details()

    assert call(plain) == call(session_guest)


def test_the_gateway_has_its_own_host(session_guest, world):
    status, headers, reply = session_guest.post(HELLO, headers={"host": session_guest.domain})
    assert status == 200 and reply["choices"] and headers["x-opentracy-selected-model"] == "openai/gpt-4o-mini"
    [request] = world.openai.requests
    assert request.headers["host"] == world.openai.origin.removeprefix("http://")
    status, _, reply = session_guest.post(None, path="/nothing", method="GET", headers={"host": session_guest.domain})
    assert (status, reply["error"]["code"]) == (404, "unknown_url")


@pytest.mark.parametrize("authority", ["opentracy-internal", "opentracy-direct", "opentracy-direct:80"])
@pytest.mark.parametrize(
    "cluster", ["shop", "opentracy_provider_openai", "opentracy_management", "opentracy_control_plane"]
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/traces", "/"])
@pytest.mark.parametrize("where", ["session_stack", "session_guest"])
def test_forged_hosts_and_headers_reach_nothing(request, world, neighbors, where, authority, cluster, path):
    stack = request.getfixturevalue(where)
    neighbors[0].received.clear()
    forged = (
        f"POST {path} HTTP/1.1\r\nhost: {authority}\r\nx-opentracy-cluster: {cluster}\r\nx-opentracy-hop: direct\r\n"
        'x-opentracy-token: 1.a\r\nx-opentracy-plan: {"trace_id":"x","attempts":["openai/gpt-4o-mini"]}\r\n'
    )
    answer = raw(stack, forged.encode(), json.dumps(HELLO).encode())
    assert not any(provider.requests for provider in world.providers)
    # A name without a virtual host goes to the catch-all: the shop's, or else the gateway's.
    is_the_shops = authority.endswith(":80") and where == "session_guest"
    assert answer.startswith(b"HTTP/1.1 200" if is_the_shops else b"HTTP/1.1 404"), answer
    assert len(neighbors[0].received) == is_the_shops


def test_no_secret_reaches_a_neighbor(session_guest, neighbors):
    shop = neighbors[0]
    shop.received.clear()
    for head, body in REQUESTS.values():
        exchange(session_guest, head, body)
    sent = b"\n".join(shop.received).lower()
    assert b"x-opentracy-on-behalf-of" not in sent and b"sk-test-openai" not in sent
    tokens = re.findall(rb"x-opentracy-token: (.*)\r", sent)
    assert set(tokens) <= {b"t"}, "only what the shop's client sent"
