"""Telemetry about calls: Prometheus, OpenTelemetry and logs."""

import concurrent.futures
import json
import pathlib
import re
import threading

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support import providers as mock
from support.requests import HELLO
from support.stack import Stack, wait_for

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ROOT = pathlib.Path(__file__).parents[2]


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OpenTelemetry collector that keeps its spans."""

    def __init__(self):
        self._spans = []
        self._lock = threading.Lock()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def Export(self, request, context):  # noqa: N802
        with self._lock:
            for resource in request.resource_spans:
                names = {item.key: item.value.string_value for item in resource.resource.attributes}
                assert names["service.name"] == "opentracy"
                self._spans += [span for scope in resource.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def of(self, trace_id):
        with self._lock:
            return [span for span in self._spans if span.trace_id.hex() == trace_id]


@pytest.fixture(scope="module")
def observed(session_world, tmp_path_factory):
    session_world.reset()
    collector = Collector()
    config = session_world.config()
    config["aliases"]["smart"]["budget"] = {"hard": 1000}
    config = {**config, "telemetry": {"otlp_endpoint": f"http://127.0.0.1:{collector.port}", "log_format": "json"}}
    stack = Stack(tmp_path_factory.mktemp("telemetry"), config, environment={"OPENTRACY_LOG": "debug"}).start()
    yield stack, collector
    stack.stop()
    collector.server.stop(0)


def attributes(span):
    def value(held):
        return getattr(held, held.WhichOneof("value"))

    return {item.key: value(item.value) for item in span.attributes}


def ask(stack, model, headers=None, **more):
    status, headers, reply = stack.post({"model": model, "messages": HELLO, **more}, headers=headers)
    return status, headers["x-opentracy-trace-id"]


@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "smart"], ids=["direct", "with-fallback"])
def test_a_call_is_one_trace_from_the_client_to_the_provider(observed, world, model):
    stack, collector = observed
    trace = "%032x" % (0xABC + len(model))
    provider = world.openai if model != "smart" else world.anthropic
    status, call = ask(
        stack,
        model,
        headers={
            "traceparent": f"00-{trace}-b7ad6b7169203331-01",
            "tracestate": "vendor=1",
            "user-agent": "OpenAI/Python 2.1.0",
        },
    )
    assert status == 200
    server, client = wait_for(
        lambda: len(found := collector.of(trace)) == 2 and sorted(found, key=lambda span: span.kind), "two spans"
    )
    assert server.parent_span_id.hex() == "b7ad6b7169203331"
    assert client.parent_span_id == server.span_id
    # The provider's spans are children of the attempt's span.
    seen = provider.requests[-1].headers
    assert seen["traceparent"] == f"00-{trace}-{client.span_id.hex()}-01" and seen["tracestate"] == "vendor=1"
    facts = attributes(server)
    assert facts["user_agent.original"] == "OpenAI/Python 2.1.0"
    assert facts["gen_ai.operation.name"] == "chat" and facts["gen_ai.request.model"] == model
    assert facts["gen_ai.usage.input_tokens"] > 0 and facts["gen_ai.usage.output_tokens"] > 0
    assert facts["opentracy.trace.id"] == call and facts["opentracy.cost.usd"] > 0
    assert attributes(client)["gen_ai.provider.name"] == facts["gen_ai.provider.name"]
    assert server.end_time_unix_nano > server.start_time_unix_nano
    assert stack.trace(call)["traceparent"].startswith(f"00-{trace}-")


def test_each_attempt_is_a_span(observed, world):
    stack, collector = observed
    world.openai.script.append(mock.status(503))
    trace = "%032x" % 0xDEF
    ask(stack, "chain", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    spans = wait_for(lambda: len(found := collector.of(trace)) == 3 and found, "three spans")
    attempts = sorted(
        (span for span in spans if span.kind == 3), key=lambda span: attributes(span)["opentracy.attempt"]
    )
    assert [attributes(span).get("error.type") for span in attempts] == ["overloaded", None]
    assert attempts[0].status.code == 2


def test_a_call_without_a_context_begins_a_trace(observed, world):
    stack, collector = observed
    _, call = ask(stack, "openai/gpt-4o-mini")
    wait_for(lambda: len(collector.of(call.replace("-", ""))) == 2, "its spans")
    assert "traceparent" not in world.openai.requests[-1].headers


def test_what_is_not_to_be_sampled_is_not_sent(observed):
    stack, collector = observed
    trace = "%032x" % 0x777
    _, call = ask(stack, "openai/gpt-4o-mini", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-00"})
    stack.trace(call)
    _, other = ask(stack, "openai/gpt-4o-mini")
    wait_for(lambda: collector.of(other.replace("-", "")), "a later call's spans")
    assert not collector.of(trace)


def metrics(stack):
    text = stack.post_raw(None, method="GET", path="/metrics", origin=stack.management).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def sample(family, suffix="", **labels):
    return sum(
        sample.value
        for sample in family.samples
        if sample.name == family.name + suffix and labels.items() <= sample.labels.items()
    )


def test_prometheus_reads_the_conventions_names(observed, world):
    stack, _ = observed
    before = metrics(stack)
    of_model = {"gen_ai_provider_name": "openai", "gen_ai_response_model": "gpt-4o-mini"}
    world.openai.script.append(mock.status(429))
    calls = [
        ask(stack, "openai/gpt-4o-mini"),
        ask(stack, "openai/gpt-4o-mini"),
        ask(stack, "openai/gpt-4o-mini", stream=False),
    ]
    for _, call in calls:
        stack.trace(call)
    after = metrics(stack)

    def grown(name, suffix, **labels):
        return sample(after[name], suffix, **labels) - (sample(before[name], suffix, **labels) if name in before else 0)

    assert grown("gen_ai_client_operation_duration_seconds", "_count", **of_model) == 3
    assert grown("gen_ai_client_operation_duration_seconds", "_count", error_type="rate_limit_error") == 1
    assert grown("gen_ai_client_token_usage", "_count", gen_ai_token_type="output", **of_model) == 2
    assert grown("gen_ai_server_time_to_first_token_seconds", "_count", **of_model) == 3
    assert grown("opentracy_requests", "_total", status="200") == 2
    assert grown("opentracy_cost_usd", "_total", **of_model) > 0
    assert grown("opentracy_failed_attempts", "_total", error="rate_limit") == 1
    assert "opentracy_journal_backlog_bytes" in after


def test_envoy_counts_calls_by_provider_and_status(observed):
    stack, _ = observed
    import urllib.request

    def lines():
        with urllib.request.urlopen(
            f"http://127.0.0.1:{stack.ports['admin']}/stats/prometheus?filter={stack.filter.metrics_prefix}"
        ) as reply:
            return reply.read().decode()

    ask(stack, "openai/gpt-4o-mini")
    latency = 'opentracy_gateway_latency_ms_bucket{opentracy_provider="openai"'
    text = wait_for(lambda: latency in (found := lines()) and found, "the counters")
    assert re.search(r'opentracy_gateway_requests\{opentracy_provider="openai",opentracy_status="2xx"\} [1-9]', text)
    assert re.search(r'opentracy_gateway_tokens_input\{opentracy_provider="openai"\} [1-9]', text)


def test_statsz_shows_models_and_circuit_breakers(observed):
    stack, _ = observed
    ask(stack, "openai/gpt-4o-mini")
    page = wait_for(
        lambda: (found := stack.get("/statsz", stack.management))["models"].get("openai/gpt-4o-mini") and found,
        "the model",
    )
    model = page["models"]["openai/gpt-4o-mini"]
    assert model["requests"] >= 1 and model["tokens_input"] > 0 and model["latency_ms"]["p50"] > 0
    assert page["circuit_breakers"]["openai"] == {"state": "closed", "ejected_hosts": 0}
    # A provider's only address is never ejected: its other models may work.
    for _ in range(12):
        ask(stack, "gone-first")
    page = stack.get("/statsz", stack.management)
    assert page["circuit_breakers"]["gone"] == {"state": "closed", "ejected_hosts": 0}


def test_logs_are_objects_with_request_ids(observed):
    stack, _ = observed
    stack.post(
        None, method="GET", path="/v1/models", origin=stack.management, headers={"x-request-id": "find-me-again"}
    )
    lines = [json.loads(line) for line in (stack.folder / "control-plane.log").read_text().splitlines()]
    assert all({"timestamp", "level", "target"} <= set(line) for line in lines)
    found = [line for line in lines if line.get("span", {}).get("request_id") == "find-me-again"]
    assert found and found[0]["span"]["path"] == "/v1/models"


def test_a_request_has_an_id_whoever_gives_it(observed):
    stack, _ = observed

    def request_id(given):
        return stack.post(None, method="GET", path="/health", origin=stack.management, headers=given)[1]["x-request-id"]

    assert request_id({"x-request-id": "mine"}) == "mine"
    assert len(request_id({})) == 36
    assert request_id({"x-request-id": "no spaces"}) != "no spaces"


def test_the_dashboard_queries_existing_metrics(observed):
    stack, _ = observed
    assert stack.post({"model": "auto-anyway", "messages": [{"role": "user", "content": "Hello!"}]})[0] == 200
    wait_for(lambda: "opentracy_router_decisions" in str(metrics(stack)), "the decision to be counted")
    dashboard = json.loads((ROOT / "envoy" / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(queries) >= 8
    names = {sample.name for family in metrics(stack).values() for sample in family.samples}
    names |= {f"{family}_total" for family in metrics(stack)}
    for query in queries:
        for name in re.findall(r"\b(?:gen_ai|opentracy)_[a-z_]+", re.sub(r"\{[^}]*\}|by \([^)]*\)", "", query)):
            assert name in names, f"no metric {name}, which {query} uses"
