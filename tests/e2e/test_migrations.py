"""Tables of an earlier version become those of this version."""

import json
import pathlib
import sqlite3
import subprocess
import urllib.request
import uuid

import pytest

from support.control_plane import ClickHouse, ControlPlane, clickhouse_config
from support.traces import deleted, everything

FIXTURES = pathlib.Path(__file__).parent / "fixtures"


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


def clickhouse_of(name, url, tmp_path):
    """Makes a control plane on ClickHouse tables of an earlier version."""
    database = f"test_{uuid.uuid4().hex}"
    for statement in (FIXTURES / f"{name}.sql").read_text().split(";\n"):
        if statement.strip():
            with urllib.request.urlopen(url, data=statement.replace("earlier", database).encode(), timeout=30) as reply:
                assert reply.status == 200
    config = clickhouse_config(url)
    config["store"]["clickhouse"]["database"] = database
    return ControlPlane(tmp_path, config)


def sqlite_of(name, tmp_path):
    """Makes a control plane on an SQLite file of an earlier version."""
    file = tmp_path / ".opentracy" / "opentracy.db"
    file.parent.mkdir(mode=0o700)
    connection = sqlite3.connect(file)
    connection.executescript((FIXTURES / f"{name}.sql").read_text())
    connection.close()
    return ControlPlane(tmp_path, {"store": {"retention": "36500d"}})


@pytest.mark.parametrize(
    "name, exported_as", [("clickhouse-6", "clickhouse-6"), ("clickhouse-8", "earlier"), ("sqlite-3", "earlier")]
)
def test_tables_of_an_earlier_version_are_migrated(name, exported_as, clickhouse_url, tmp_path):
    """The tables, rows and export come from the version in the fixture's name."""
    exported = (FIXTURES / f"{exported_as}.jsonl").read_bytes()
    control_plane = (
        sqlite_of(name, tmp_path) if name.startswith("sqlite") else clickhouse_of(name, clickhouse_url, tmp_path)
    )
    control_plane.start()
    try:
        summary = control_plane.get("/v1/analytics/summary", group_by="model")
        assert control_plane.request("GET", "/v1/traces/export") == (200, exported)
        traces = [json.loads(line) for line in exported.splitlines()]
        for filters in (
            {"q": "sun"},
            {"metadata__team": "search"},
            {"user": "user-1"},
            {"status": "2xx", "alias": "cheap"},
        ):
            found = everything(control_plane, order="oldest_first", **filters)
            assert found and all(trace in traces for trace in found)
        # Later traces are aggregated with the earlier ones.
        more = {**traces[0], "id": str(uuid.uuid4()), "user": "new"}
        control_plane.import_traces([more])
        control_plane.settle()
        assert deleted(control_plane, "user=new") == 1
        assert control_plane.get("/v1/analytics/summary", group_by="model") == summary
    finally:
        control_plane.stop()
