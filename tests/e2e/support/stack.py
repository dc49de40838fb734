"""The product as a user runs it: the control plane and a real Envoy, on free ports.

Each stack has its own folder.
"""

import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import yaml

from support import filters

# Parallel workers of pytest have disjoint sets of ports. Otherwise one worker could take a port
# that another one has probed but does not listen on yet.
RUNS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
RUN = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
# These are below the ephemeral ports, which a connection could take before the server listens.
PORTS = random.sample(range(10_000 + RUN, 32_768, RUNS), 22_768 // RUNS)


def free_port():
    """Returns a port that is free and that this process has not returned before."""
    while True:
        port = PORTS.pop()
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


# The time limit for the start of a process in a fixture, in seconds. A shared machine can be slow.
START_TIMEOUT = 90


def wait_for(condition, what, timeout=60.0):
    """Polls until `condition()` is true, and returns its value."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"timed out after {timeout} s waiting for {what}")


class Stack:
    # The filter of new stacks. The fixture `filter_form` sets it for each test.
    filter = filters.MAIN

    def __init__(
        self,
        folder: pathlib.Path,
        config: dict,
        traps=False,
        environment=None,
        concurrency=2,
        edit_bootstrap=None,
        key=None,
        filter_form=None,
    ):
        self.folder = folder
        self.ports = {name: free_port() for name in ("gateway", "admin", "metrics", "management", "grpc")}
        self.filter = filter_form or Stack.filter
        # With `traps`, a header makes the filter fail.
        self._filter = self.filter.trap_path if traps else self.filter.path
        self._binary = os.environ["OPENTRACY_BIN"]
        self._envoy_binary = os.environ["OPENTRACY_ENVOY"]
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "OPENTRACY_FILTER_KIND": self.filter.kind,
            **(environment or {}),
        }
        self._concurrency = concurrency
        self._edit_bootstrap = edit_bootstrap
        self._config = config
        # Sent with every request that has no key.
        self.key = key
        self.config_path = folder / "opentracy.yaml"
        self.control_plane = None
        self.envoy = None

    # Processes

    def start(self):
        self.write_config(self._config)
        self.start_control_plane()
        self.start_envoy()
        self.wait_until_healthy()
        return self

    def write_config(self, config):
        self._config = config
        address = {name: f"127.0.0.1:{port}" for name, port in self.ports.items()}
        whole = {
            "gateway": {
                "listen": address["gateway"],
                "admin": address["admin"],
                "metrics": address["metrics"],
                **config.get("gateway", {}),
            },
            "management": {"listen": address["management"]},
            "grpc": {"listen": address["grpc"]},
            "store": {"path": str(self.folder / "traces.db")},
            **{key: value for key, value in config.items() if key != "gateway"},
        }
        self.config_path.write_text(yaml.safe_dump(whole))

    def _spawn(self, name, command, **options):
        log = open(self.folder / f"{name}.log", "ab")
        return subprocess.Popen(command, stdout=log, stderr=log, env=self._environment, cwd=self.folder, **options)

    def start_control_plane(self):
        command = [self._binary, "serve", "--config", str(self.config_path)]
        self.control_plane = self._spawn("control-plane", command)

    def start_envoy(self):
        bootstrap = subprocess.run(
            [self._binary, "envoy-config", "--config", str(self.config_path), "--filter", self._filter],
            check=True,
            capture_output=True,
            env=self._environment,
        ).stdout
        if self._edit_bootstrap:
            bootstrap = self._edit_bootstrap(bootstrap)
        (self.folder / "envoy.yaml").write_bytes(bootstrap)
        self._start_envoy_with(self.folder / "envoy.yaml")

    def _start_envoy_with(self, bootstrap):
        command = [
            self._envoy_binary,
            "-c",
            str(bootstrap),
            "--concurrency",
            str(self._concurrency),
            "--use-dynamic-base-id",
            "--log-level",
            os.environ.get("ENVOY_LOG", "warning"),
            "--component-log-level",
            "wasm:info",
        ]
        self.envoy = self._spawn("envoy", command)

    def wait_until_healthy(self):
        def is_healthy():
            for name in ("control_plane", "envoy"):
                assert getattr(self, name).poll() is None, f"{name} exited:\n{self.log(name.replace('_', '-'))}"
            # Each worker waits for its own configuration, in each of its two VMs. The gateway is
            # healthy without the control plane, but tests need both.
            if self.get("/health", self.management, default=None) is None:
                return False
            return all(self.get("/health", default=None) is not None for _ in range(20))

        wait_for(is_healthy, "health", START_TIMEOUT)

    def kill_control_plane(self):
        self.control_plane.send_signal(signal.SIGKILL)
        self.control_plane.wait()

    def stop(self):
        for process in (self.envoy, self.control_plane):
            if process and process.poll() is None:
                process.terminate()
        for process in (self.envoy, self.control_plane):
            if process:
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()

    def log(self, name):
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace")[-5000:] if path.exists() else ""

    # Requests

    @property
    def origin(self):
        return f"http://127.0.0.1:{self.ports['gateway']}"

    @property
    def base_url(self):
        return f"{self.origin}/v1"

    @property
    def management(self):
        return f"http://127.0.0.1:{self.ports['management']}"

    def get(self, path, origin=None, default=Exception):
        try:
            request = urllib.request.Request((origin or self.origin) + path, headers=self._with_key({}))
            with urllib.request.urlopen(request, timeout=10) as reply:
                return json.load(reply)
        except (urllib.error.URLError, OSError) as error:
            if default is Exception:
                raise AssertionError(f"GET {path}: {error}") from error
            return default

    def post(self, body, **more):
        """Sends a request without an SDK; returns the status, the headers and the parsed body."""
        with self._open(body, **more) as reply:
            headers = {name.lower(): value for name, value in reply.headers.items()}
            return reply.status, headers, json.loads(reply.read() or b"null")

    def post_raw(self, body, **more):
        """Sends a request and returns the raw body, streamed or not."""
        with self._open(body, **more) as reply:
            return reply.read()

    def _open(self, body, headers=None, path="/v1/chat/completions", method="POST", origin=None):
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            (origin or self.origin) + path,
            data=data,
            method=method,
            headers={"content-type": "application/json", **self._with_key(headers or {})},
        )
        try:
            return urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            return error

    def _with_key(self, headers):
        if not self.key or {"authorization", "x-api-key"} & {name.lower() for name in headers}:
            return headers
        return {"authorization": f"Bearer {self.key}", **headers}

    def trace(self, trace_id, attempts=1):
        """Returns a trace once it has all its attempts, which are stored separately."""

        def is_whole():
            trace = self.get(f"/v1/traces/{trace_id}", self.management, default=None)
            return trace and len(trace["attempts"]) >= attempts and trace

        return wait_for(is_whole, f"trace {trace_id} with {attempts} attempts")

    def traces(self, query=""):
        return self.get(f"/v1/traces?{query}", self.management)["data"]

    def stats(self, pattern):
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.ports['admin']}/stats?filter={pattern}&format=json"
        ) as reply:
            return {entry["name"]: entry.get("value") for entry in json.load(reply)["stats"]}
