"""Acknowledged traces are stored exactly once, whatever fails in between."""

import json
import os
import random
import resource
import signal
import subprocess
import time
import uuid

import pytest

from support.control_plane import ClickHouse, ControlPlane
from support.journal import Senders, check_nothing_was_lost, codes, fill_segments, journal_of, line, stored_ids
from support.stack import wait_for


@pytest.mark.timeout(180)
def test_kills_at_random_points_lose_nothing(tmp_path):
    control_plane = ControlPlane(tmp_path).start()
    senders = Senders(control_plane)
    chance = random.Random()
    for _ in range(12):
        time.sleep(chance.uniform(0.1, 0.8))
        control_plane.kill()
        control_plane.start(wait=False)
    wait_for(control_plane.is_up, "the last start")
    time.sleep(0.5)
    senders.stop()
    control_plane.settle()
    check_nothing_was_lost(control_plane, senders, "12 kills under load")
    control_plane.stop()


# In seconds. The longer the outage, the more traces wait to be stored afterwards.
OUTAGE = float(os.environ.get("OPENTRACY_TEST_OUTAGE_SECONDS", "8"))


@pytest.mark.timeout(180 + 4 * OUTAGE)
def test_an_outage_of_the_store_loses_nothing(tmp_path):
    (tmp_path / "clickhouse").mkdir()
    clickhouse = ClickHouse(tmp_path / "clickhouse").start()
    config = {"store": {"clickhouse": {"url": clickhouse.url, "compression": "none"}}}
    control_plane = ControlPlane(tmp_path, config).start()
    senders = Senders(control_plane, threads=2)
    time.sleep(1)
    clickhouse.stop()
    before = len(senders.acknowledged)
    time.sleep(OUTAGE)
    assert len(senders.acknowledged) > before, "traces are acknowledged while the store is down"
    # During the outage the control plane itself is killed, and starts without its store.
    control_plane.kill()
    control_plane.start()
    health = wait_for(
        lambda: "store_write_failing" in codes(health := control_plane.get("/health")) and health, "the fault"
    )
    assert health["journal_backlog_bytes"] > 0 and health["status"] == "degraded"
    assert control_plane.get("/statsz")["store"]["is_writable"] is False
    status, body = control_plane.request("GET", "/v1/traces")
    assert status == 503 and b"does not answer" in body
    clickhouse.start()
    time.sleep(1)
    senders.stop()
    control_plane.settle(60 + 3 * OUTAGE)
    check_nothing_was_lost(control_plane, senders, "an outage of ClickHouse with a kill in it")
    assert "traces wait in the journal" in control_plane.log()
    control_plane.stop()
    clickhouse.stop()


@pytest.mark.timeout(120)
def test_a_full_disk_refuses_and_recovers(tmp_path):
    """Limits the journal to 8 MB with a file system, or its files to 4 MB if mounting fails."""
    journal = tmp_path / "journal"
    journal.mkdir()
    mounted = (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(journal)], capture_output=True).returncode
        == 0
    )
    options = {} if mounted else {"preexec_fn": limit_file_size}
    # A store that is down at first: ClickHouse, which has not started yet.
    (tmp_path / "clickhouse").mkdir()
    clickhouse = ClickHouse(tmp_path / "clickhouse")
    config = {
        "journal": {"path": str(journal)},
        "store": {"clickhouse": {"url": clickhouse.url, "compression": "none"}},
    }
    control_plane = ControlPlane(tmp_path, config).start(**options)
    try:
        senders = Senders(control_plane, threads=2, content=20_000)
        wait_for(lambda: senders.refused > 3, "a refusal")
        taken = len(senders.acknowledged)
        log = control_plane.log()
        assert log.count("the journal can't be written") >= 1 and "traces wait in Envoy" in log
        clickhouse.start()
        wait_for(lambda: len(senders.acknowledged) > taken + 20, "free space")
        senders.stop()
        control_plane.settle(60)
        check_nothing_was_lost(control_plane, senders, "a full disk")
        log = control_plane.log()
        assert "the journal can be written again" in log and "no trace was lost" in log
    finally:
        control_plane.stop()
        clickhouse.stop()
        if mounted:
            subprocess.run(["umount", "-l", str(journal)], check=True)


