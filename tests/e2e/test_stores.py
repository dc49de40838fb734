"""Control planes with SQLite and with ClickHouse give the same answers to every request."""

import json
import subprocess
import urllib.request
import uuid

import chdb
import pytest
import yaml

from support.control_plane import ControlPlane, clickhouse_config
from support.traces import COUNT, START, deleted, everything, iso, made_up_traces


@pytest.fixture(scope="module")
def pair(tmp_path_factory, clickhouse_url):
    """Starts a control plane per store, with the same traces in both."""
    sqlite = ControlPlane(tmp_path_factory.mktemp("sqlite"), {"store": {"retention": "36500d"}}).start()
    clickhouse = ControlPlane(tmp_path_factory.mktemp("control-plane"), clickhouse_config(clickhouse_url)).start()
    traces = made_up_traces()
    for control_plane in (sqlite, clickhouse):
        half = COUNT // 2
        # The second half first, because order is by time and not by arrival. A repeated import
        # changes nothing.
        for some in (traces[half:], traces[:half], traces[half - 50 : half + 50]):
            assert control_plane.import_traces(some) == {"imported": len(some), "failed": []}
        control_plane.settle()
    yield sqlite, clickhouse
    for control_plane in (sqlite, clickhouse):
        control_plane.stop()


FILTERS = [
    {},
    {"provider": "openai"},
    {"provider": "nobody"},
    {"model": "gpt-4o"},
    {"model": "openai/gpt-4o-mini"},
    {"model": "meta-llama/Llama-3.3-70B"},
    {"model": "together/meta-llama/Llama-3.3-70B"},
    {"alias": "smart"},
    {"alias": "smart", "provider": "anthropic"},
    {"key": "team-a"},
    {"client": "OpenAI/Python 2.1.0"},
    {"client": "curl/8.5", "alias": "smart"},
    {"cluster": 3},
    {"session": "session-7"},
    {"session": "session-7", "q": "sun"},
    {"user": "user-1"},
    {"user": "user-1", "session": "session-3"},
    {"status": 429},
    {"status": "4xx"},
    {"status": "2xx", "alias": "cheap"},
    {"error_type": "rate_limit_error"},
    {"error_type": "rate_limit_error", "model": "gpt-4o"},
    {"since": iso(START + 3_600_000_000)},
    {"until": iso(START + 3_600_000_000)},
    {"since": iso(START + 3_600_000_000), "until": iso(START + 7_200_000_000)},
    {"min_cost": 0.00005},
    {"max_cost": 0.00005},
    {"min_cost": 0.00002, "max_cost": 0.00004},
    {"min_latency_ms": 8000},
    {"max_latency_ms": 1000.5},
    {"min_tokens": 2000},
    {"max_tokens": 100},
    {"metadata__team": "search"},
    {"metadata__team": "ads", "metadata__tier": "gold"},
    {"metadata__tier": "search"},
    {"metadata_key": "tier"},
    {"metadata_key": "tier", "q": "moon"},
    {"metadata__team": "search", "q": "moon"},
    {"q": "sun"},
    {"q": "Sun MOON"},
    {"q": "straße"},
    {"q": "naïve"},
    {"q": "京"},
    {"q": "Привет"},
    {"q": "nothing"},
    {"q": "su"},
    {"q": "sun", "status": "4xx", "since": iso(START)},
    {"model": "gpt-4o", "alias": "smart", "key": "team-b", "q": "river"},
]


@pytest.mark.parametrize(
    "filters", FILTERS, ids=lambda filters: "&".join(f"{name}={value}" for name, value in filters.items()) or "all"
)
def test_lists_and_figures_are_equal(pair, filters):
    sqlite, clickhouse = pair
    for order in ("newest_first", "oldest_first"):
        answers = [everything(control_plane, order=order, **filters) for control_plane in pair]
        assert answers[0] == answers[1]
    found = answers[0]
    if filters != {"q": "nothing"} and filters != {"q": "su"} and filters != {"provider": "nobody"}:
        assert found, "the comparison needs a match"
    for group in (None, "model", "provider", "alias", "cluster", "key", "client"):
        by = {"group_by": group} if group else {}
        answers = [control_plane.get("/v1/analytics/summary", **by, **filters) for control_plane in pair]
        assert answers[0] == answers[1]
        assert sum(figure["requests"] for figure in answers[0]["data"]) == len(found)
        period = {"since": iso(START), "until": iso(START + 40 * 3_600_000_000), **filters}
        answers = [
            control_plane.get("/v1/analytics/timeseries", interval="90m", **by, **period) for control_plane in pair
        ]
        assert answers[0] == answers[1]


