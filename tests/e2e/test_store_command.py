"""A damaged store is reported, and its readable traces are rescued."""

import json
import os
import pathlib
import sqlite3
import subprocess
import time
import uuid

import pytest

from support.control_plane import ClickHouse, ControlPlane
from support.stack import wait_for

PAGE = 8192


def line(trace_id):
    return {
        "id": trace_id,
        "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "status": 200,
        "outcome": "completed",
        "latency_ms": 5.0,
        "provider": "openai",
        "model": "gpt-4o",
        # Random content, which does not compress and fills pages.
        "request": {"messages": [{"role": "user", "content": f"needle {os.urandom(400).hex()}"}]},
    }


def store_command(control_plane, *arguments):
    return subprocess.run(
        control_plane.command("store", *arguments), env=control_plane.environment, capture_output=True, timeout=60
    )


def file_of(tmp_path):
    return tmp_path / ".opentracy" / "opentracy.db"


def fill(tmp_path, count=300):
    control_plane = ControlPlane(tmp_path).start()
    ids = [str(uuid.uuid4()) for _ in range(count)]
    control_plane.import_traces([line(trace_id) for trace_id in ids])
    control_plane.settle()
    control_plane.stop()
    # Moves everything from the write-ahead log to the file.
    sqlite3.connect(file_of(tmp_path)).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return control_plane, ids


def overwrite(path: pathlib.Path, pages):
    with open(path, "r+b") as file:
        for page in pages:
            file.seek((page - 1) * PAGE)
            file.write(b"\xa5" * PAGE)


def pages_of(path, table):
    """Returns the pages of a table below its root. The root only points to the rows."""
    root = sqlite3.connect(path).execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()[0]
    page = path.read_bytes()[(root - 1) * PAGE : root * PAGE]
    assert page[0] == 0x05, "the table must be larger than a page"
    cells = int.from_bytes(page[3:5], "big")
    pointers = [int.from_bytes(page[12 + 2 * cell : 14 + 2 * cell], "big") for cell in range(cells)]
    return [root, *(int.from_bytes(page[at : at + 4], "big") for at in pointers), int.from_bytes(page[8:12], "big")]


def traces_in(text):
    return {json.loads(row)["id"] for row in text.splitlines()}


def test_an_undamaged_store_is_checked_exported_and_unchanged(tmp_path):
    control_plane, ids = fill(tmp_path, 40)
    before = file_of(tmp_path).read_bytes()
    checked = store_command(control_plane, "check")
    assert checked.returncode == 0, checked
    assert b"40 rows in traces" in checked.stdout and b"The store is sound" in checked.stdout
    exported = store_command(control_plane, "export")
    assert exported.returncode == 0 and traces_in(exported.stdout) == set(ids)
    repaired = store_command(control_plane, "repair")
    assert repaired.returncode == 0 and b"nothing to repair" in repaired.stdout
    assert file_of(tmp_path).read_bytes() == before
    # While a control plane uses the store, it can be checked but not repaired.
    control_plane.start()
    assert store_command(control_plane, "check").returncode == 0
    refused = store_command(control_plane, "repair", "--force")
    assert refused.returncode == 1 and b"another control plane is using" in refused.stderr
    control_plane.stop()


def test_a_missing_store_is_reported(tmp_path):
    control_plane = ControlPlane(tmp_path)
    for command in ("check", "repair", "export"):
        ran = store_command(control_plane, command)
        assert ran.returncode == 1 and b"does not exist" in ran.stderr and b"store.path" in ran.stderr
    assert not file_of(tmp_path).exists()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("where", ["leaf", "root", "header"])