@pytest.mark.timeout(120)
def test_a_disk_that_becomes_read_only_holds_nothing_up(tmp_path):
    """Linux remounts a file system read-only if its device fails.

    The control plane starts on it, stores what the journal holds, and accepts nothing new.
    """
    journal = journal_of(tmp_path)
    journal.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(journal)], capture_output=True).returncode != 0:
        pytest.skip("the system does not let us mount a file system")
    control_plane = None
    try:
        segments = fill_segments(tmp_path, 2)
        subprocess.run(["mount", "-o", "remount,ro", str(journal)], check=True)
        control_plane = ControlPlane(tmp_path).start()
        acknowledged = {trace_id for segment in segments.values() for trace_id in segment}
        wait_for(lambda: set(stored_ids(control_plane)) == acknowledged, "all traces")
        new = [str(uuid.uuid4()) for _ in range(5)]
        body = "\n".join(json.dumps(line(trace_id)) for trace_id in new).encode()
        assert control_plane.request("POST", "/v1/traces", body)[0] == 503
        health = control_plane.get("/health")
        assert health["status"] == "degraded" and {"journal_write_failing", "journal_bookmark_failing"} <= set(
            codes(health)
        )
        subprocess.run(["mount", "-o", "remount,rw", str(journal)], check=True)
        assert control_plane.request("POST", "/v1/traces", body)[0] == 200
        control_plane.settle()
        assert sorted(stored_ids(control_plane)) == sorted([*acknowledged, *new])
        wait_for(lambda: control_plane.get("/health")["status"] == "healthy", "health")
        assert len(list(journal.glob("*.log"))) == 1
    finally:
        if control_plane:
            control_plane.stop()
        subprocess.run(["umount", "-l", str(journal)], check=True)


def limit_file_size():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))


def test_a_batch_that_comes_again_and_again_is_one_row_each(tmp_path):
    control_plane = ControlPlane(tmp_path).start()
    ids = [str(uuid.uuid4()) for _ in range(50)]
    for _ in range(5):
        control_plane.import_traces([line(trace_id) for trace_id in ids])
    control_plane.kill()
    control_plane.start()
    control_plane.import_traces([line(trace_id) for trace_id in ids + ids])
    control_plane.settle()
    assert sorted(stored_ids(control_plane)) == sorted(ids)
    control_plane.stop()


def test_a_journal_that_is_full_refuses_with_a_reason(tmp_path):
    config = {
        "journal": {"max_bytes": 100_000},
        "store": {"clickhouse": {"url": "http://127.0.0.1:9", "compression": "none"}},
    }
    control_plane = ControlPlane(tmp_path, config).start()
    statuses = []
    for _ in range(60):
        status, body = control_plane.request("POST", "/v1/traces", json.dumps(line(str(uuid.uuid4()))).encode())
        statuses.append(status)
    assert set(statuses) == {200, 503} and b"journal.max_bytes" in body
    control_plane.stop()


def test_a_second_control_plane_leaves_the_journal_alone(tmp_path):
    (tmp_path / "second").mkdir()
    first = ControlPlane(tmp_path).start()
    state = {"OPENTRACY_STATE": str(tmp_path / ".opentracy")}
    second = ControlPlane(tmp_path / "second", environment=state)
    second = subprocess.run(second.command("serve"), env=second.environment, capture_output=True, timeout=20)
    assert second.returncode == 1 and b"another control plane is using" in second.stderr
    first.stop()


def test_old_traces_are_deleted(tmp_path):
    control_plane = ControlPlane(tmp_path, {"store": {"retention": "1d"}}).start()
    control_plane.import_traces(
        [{**line(str(uuid.uuid4())), "started_at": "2025-01-01T00:00:00Z"}, line(str(uuid.uuid4()))]
    )
    control_plane.settle()
    control_plane.stop()
    control_plane.start()
    wait_for(lambda: len(control_plane.get("/v1/traces")["data"]) == 1, "the old trace to be deleted")
    assert control_plane.get("/v1/traces", q="word")["data"][0]["started_at"] > "2026"
    control_plane.stop()
