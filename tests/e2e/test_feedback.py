"""Both stores keep feedback, and fits learn from it."""

import json
import os
import uuid
from datetime import datetime, timezone

import pytest

from support.control_plane import ControlPlane, clickhouse_config
from support.stack import wait_for
from support.traces import deleted, iso

EMBEDDER = os.environ.get("OPENTRACY_TEST_EMBEDDER", "")


@pytest.mark.skipif(not EMBEDDER, reason="OPENTRACY_TEST_EMBEDDER is not set")
def test_feedback_is_kept_and_learned_from(tmp_path, clickhouse_url):
    for name, config in (("sqlite", {}), ("clickhouse", clickhouse_config(clickhouse_url))):
        folder = tmp_path / name
        folder.mkdir()
        control_plane = ControlPlane(folder, config, {"OPENTRACY_EMBEDDER": EMBEDDER}).start()
        now = datetime.now(timezone.utc).timestamp()
        ids = [str(uuid.uuid4()) for _ in range(30)]
        control_plane.import_traces(
            [
                {
                    "id": trace_id,
                    "started_at": iso(int((now - 60 + number) * 1e6)),
                    "status": 200,
                    "outcome": "completed",
                    "latency_ms": 1,
                    "provider": "demo",
                    "model": "small",
                    "metadata": {"number": str(number)},
                    "request": {"model": "auto", "messages": [{"role": "user", "content": f"How much is {number}?"}]},
                }
                for number, trace_id in enumerate(ids)
            ]
        )
        control_plane.settle()

        def judge(trace_id, **verdict):
            status, body = control_plane.request(
                "POST", "/v1/feedback", json.dumps({"trace_id": trace_id, **verdict}).encode()
            )
            assert (status, json.loads(body)) == (200, {"learned": True})

        for trace_id in ids:
            judge(trace_id, score=0.25)
        judge(ids[0], thumbs="up")
        judge(ids[0], thumbs="down", source="judge")
        assert deleted(control_plane, "metadata.number=1") == 1

        status, body = control_plane.request("POST", "/v1/router/fits?clusters=5")
        job = json.loads(body)
        assert (status, job["outcomes"]) == (202, 30), (
            "29 of the user and one of the judge: the last verdict of each counts"
        )
        wait_for(lambda: control_plane.get(f"/v1/router/fits/{job['id']}")["state"] == "done", "the fit")
        (model,) = control_plane.get("/v1/router")["pack"]["models"]
        assert model["mean_error"] == pytest.approx((28 * 0.75 + 0 + 1) / 30)
        control_plane.stop()
