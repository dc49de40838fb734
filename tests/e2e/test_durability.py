"""Acknowledged traces are stored exactly once, whatever fails in between."""

import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import threading
import time
import uuid

import pytest

from support.control_plane import ClickHouse, ControlPlane
from support.stack import Stack, wait_for


def line(trace_id, content=2000):
    said = "word " * (content // 5)
    return {
        "id": trace_id,
        "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "status": 200,
        "outcome": "completed",
        "latency_ms": 5.0,
        "provider": "openai",
        "model": "gpt-4o",
        "alias": "load",
        "request": {"messages": [{"role": "user", "content": said}]},
    }


class Senders:
    """Threads that send traces and record which ones were acknowledged.

    They send a batch that was not acknowledged again, as Envoy does.
    """

    def __init__(self, control_plane, threads=4, batch=5, content=2000):
        self.control_plane = control_plane
        self.acknowledged = []
        self.refused = 0
        self.tried_again = 0
        self._batch = batch
        self._content = content
        self._stop = threading.Event()
        # Daemons, so that a failing test ends.
        self._running = [threading.Thread(target=self._send, daemon=True) for _ in range(threads)]
        for thread in self._running:
            thread.start()

    def _send(self):
        while not self._stop.is_set():
            ids = [str(uuid.uuid4()) for _ in range(self._batch)]
            body = "\n".join(json.dumps(line(trace_id, self._content)) for trace_id in ids).encode()
            while not self._stop.is_set():
                try:
                    status, _ = self.control_plane.request("POST", "/v1/traces", body)
                except OSError:
                    status = 0
                if status == 200:
                    self.acknowledged += ids
                    break
                self.refused += status == 503
                self.tried_again += 1
                time.sleep(0.05)

    def stop(self):
        self._stop.set()
        for thread in self._running:
            thread.join(60)


def stored_ids(control_plane):
    status, body = control_plane.request("GET", "/v1/traces/export")
    assert status == 200
    return [json.loads(row)["id"] for row in body.splitlines()]


def codes(health):
    return [reason["code"] for reason in health["reasons"]]


def check_nothing_was_lost(control_plane, senders, what):
    acknowledged = senders.acknowledged
    stored = stored_ids(control_plane)
    lost = set(acknowledged) - set(stored)
    print(
        f"\n{what}: {len(acknowledged)} acknowledged, {len(lost)} lost, "
        f"{senders.tried_again} batches tried again, {len(stored)} rows"
    )
    assert acknowledged, "nothing was acknowledged, so the test shows nothing"
    assert not lost
    assert len(stored) == len(set(stored)), "a trace is stored more than once"


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
        wait_for(lambda: len(senders.acknowledged) > taken + 20, "free space", 40)
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


@pytest.mark.timeout(120)
def test_a_damaged_end_of_the_journal_costs_nothing(tmp_path):
    """A record that a crash leaves half-written at the end of a segment was never acknowledged."""
    # Nothing listens there, so everything stays in the journal.
    config = {"store": {"clickhouse": {"url": "http://127.0.0.1:9", "compression": "none"}}}
    control_plane = ControlPlane(tmp_path, config).start()
    senders = Senders(control_plane, threads=2)
    time.sleep(1)
    senders.stop()
    control_plane.kill()
    segments = sorted((tmp_path / ".opentracy" / "journal").glob("*.log"))
    for rubbish in (b"OTf\x01\xff\xff", os.urandom(4000), b"OTf\x01" * 50):
        with segments[-1].open("ab") as segment:
            segment.write(rubbish)
    sqlite = ControlPlane(tmp_path).start()
    sqlite.settle()
    check_nothing_was_lost(sqlite, senders, "rubbish at the journal's end")
    assert "the journal" in sqlite.log() and ("partial frame" in sqlite.log() or "damaged" in sqlite.log())
    sqlite.stop()


# A store that is down, so everything stays in the journal.
NO_STORE = {"store": {"clickhouse": {"url": "http://127.0.0.1:9", "compression": "none"}}}
MARK = b"\xffOT\x02"
HEADER = 20


def journal_of(tmp_path):
    return tmp_path / ".opentracy" / "journal"


def fill_segments(tmp_path, count, records=40):
    """Acknowledges traces, one per frame, in `count` segments. Returns the ids by segment path.

    Each start of the control plane begins a segment.
    """
    segments = {}
    for _ in range(count):
        control_plane = ControlPlane(tmp_path, NO_STORE).start()
        before = set(journal_of(tmp_path).glob("*.log"))
        ids = []
        for _ in range(records):
            ids.append(str(uuid.uuid4()))
            control_plane.import_traces([line(ids[-1], 200)])
        control_plane.kill()
        (segment,) = set(journal_of(tmp_path).glob("*.log")) - before
        segments[segment] = ids
    return segments


def frames(data):
    """Returns the beginning and the end of each frame of an undamaged segment."""
    begins = []
    at = 0
    while at < len(data):
        assert data[at : at + 4] == MARK
        end = at + HEADER + int.from_bytes(data[at + 8 : at + 12], "little")
        begins.append((at, end))
        at = end
    return begins


@pytest.mark.timeout(120)
@pytest.mark.parametrize("where", ["length", "mark", "checksum", "body", "page", "cut"])
def test_damage_in_an_acknowledged_segment_costs_what_it_touches(tmp_path, where):
    segments = fill_segments(tmp_path, 3)
    (first, ids), *_ = segments.items()
    data = bytearray(first.read_bytes())
    places = frames(data)
    assert len(places) == len(ids)
    begin, end = places[7]
    lost = {7}
    if where == "page":
        data[begin + 30 : begin + 30 + 2048] = bytes(2048)
        lost = {number for number, (from_, to) in enumerate(places) if from_ < begin + 30 + 2048 and begin + 30 < to}
    elif where == "cut":
        # The file ends in the middle of a frame.
        begin, end = places[-5]
        del data[begin + 50 :]
        lost = set(range(len(ids) - 5, len(ids)))
    else:
        data[{"length": begin + 9, "mark": begin + 1, "checksum": begin + 17, "body": (begin + end) // 2}[where]] ^= 1
    first.write_bytes(data)
    sqlite = ControlPlane(tmp_path).start()
    sqlite.settle()
    expected = {trace_id for segment in segments.values() for trace_id in segment} - {ids[number] for number in lost}
    assert set(stored_ids(sqlite)) == expected
    health = sqlite.get("/health")
    if where == "cut":
        # As after a crash: nothing in the file shows that the missing end was acknowledged.
        assert (health["status"], "partial frame" in sqlite.log()) == ("healthy", True)
        assert sqlite.get("/statsz")["journal"]["torn_ends"] >= 1
    else:
        assert (health["status"], codes(health)) == ("degraded", ["journal_damaged"])
        assert f"{len(lost)} batches" in health["reasons"][0]["message"]
        assert sqlite.get("/statsz")["journal"]["lost_frames"] == len(lost)
        metrics = sqlite.request("GET", "/metrics")[1].decode()
        assert f"opentracy_journal_lost_frames_total {len(lost)}\n" in metrics
        assert 'opentracy_health_faults{component="journal",code="journal_damaged"} 1' in metrics
        kept = first.with_suffix(".damaged")
        assert kept.read_bytes() == bytes(data)
        kept.unlink()
        wait_for(lambda: sqlite.get("/health")["status"] == "healthy", "health without the damaged segment")
    assert not first.exists()
    sqlite.stop()


@pytest.mark.timeout(120)
def test_a_segment_that_can_not_be_read_waits_and_holds_up_no_other(tmp_path):
    segments = fill_segments(tmp_path, 3)
    first, middle, last = sorted(segments)
    # A folder in place of the file: it exists, and every read fails, even for root.
    aside = tmp_path / "aside"
    middle.rename(aside)
    middle.mkdir()
    control_plane = ControlPlane(tmp_path).start()
    others = set(segments[first] + segments[last])
    wait_for(lambda: set(stored_ids(control_plane)) == others, "the other segments")
    health = control_plane.get("/health")
    assert (health["status"], health["reasons"][0]["code"]) == ("degraded", "journal_read_failing")
    assert control_plane.get("/statsz")["journal"]["unreadable_segments"] == 1
    # A kill and a restart don't remove it.
    control_plane.kill()
    control_plane.start()
    newer = str(uuid.uuid4())
    control_plane.import_traces([line(newer)])
    wait_for(lambda: newer in stored_ids(control_plane), "a newer trace")
    assert middle.exists() and control_plane.get("/health")["status"] == "degraded"
    middle.rmdir()
    aside.rename(middle)
    wait_for(lambda: control_plane.get("/health")["status"] == "healthy", "the segment to be read", 60)
    control_plane.settle()
    assert set(stored_ids(control_plane)) == {*others, *segments[middle], newer}
    assert not middle.exists()
    control_plane.stop()


@pytest.mark.timeout(120)
def test_a_record_that_the_store_refuses_is_set_aside(tmp_path):
    control_plane = ControlPlane(tmp_path).start()
    control_plane.import_traces([line(str(uuid.uuid4()))])
    control_plane.settle()
    database = sqlite3.connect(tmp_path / ".opentracy" / "opentracy.db")
    database.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON bodies WHEN NEW.user = 'poison' "
        "BEGIN SELECT RAISE(ABORT, 'refused by a rule'); END"
    )
    database.commit()
    ids = [str(uuid.uuid4()) for _ in range(30)]
    control_plane.import_traces(
        [{**line(trace_id), "user": "poison" if number == 11 else "somebody"} for number, trace_id in enumerate(ids)]
    )
    control_plane.settle()
    assert set(ids) - set(stored_ids(control_plane)) == {ids[11]}
    health = control_plane.get("/health")
    assert (health["status"], health["reasons"][0]["code"]) == ("degraded", "store_dead_letters")
    letters = journal_of(tmp_path) / "dead-letters.jsonl"
    (letter,) = [json.loads(row) for row in letters.read_text().splitlines()]
    assert letter["trace"]["id"] == ids[11] and "refused by a rule" in letter["error"]
    # Once the cause is fixed, the record can be imported as it was kept.
    database.execute("DROP TRIGGER refuse")
    database.commit()
    database.close()
    control_plane.import_traces([letter["trace"]])
    control_plane.settle()
    assert ids[11] in stored_ids(control_plane)
    letters.unlink()
    wait_for(lambda: control_plane.get("/health")["status"] == "healthy", "health")
    control_plane.stop()


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


def test_migrate_makes_the_tables_once(tmp_path):
    (tmp_path / "clickhouse").mkdir()
    clickhouse = ClickHouse(tmp_path / "clickhouse").start()
    control_plane = ControlPlane(
        tmp_path, {"store": {"clickhouse": {"url": clickhouse.url, "compression": "none", "database": "mine"}}}
    )
    for _ in range(2):
        migrated = subprocess.run(
            control_plane.command("migrate"), env=control_plane.environment, capture_output=True, timeout=60
        )
        assert migrated.returncode == 0, migrated.stderr
    assert clickhouse.query("SELECT count() > 0, count() = max(version) FROM mine.schema_migrations").split() == [
        "1",
        "1",
    ]
    assert "model_stats_hourly" in clickhouse.query("SHOW TABLES FROM mine")
    clickhouse.query("INSERT INTO mine.schema_migrations (version, name) VALUES (99, 'later')")
    migrated = subprocess.run(
        control_plane.command("migrate"), env=control_plane.environment, capture_output=True, timeout=60
    )
    assert migrated.returncode == 1 and b"newer version of opentracy" in migrated.stderr
    clickhouse.stop()


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


@pytest.mark.timeout(120)
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
            60,
        )
        assert dropped(stack) < calls / 2
        (newest,) = stack.get("/v1/traces?limit=1", stack.management)["data"]
        assert newest["content_truncated"] and newest["user"]
    finally:
        stack.stop()


def dropped(stack):
    return sum(stack.stats("wasmcustom.opentracy.records_dropped").values())


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
