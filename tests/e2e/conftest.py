import os
import pathlib
import re
import sys

import pytest
from openai import OpenAI
from xdist.scheduler import LoadFileScheduling

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from support import filters  # noqa: E402
from support.control_plane import ClickHouse  # noqa: E402
from support.neighbors import GrpcApp, GuestStack, Shop  # noqa: E402
from support.providers import Anthropic, Bedrock, Cohere, Gemini, Mistral, OpenAi, Vertex  # noqa: E402
from support.requests import HELLO
from support.stack import Stack, free_port  # noqa: E402

for variable in ("OPENTRACY_BIN", "OPENTRACY_FILTER", "OPENTRACY_ENVOY"):
    if variable not in os.environ:
        pytest.exit(f"{variable} is not set; run `cargo xtask test`", returncode=2)


NOVA = "us.amazon.nova-pro-v1:0"


class World:
    """Mock providers, and a configuration that names them."""

    def __init__(self):
        self.openai = OpenAi()
        self.second = OpenAi()
        self.anthropic = Anthropic()
        self.gemini = Gemini()
        self.bedrock = Bedrock()
        self.cohere = Cohere()
        self.mistral = Mistral()
        self.vertex = Vertex()
        self.providers = [
            self.openai,
            self.second,
            self.anthropic,
            self.gemini,
            self.bedrock,
            self.cohere,
            self.mistral,
            self.vertex,
        ]

    def config(self, **more):
        chain = ["openai/gpt-4o-mini", "second/large", "anthropic/claude-sonnet-4-6"]
        return {
            "providers": {
                "openai": {"base_url": f"{self.openai.origin}/v1", "api_key": "sk-test-openai-key-000"},
                "second": {"format": "openai", "base_url": f"{self.second.origin}/v1", "api_key": "second-key"},
                "anthropic": {"base_url": self.anthropic.origin, "api_key": "sk-ant-test-key-000"},
                "gemini": {"base_url": f"{self.gemini.origin}/v1beta", "api_key": "gm-test-key-000"},
                "cohere": {"base_url": self.cohere.origin, "api_key": "co-test-key-000"},
                "mistral": {"base_url": f"{self.mistral.origin}/v1", "api_key": "mistral-test-key-000"},
                # With a key here. test_credentials.py uses AWS credentials instead.
                "bedrock": {"base_url": self.bedrock.origin, "api_key": self.bedrock.api_key},
                "vertex": {
                    "base_url": self.vertex.origin + self.vertex.root.removesuffix("/publishers"),
                    "api_key": self.vertex.token,
                },
                "azure": {"base_url": self.second.origin, "api_version": "2024-10-21", "api_key": "azure-key"},
                "azure-v1": {
                    "format": "openai",
                    "dialect": "azure",
                    "base_url": self.second.origin,
                    "path": "/openai/v1/chat/completions",
                    "headers": {"api-key": "azure-key"},
                },
                # Nothing listens on this port.
                "gone": {"format": "openai", "base_url": f"http://127.0.0.1:{free_port()}/v1"},
                "nowhere": {"format": "openai", "base_url": "http://no-such-host.invalid/v1"},
                # One request in flight, and one that waits.
                "narrow": {"format": "openai", "base_url": f"{self.second.origin}/v1", "max_requests": 1},
            },
            "aliases": {
                "smart": {"candidates": ["anthropic/claude-sonnet-4-6", "openai/gpt-4o-mini"]},
                "google": {"candidates": ["gemini/gemini-2.5-pro", "openai/gpt-4o-mini"]},
                "amazon": {"candidates": [f"bedrock/{NOVA}", "openai/gpt-4o-mini"]},
                "only-bedrock": {"candidates": [f"bedrock/{NOVA}"], "retries": 1},
                "only-gemini": {"candidates": ["gemini/gemini-2.5-pro"], "retries": 1},
                "canadian": {"candidates": ["cohere/command-a-03-2025", "openai/gpt-4o-mini"]},
                "french": {"candidates": ["mistral/mistral-large-latest", "openai/gpt-4o-mini"]},
                "cloud": {"candidates": ["vertex/claude-sonnet-4-5@20250929", "openai/gpt-4o-mini"]},
                "chain": {"candidates": chain, "per_try_timeout": "1s"},
                "long-chain": {"candidates": chain, "per_try_timeout": "20s"},
                "twice": {"candidates": ["openai/gpt-4o-mini"], "retries": 1},
                "only": {"candidates": ["openai/gpt-4o-mini"], "per_try_timeout": "1s"},
                "gone-first": {"candidates": ["gone/x", *chain[1:]]},
                "gone-twice": {"candidates": ["gone/x", "gone/y", chain[2]]},
                "all-gone": {"candidates": ["gone/x", "gone/y", "gone/z"]},
                "nowhere-first": {"candidates": ["nowhere/x", *chain[1:]]},
                "nowhere-twice": {"candidates": ["nowhere/x", "nowhere/y", chain[2]]},
                "all-nowhere": {"candidates": ["nowhere/x", "nowhere/y", "nowhere/z"]},
                "narrow-first": {"candidates": ["narrow/large", "openai/gpt-4o-mini"]},
                "auto": {"candidates": chain, "route": "auto", "when_router_is_down": "fail"},
                "auto-anyway": {"candidates": chain, "route": "auto"},
            },
            # Mocks fail on purpose; an open circuit breaker would stop the calls to them.
            "circuit_breaker": {"enabled": False},
            **more,
        }

    def reset(self):
        for provider in self.providers:
            provider.reset()

    def stop(self):
        for provider in self.providers:
            provider.stop()


