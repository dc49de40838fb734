"""Records wait in the filter while the control plane does not take them."""

import json
import time

import pytest

from support.control_plane import ClickHouse
from support.stack import Stack, wait_for


@pytest.mark.timeout(120)
def test_back_pressure_reaches_the_filter_and_what_it_can_hold_is_not_lost(world, tmp_path):
    """The store is down and the journal is full. Records wait in Envoy and are stored later."""
    (tmp_path / "clickhouse").mkdir()
    clickhouse = ClickHouse(tmp_path / "clickhouse")
    config = {
        **world.config(),
        "store": {"clickhouse": {"url": clickhouse.url, "compression": "none"}},
        "journal": {"max_bytes": 30_000},
    }
    stack = Stack(tmp_path, config, concurrency=1).start()
    try:
        ids = []
        for _ in range(40):
            _, headers, _ = stack.post(
                {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "x" * 2000}]}
            )
            ids.append(headers["x-opentracy-trace-id"])
            time.sleep(0.02)
        backlog = wait_for(lambda: stack.get("/statsz", stack.management)["journal_backlog_bytes"], "a full journal")
        assert backlog < 40 * 2000, "part of the records wait in Envoy"
        clickhouse.start()
        wait_for(
            lambda: len(stack.get("/v1/traces?limit=500", stack.management, default={"data": []})["data"]) == len(ids),
            "all traces",
            40,
        )
        assert dropped(stack) == 0
    finally:
        stack.stop()
        clickhouse.stop()


@pytest.mark.timeout(300)
def test_what_the_filter_can_not_hold_is_dropped_and_counted(world, tmp_path):
    stack = Stack(tmp_path, world.config(), concurrency=1).start()
    try:
        stack.kill_control_plane()
        # When the filter's buffer is full, content is dropped first. A user's name is not content.
        body = json.dumps(
            {
                "model": "openai/unlisted",
                "user": "x" * 200_000,
                "messages": [{"role": "user", "content": "x" * 1_000_000}],
            }
        ).encode()
        calls = 120
        for _ in range(calls):
            assert stack.post(body)[0] == 200, "calls still succeed"
        assert wait_for(lambda: dropped(stack), "a drop") < calls / 2
        stack.start_control_plane()
        wait_for(
            lambda: stack.get("/v1/analytics/summary", stack.management, default={"data": []})["data"],
            "the first trace",
        )
        wait_for(
            lambda: (
                stack.get("/v1/analytics/summary", stack.management)["data"][0]["requests"] + dropped(stack) == calls
            ),
            "all others",
            200,
        )
        assert dropped(stack) < calls / 2
        (newest,) = stack.get("/v1/traces?limit=1", stack.management)["data"]
        assert newest["content_truncated"] and newest["user"]
    finally:
        stack.stop()


def dropped(stack):
    return sum(stack.stats(f"{stack.filter.metrics_prefix}.opentracy.records_dropped").values())