def test_a_damaged_file_is_repaired(tmp_path, where):
    control_plane, ids = fill(tmp_path)
    path = file_of(tmp_path)
    root, *leaves = pages_of(path, "bodies")
    overwrite(path, {"leaf": [leaves[3]], "root": [root], "header": [1]}[where])
    damaged = path.read_bytes()
    checked = store_command(control_plane, "check")
    assert checked.returncode in (1, 2) and (where == "header" or checked.returncode == 2), checked
    exported = store_command(control_plane, "export", "--output", str(tmp_path / "all.jsonl"))
    assert exported.returncode == 2 and b"is damaged" in exported.stderr
    readable = traces_in((tmp_path / "all.jsonl").read_bytes())
    repaired = store_command(control_plane, "repair")
    assert repaired.returncode == 0, repaired
    assert path.with_name("opentracy.db.damaged").read_bytes() == damaged
    assert store_command(control_plane, "check").returncode == 0
    control_plane.start()
    assert control_plane.get("/health")["status"] == "healthy"
    status, body = control_plane.request("GET", "/v1/traces/export")
    assert status == 200 and traces_in(body) == readable
    # A leaf page holds some rows; interior pages hold none.
    assert len(ids) - len(readable) in (range(1, 20) if where == "leaf" else [0])
    found = control_plane.get("/v1/traces", q="needle", limit=500)["data"]
    assert {trace["id"] for trace in found} == readable
    control_plane.stop()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("where", ["table", "header"])
def test_a_store_that_can_not_be_written_is_reported_and_costs_no_trace(tmp_path, where):
    control_plane, before = fill(tmp_path)
    path = file_of(tmp_path)
    overwrite(path, [1] if where == "header" else pages_of(path, "bodies"))
    readable = traces_in(store_command(control_plane, "export").stdout)
    # It starts anyway: Envoy needs its configuration, and the journal accepts traces.
    control_plane.start()
    new = [str(uuid.uuid4()) for _ in range(20)]
    control_plane.import_traces([line(trace_id) for trace_id in new])
    health = wait_for(lambda: (health := control_plane.get("/health"))["status"] == "degraded" and health, "the fault")
    (reason,) = [reason for reason in health["reasons"] if reason["code"] == "store_write_failing"]
    assert reason["component"] == "store" and "wait in the journal" in reason["message"] and reason["since"]
    assert health["journal_backlog_bytes"] > 0
    store = wait_for(
        lambda: (store := control_plane.get("/statsz")["store"])["write_errors"] > 1 and store, "more tries"
    )
    assert store["is_writable"] is False and store["last_write_error"] and store["failing_since"]
    metrics = control_plane.request("GET", "/metrics")[1].decode()
    assert 'opentracy_health_faults{component="store",code="store_write_failing"} 1' in metrics
    assert not (tmp_path / ".opentracy" / "journal" / "dead-letters.jsonl").exists(), (
        "an outage must not refuse records"
    )
    status, body = control_plane.request("GET", "/v1/traces")
    assert status == 503 and b"store" in body
    control_plane.stop()
    assert store_command(control_plane, "repair").returncode == 0
    control_plane.start()
    control_plane.settle()
    status, body = control_plane.request("GET", "/v1/traces/export")
    assert status == 200 and traces_in(body) == readable | set(new)
    assert control_plane.get("/health")["status"] == "healthy"
    control_plane.stop()


@pytest.mark.timeout(120)
def test_clickhouse_is_checked_and_exported(tmp_path):
    (tmp_path / "clickhouse").mkdir()
    clickhouse = ClickHouse(tmp_path / "clickhouse").start()
    config = {"store": {"clickhouse": {"url": clickhouse.url, "compression": "none"}}}
    control_plane = ControlPlane(tmp_path, config).start()
    ids = [str(uuid.uuid4()) for _ in range(30)]
    control_plane.import_traces([line(trace_id) for trace_id in ids])
    control_plane.settle()
    control_plane.stop()
    checked = store_command(control_plane, "check")
    assert checked.returncode == 0 and b"30 rows in calls" in checked.stdout, (checked.stdout, checked.stderr)
    exported = store_command(control_plane, "export")
    assert exported.returncode == 0 and traces_in(exported.stdout) == set(ids)
    refused = store_command(control_plane, "repair")
    assert refused.returncode == 1 and b"ClickHouse repairs its own tables" in refused.stderr
    clickhouse.query(
        "DROP TABLE default.attempts"
        if "attempts" in clickhouse.query("SHOW TABLES FROM default")
        else "DROP TABLE opentracy.attempts"
    )
    checked = store_command(control_plane, "check")
    assert checked.returncode == 2 and b"table attempts" in checked.stdout, (checked.stdout, checked.stderr)
    clickhouse.stop()
    checked = store_command(control_plane, "check")
    assert checked.returncode == 1 and b"can't be checked" in checked.stderr
