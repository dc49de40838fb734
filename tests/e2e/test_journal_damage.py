"""Damage to a segment of the journal, or a record that the store refuses, costs only itself."""

import json
import os
import sqlite3
import time
import uuid

import pytest

from support.control_plane import ControlPlane
from support.journal import (
    Senders,
    check_nothing_was_lost,
    codes,
    fill_segments,
    journal_of,
    line,
    stored_ids,
)
from support.stack import wait_for

MARK = b"\xffOT\x02"
HEADER = 20


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
    wait_for(lambda: control_plane.get("/health")["status"] == "healthy", "the segment to be read")
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