@pytest.fixture(scope="session")
def session_world():
    world = World()
    yield world
    world.stop()


@pytest.fixture
def world(session_world):
    session_world.reset()
    yield session_world


@pytest.fixture(scope="session")
def session_stack(session_world, filter_form, tmp_path_factory):
    stack = Stack(tmp_path_factory.mktemp("stack"), session_world.config()).start()
    yield stack
    stack.stop()


@pytest.fixture(scope="session")
def neighbors():
    """Starts the applications of the Envoy that the gateway is added to."""
    both = Shop(), GrpcApp()
    yield both
    for each in both:
        each.stop()


@pytest.fixture(scope="session")
def session_guest(session_world, neighbors, filter_form, tmp_path_factory):
    guest = GuestStack(tmp_path_factory.mktemp("guest"), session_world.config(), neighbors).start()
    yield guest
    guest.stop()


@pytest.fixture(scope="session")
def clickhouse_url(tmp_path_factory):
    if url := os.environ.get("OPENTRACY_TEST_CLICKHOUSE_URL"):
        yield url
        return
    server = ClickHouse(tmp_path_factory.mktemp("clickhouse")).start()
    yield server.url
    server.stop()


@pytest.fixture(scope="session", autouse=True)
def filter_form(request):
    """Makes new stacks use the form of the filter that the test is for."""
    form = filters.FORMS[getattr(request, "param", filters.MAIN.kind)]
    if not form.path:
        pytest.skip(
            "OPENTRACY_NATIVE_FILTER is not set; `cargo xtask test` and `cargo xtask e2e --filter native` build it"
        )
    Stack.filter = form
    return form


# Modules whose tests run in an Envoy of the gateway alone and in an Envoy of other applications.
# The stacks of test_endpoints.py do too.
ALSO_AS_A_GUEST = {"test_chat", "test_fallback", "test_streams"}


def pytest_generate_tests(metafunc):
    kinds = filters.kinds_of(metafunc.module.__name__)
    if kinds != [filters.MAIN.kind]:
        metafunc.parametrize("filter_form", kinds, indirect=True, scope="session")
    if "stack" in metafunc.fixturenames and metafunc.module.__name__ in ALSO_AS_A_GUEST:
        places = ["alone", "guest"]
        metafunc.parametrize("stack", places, indirect=True)


class FileAndFilterScheduling(LoadFileScheduling):
    """Runs the tests of a file with either form of the filter in processes of their own."""

    def _split_scope(self, nodeid):
        is_native = re.search(r"\[(.*-)?native(-.*)?\]$", nodeid)
        return super()._split_scope(nodeid) + (" native" if is_native else "")


def pytest_xdist_make_scheduler(config, log):
    if config.getoption("dist") == "loadfile":
        return FileAndFilterScheduling(config, log)


@pytest.fixture
def stack(request, world):
    place = getattr(request, "param", "alone")
    return request.getfixturevalue({"alone": "session_stack", "guest": "session_guest"}[place])


@pytest.fixture
def own_stack(world, filter_form, tmp_path):
    """Makes stacks that a test may break."""
    stacks = []

    def make(config=None, **options):
        stack = Stack(tmp_path, config or world.config(), **options)
        stacks.append(stack)
        return stack.start()

    yield make
    for stack in stacks:
        stack.stop()


@pytest.fixture
def client(stack):
    return OpenAI(base_url=stack.base_url, api_key="whatever", max_retries=0)


@pytest.fixture
def hello():
    return [dict(message) for message in HELLO]