def test_what_was_imported_is_what_is_found(pair):
    wanted = {trace["id"]: trace for trace in made_up_traces()}
    for control_plane in pair:
        found = everything(control_plane, order="oldest_first")
        assert [trace["id"] for trace in found] == list(wanted)
        for trace in found:
            expected = wanted[trace["id"]]
            assert trace.pop("started_at").rstrip("Z").rstrip("0").rstrip(".") == expected["started_at"].rstrip(
                "Z"
            ).rstrip("0").rstrip(".")
            assert trace == {name: value for name, value in expected.items() if name != "started_at"}


def test_a_trace_has_its_sessions_timeline(pair):
    found = everything(pair[0], session="session-7")
    answers = [control_plane.get(f"/v1/traces/{found[0]['id']}") for control_plane in pair]
    assert answers[0] == answers[1]
    events = answers[0]["timeline"]
    assert [event["type"] for event in events].count("model_turn") == len(found)
    executions = [event for event in events if event["type"] == "tool_execution"]
    assert executions and all(
        event["output"] == "seen" and event["name"] == "look" and event["at_most_ms"] > 0 for event in executions
    )


def test_figures_are_those_of_the_traces(pair):
    traces = made_up_traces()
    figure = pair[0].get("/v1/analytics/summary")["data"][0]
    latencies = sorted(trace["latency_ms"] for trace in traces)
    assert figure["requests"] == COUNT
    assert figure["errors"] == sum(trace["error"] is not None for trace in traces)
    assert figure["latency_ms"] == {
        f"p{int(level * 100)}": latencies[int(level * COUNT)] for level in (0.5, 0.95, 0.99)
    }
    assert figure["cost"] == pytest.approx(sum(trace["cost"]["total"] for trace in traces if trace["cost"]), abs=1e-12)
    assert figure["unpriced"] == sum(trace["cost"] is None for trace in traces)
    assert figure["tokens"]["input"] == sum(trace["tokens"]["input"] for trace in traces if trace["tokens"])


