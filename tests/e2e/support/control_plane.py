"""Runs the control plane without Envoy."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid

import yaml

from support.stack import START_TIMEOUT, free_port, wait_for


class ControlPlane:
    def __init__(self, folder: pathlib.Path, config=None, environment=None):
        self.folder = folder
        self.ports = {name: free_port() for name in ("management", "grpc")}
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "OPENTRACY_LOG": "info",
            **(environment or {}),
        }
        self.log_path = folder / "control-plane.log"
        self.process = None
        addresses = {name: {"listen": f"127.0.0.1:{port}"} for name, port in self.ports.items()}
        self.config_path = folder / "opentracy.yaml"
        self.config_path.write_text(yaml.safe_dump({**addresses, **(config or {})}))

    def command(self, *arguments):
        return [os.environ["OPENTRACY_BIN"], *arguments, "--config", str(self.config_path)]

    def start(self, wait=True, **options):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command("serve"), stdout=log, stderr=log, env=self.environment, cwd=self.folder, **options
            )
        if wait:
            wait_for(self.is_up, "the control plane's start", START_TIMEOUT)
        return self

    def is_up(self):
        assert self.process.poll() is None, f"the control plane exited:\n{self.log()}"
        try:
            return self.get("/health")
        except OSError:
            return None

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def log(self):
        return self.log_path.read_text(errors="replace")

    @property
    def grpc_metadata(self):
        """Returns the filter's gRPC metadata: the token, which `opentracy envoy-config` prints."""
        printed = subprocess.run(
            self.command("envoy-config"), check=True, capture_output=True, text=True, env=self.environment
        )
        return [("x-opentracy-token", re.search(r"grpc_token\W+([0-9a-f]{64})", printed.stdout)[1])]

    @property
    def origin(self):
        return f"http://127.0.0.1:{self.ports['management']}"

    def request(self, method, path, body=None, headers=None):
        """Returns the status and the body as bytes."""
        request = urllib.request.Request(self.origin + path, data=body, method=method, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def get(self, path, **query):
        pairs = urllib.parse.urlencode({name.replace("__", "."): value for name, value in query.items()})
        status, body = self.request("GET", f"{path}?{pairs}" if pairs else path)
        assert status == 200, f"{status} {body.decode()}"
        return json.loads(body)

    def import_traces(self, traces):
        lines = "\n".join(json.dumps(trace) for trace in traces).encode()
        status, body = self.request("POST", "/v1/traces", lines)
        assert status == 200, body
        return json.loads(body)

    def settle(self, timeout=30.0):
        wait_for(lambda: self.get("/health")["journal_backlog_bytes"] == 0, "the store's catching up", timeout)


class ClickHouse:
    """An engine behind ClickHouse's HTTP interface that can be stopped and started again."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        command = [sys.executable, "-m", "support.clickhouse_server", str(self.port), str(self.folder / "data")]
        environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[1])}
        with open(self.folder / "clickhouse.log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

        def answers():
            assert self.process.poll() is None, (self.folder / "clickhouse.log").read_text()
            try:
                return urllib.request.urlopen(self.url, timeout=5).status == 200
            except OSError:
                return False

        wait_for(answers, "ClickHouse's start", START_TIMEOUT)
        return self

    def query(self, statement):
        request = urllib.request.Request(self.url, data=statement.encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.read().decode()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{statement}: {error.read().decode()}") from error

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(20)
            self.process = None


def clickhouse_config(url, **more):
    return {
        "store": {
            "clickhouse": {"url": url, "compression": "none", "database": f"test_{uuid.uuid4().hex}", **more},
            "retention": "36500d",
        }
    }
