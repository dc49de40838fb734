"""Sends traces, records which ones were acknowledged, and checks that those are stored."""

import json
import threading
import time
import uuid

from .control_plane import ControlPlane

# A store that is down, so everything stays in the journal.
NO_STORE = {"store": {"clickhouse": {"url": "http://127.0.0.1:9", "compression": "none"}}}


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