def test_pages_stay_where_they_are_while_traces_arrive(pair):
    for control_plane in pair:
        first = control_plane.get("/v1/traces", limit=10, alias="paging")
        assert first["data"] == []
        old = [
            {**trace, "id": str(uuid.uuid4()), "alias": "paging", "metadata": {}, "session_id": None}
            for trace in made_up_traces()[:40]
        ]
        control_plane.import_traces(old[:30])
        control_plane.settle()
        page = control_plane.get("/v1/traces", limit=10, alias="paging")
        rest = [trace["id"] for trace in everything(control_plane, alias="paging")][10:]
        later = {**old[0], "id": str(uuid.uuid4()), "started_at": iso(START + 10**15 // 10)}
        control_plane.import_traces([later])
        control_plane.settle()
        seen = []
        while page["next_cursor"]:
            page = control_plane.get("/v1/traces", limit=10, alias="paging", cursor=page["next_cursor"])
            seen += [trace["id"] for trace in page["data"]]
        assert seen == rest
        assert deleted(control_plane, "alias=paging") == 31


@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
def test_calls_of_one_moment_are_each_on_one_page(pair, order):
    """The order is by time and a few bits of the id, which are equal here."""
    ids = [f"0199c7d4-0000-7abc-8000-{number:012x}" for number in range(45)]
    for control_plane in pair:
        control_plane.import_traces([{**made_up_traces()[0], "id": trace_id, "alias": "at-once"} for trace_id in ids])
        control_plane.settle()
        found = everything(control_plane, limit=7, order=order, alias="at-once")
        assert sorted(trace["id"] for trace in found) == ids
        assert deleted(control_plane, "alias=at-once") == len(ids)


def test_a_person_can_be_forgotten(pair):
    before = [control_plane.get("/v1/analytics/summary")["data"] for control_plane in pair]
    for control_plane in pair:
        gone = [
            {
                **trace,
                "id": str(uuid.uuid4()),
                "user": "jane@example.org",
                "alias": "forgotten",
                "metadata": {"case": "forgetting"},
            }
            for trace in made_up_traces()[:25]
        ]
        control_plane.import_traces(gone)
        # No wait: a deletion covers acknowledged traces that are still on their way to the store.
        assert deleted(control_plane, "user=jane%40example.org") == 25
        assert control_plane.get("/v1/traces", user="jane@example.org")["data"] == []
        assert control_plane.get("/v1/traces", metadata__case="forgetting")["data"] == []
        assert control_plane.get("/v1/traces", alias="forgotten", q="sun")["data"] == []
        status, _ = control_plane.request("GET", f"/v1/traces/{gone[0]['id']}")
        assert status == 404
        entry = control_plane.get("/v1/audit")["data"][0]
        assert (entry["action"], entry["request_id"], entry["subject"], entry["count"]) == (
            "delete",
            "please-forget",
            "user=jane@example.org",
            25,
        )
        status, body = control_plane.request("DELETE", "/v1/traces")
        assert status == 400 and "at least one filter" in body.decode()
    assert [control_plane.get("/v1/analytics/summary")["data"] for control_plane in pair] == before


def test_exports_are_equal_and_can_be_imported(pair, tmp_path):
    exports = [control_plane.request("GET", "/v1/traces/export?alias=smart") for control_plane in pair]
    assert exports[0] == exports[1]
    lines = [json.loads(line) for line in exports[0][1].splitlines()]
    assert lines == everything(pair[0], alias="smart", order="oldest_first")
    other = ControlPlane(tmp_path, {"store": {"retention": "36500d"}}).start()
    try:
        other.import_traces(lines)
        other.settle()
        assert everything(other, order="oldest_first") == lines
    finally:
        other.stop()


def test_parquet_holds_the_same(pair, tmp_path):
    file = tmp_path / "traces.parquet"
    tables = []
    for control_plane in pair:
        status, body = control_plane.request("GET", "/v1/traces/export?format=parquet&alias=smart")
        assert status == 200
        file.write_bytes(body)
        rows = chdb.query(
            f"SELECT * FROM file('{file}', Parquet) SETTINGS output_format_json_quote_64bit_integers = 0", "JSONEachRow"
        )
        tables.append([json.loads(line) for line in str(rows).splitlines()])
    assert tables[0] == tables[1]
    for row, trace in zip(tables[0], everything(pair[0], alias="smart", order="oldest_first"), strict=True):
        for name in (
            "id",
            "model",
            "alias",
            "key",
            "status",
            "latency_ms",
            "time_to_first_token_ms",
            "user",
            "stream",
            "outcome",
        ):
            assert row[name] == trace[name], name
        assert row["client"] == trace.get("client")
        assert row["started_at"].replace(" ", "T").rstrip("0").rstrip(".") == trace["started_at"].rstrip("Z")
        assert json.loads(row["metadata"]) == trace["metadata"] and json.loads(row["attempts"]) == trace["attempts"]
        assert (json.loads(row["request"]) if row["request"] else None) == trace["request"]
        assert row["cost_total"] == (trace["cost"] and trace["cost"]["total"])
        assert row["tokens_input"] == (trace["tokens"] and trace["tokens"]["input"])


def test_an_imported_client_is_shortened_like_a_header(pair):
    for control_plane in pair:
        long = [
            {**made_up_traces()[0], "id": str(uuid.uuid4()), "alias": "long", "client": client}
            for client in ("x" * 100, "curl/8.5 (for jane)", "(none)")
        ]
        control_plane.import_traces(long)
        control_plane.settle()
        found = everything(control_plane, alias="long")
        assert sorted(trace.get("client", "") for trace in found) == ["", "curl/8.5", "x" * 64]
        assert deleted(control_plane, "alias=long") == 3


def test_a_list_and_logs_of_others_can_be_imported(pair):
    logs = [
        {
            "request": {"model": "gpt-4o", "messages": [{"role": "user", "content": "loganberry"}]},
            "response": {"created": 1_760_000_000, "model": "gpt-4o", "choices": []},
        },
        {"nothing": "here"},
        {
            "id": "chatcmpl-9",
            "object": "chat.completion",
            "created": 1_760_000_001,
            "model": "gpt-4o",
            "choices": [{"message": {"content": "loganberry jam"}}],
        },
    ]
    for control_plane in pair:
        status, body = control_plane.request("POST", "/v1/traces", json.dumps(logs).encode())
        report = json.loads(body)
        assert (status, report["imported"]) == (200, 2)
        assert report["failed"][0]["line"] == 2 and "messages" in report["failed"][0]["message"]
        control_plane.settle()
        found = control_plane.get("/v1/traces", q="loganberry")["data"]
        assert [trace["started_at"] for trace in found] == ["2025-10-09T08:53:21Z", "2025-10-09T08:53:20Z"]
        assert deleted(control_plane, "q=loganberry") == 2
        status, body = control_plane.request("POST", "/v1/traces", b"nonsense")
        assert status == 400 and "Line 1" in body.decode()


def test_imports_are_priced_on_arrival_and_repriced_on_request(pair):
    """An import is priced on arrival; repricing corrects a wrong cost."""
    log = {
        "id": "chatcmpl-priced",
        "object": "chat.completion",
        "created": 1_760_000_050,
        "model": "gpt-4o",
        "choices": [],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 1000},
        "metadata": {"case": "pricing"},
    }
    for control_plane in pair:
        control_plane.import_traces([log])
        control_plane.settle()
        (trace,) = control_plane.get("/v1/traces", metadata__case="pricing")["data"]
        assert trace["cost"]["total"] == pytest.approx(1000 * 2.5e-6 + 1000 * 1e-5)
        # The same trace with another cost, as an older version may have stored it.
        wrong = {**trace, "id": str(uuid.uuid4()), "cost": {**trace["cost"], "total": 99.0}}
        control_plane.import_traces([wrong])
        before = control_plane.get("/v1/analytics/summary", metadata__case="pricing")["data"][0]["cost"]
        status, body = control_plane.request(
            "POST", "/v1/traces/reprice?metadata.case=pricing&prices=now", headers={"x-request-id": "mend"}
        )
        assert (status, json.loads(body)) == (200, {"changed": 1, "unchanged": 1})
        figure = control_plane.get("/v1/analytics/summary", metadata__case="pricing")["data"][0]
        assert figure["requests"] == 2 and figure["cost"] == pytest.approx(2 * 0.0125)
        assert before != figure["cost"]
        assert control_plane.get("/v1/traces", metadata__case="pricing", max_cost=1)["data"][0]["cost"][
            "total"
        ] == pytest.approx(0.0125)
        entry = control_plane.get("/v1/audit")["data"][0]
        assert (entry["action"], entry["request_id"], entry["count"]) == ("reprice", "mend", 1)
        repriced = subprocess.run(
            control_plane.command(
                "reprice", "--model", "gpt-4o", "--since", "2025-10-09T08:54:10Z", "--until", "2025-10-09T08:54:11Z"
            ),
            env=control_plane.environment,
            capture_output=True,
            text=True,
        )
        assert repriced.stdout == "0 traces have a new cost, 2 are unchanged.\n", repriced
        assert deleted(control_plane, "metadata.case=pricing") == 2


def test_the_figures_by_hour_follow_every_change(pair, clickhouse_url):
    """The hourly aggregates match the traces after imports, deletions and new prices."""
    database = yaml.safe_load(pair[1].config_path.read_text())["store"]["clickhouse"]["database"]

    def ask(statement):
        with urllib.request.urlopen(clickhouse_url, data=statement.encode(), timeout=30) as reply:
            return reply.read().decode()

    figures = "sum(requests), sum(errors), sum(tokens_input), sum(tokens_output), sum(cost_total)"
    counted = (
        "count(), countIf(error_type != ''), sum(ifNull(tokens_input, 0)), "
        "sum(ifNull(tokens_output, 0)), sum(ifNull(cost_total, 0))"
    )
    hourly = ask(
        f"SELECT hour, model, {figures} FROM {database}.model_stats_hourly "
        "GROUP BY ALL HAVING sum(requests) > 0 ORDER BY ALL"
    )
    assert hourly and hourly == ask(
        f"SELECT toStartOfHour(started_at) AS hour, model, {counted} FROM {database}.calls "
        "WHERE provider != '' GROUP BY ALL ORDER BY ALL"
    )
    daily = ask(
        f"SELECT day, cluster_id, {figures} FROM {database}.cluster_stats_daily "
        "GROUP BY ALL HAVING sum(requests) > 0 ORDER BY ALL"
    )
    assert daily and daily == ask(
        f"SELECT toDate(started_at) AS day, assumeNotNull(cluster_id) AS cluster, {counted} FROM {database}.calls "
        "WHERE provider != '' AND cluster_id IS NOT NULL GROUP BY ALL ORDER BY ALL"
    )
