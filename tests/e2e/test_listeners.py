"""Load on the control plane's listeners, and the modes of its files. Runs without Envoy."""

import json
import os
import pathlib
import resource
import socket
import stat
import subprocess

import grpc
import pytest
from support.control_plane import ControlPlane
from support.stack import wait_for


@pytest.fixture
def plane(tmp_path):
    made = ControlPlane(tmp_path)
    yield made
    made.stop()


def connect(port, count):
    return [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(count)]


def answers(plane):
    """Returns true if /health answers on a new connection."""
    with socket.create_connection(("127.0.0.1", plane.ports["management"]), timeout=20) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        return b" 200 " in connection.makefile("rb").readline()


@pytest.mark.parametrize(
    "begin",
    [b"", b"GET /health HTTP/1.1\r\nhost: local", b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"],
    ids=["silent", "half a request", "kept alive"],
)
def test_idle_connections_keep_nobody_out(plane, begin):
    plane.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)))
    idle = []
    try:
        for _ in range(10):
            more = connect(plane.ports["management"], 30) + connect(plane.ports["grpc"], 10)
            for connection in more:
                if connection.getpeername()[1] == plane.ports["management"]:
                    connection.sendall(begin)
            idle += more
            assert answers(plane)
        assert plane.process.poll() is None
        # The filter's listener accepts a new connection too.
        channel = grpc.insecure_channel(f"127.0.0.1:{plane.ports['grpc']}")
        grpc.channel_ready_future(channel).result(timeout=20)
        channel.close()
        used = len(list(pathlib.Path(f"/proc/{plane.process.pid}/fd").iterdir()))
        assert used < 128
    finally:
        for connection in idle:
            connection.close()


def test_the_listeners_wait_for_a_free_file_descriptor(plane):
    """Lowers the limit of file descriptors below the number in use.

    No connection can be accepted, and the process keeps running.
    """
    plane.start()
    opened = len(list(pathlib.Path(f"/proc/{plane.process.pid}/fd").iterdir()))
    before = resource.prlimit(plane.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(plane.process.pid, resource.RLIMIT_NOFILE, (opened - 2, before[1]))
    waiting = connect(plane.ports["management"], 3) + connect(plane.ports["grpc"], 3)
    wait_for(lambda: "can't accept connections" in plane.log(), "the message in the log")
    assert plane.process.poll() is None
    resource.prlimit(plane.process.pid, resource.RLIMIT_NOFILE, before)
    assert answers(plane)
    for connection in waiting:
        connection.close()
    assert plane.log().count("can't accept connections") <= 10, "logged once per outage, not once per attempt"


def test_records_with_impossible_numbers_are_refused_alone(plane):
    plane.start()

    def varint(number):
        out = bytearray()
        while number > 0x7F:
            out.append(number & 0x7F | 0x80)
            number >>= 7
        return bytes(out) + bytes([number])

    def trace(number, status):
        id_ = f"0199a000-0000-7000-8000-{number:012d}".encode()
        fields = b"\x0a" + varint(len(id_)) + id_ + b"\x10" + varint(1_764_000_000_000_000) + b"\x40" + varint(status)
        return b"\x0a" + varint(len(fields)) + fields

    with grpc.insecure_channel(f"127.0.0.1:{plane.ports['grpc']}") as channel:
        call, token = channel.unary_unary("/opentracy.v1.TraceService/Ingest"), plane.grpc_metadata
        ingest = lambda message: call(message, metadata=token, timeout=20)
        # IngestResponse.rejected is field 1.
        assert ingest(trace(1, 200) + trace(2, 2**32 - 1) + trace(3, 200)) == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as raised:
            ingest(trace(4, 2**32 - 1))
        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "`status`" in raised.value.details()
    plane.settle()
    assert len(plane.get("/v1/traces")["data"]) == 2
    metrics = plane.request("GET", "/metrics")[1].decode()
    assert "opentracy_ingest_rejected_records_total 2" in metrics


def modes(folder):
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


def test_everything_on_disk_is_its_owners_only(plane, tmp_path):
    state = tmp_path / ".opentracy"
    # As an earlier version left the files, with the usual umask.
    state.mkdir(mode=0o755)
    (state / "journal").mkdir(mode=0o755)
    (state / "opentracy.db").touch(mode=0o644)
    for path in (state, state / "journal", state / "opentracy.db"):
        path.chmod(path.stat().st_mode | 0o044)
    previous = os.umask(0o022)
    try:
        plane.start()
    finally:
        os.umask(previous)
    plane.import_traces(
        [{"request": {"model": "demo/echo", "messages": []}, "response": {"created": 7, "choices": []}}]
    )
    plane.settle()
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    found = modes(state)
    assert {"opentracy.db", "opentracy.db-wal", "internal.token", "journal"} <= set(found)
    for name, mode in found.items():
        assert mode & 0o077 == 0, f"{name} has mode {mode:o}"


def test_a_secrets_file_that_others_read_is_refused(plane, tmp_path):
    state = tmp_path / ".opentracy"
    state.mkdir(mode=0o700)
    secrets = state / "secrets.json"
    secrets.write_text(json.dumps({"openai_api_key": "sk-secret"}))
    secrets.chmod(0o644)
    refused = subprocess.run(
        plane.command("check"), capture_output=True, text=True, env=plane.environment, cwd=tmp_path
    )
    assert refused.returncode == 1 and f"chmod 600 {secrets}" in refused.stderr
    secrets.chmod(0o600)
    accepted = subprocess.run(
        plane.command("check"), capture_output=True, text=True, env=plane.environment, cwd=tmp_path
    )
    assert accepted.returncode == 0, accepted.stderr
