"""An Envoy with other applications, and the gateway added to it as in docs/operations.md."""

import concurrent.futures
import os
import pathlib
import re
import socketserver
import subprocess
import threading

import grpc
import yaml

from support.stack import START_TIMEOUT, Stack, free_port, wait_for

OPERATIONS = pathlib.Path(__file__).parents[3] / "docs/operations.md"
BUFFER = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3"
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
PROTOCOL = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class Shop:
    """An application without models. It keeps the bytes of each request that it receives."""

    def __init__(self):
        self.received = []
        shop = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                shop.serve(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def serve(self, connection):
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                chunk = connection.recv(65536)
                if not chunk:
                    return
                data += chunk
            head, _, data = data.partition(b"\r\n\r\n")
            length = int((re.search(rb"(?i)content-length: (\d+)", head) or [0, 0])[1])
            while len(data) < length:
                data += connection.recv(65536)
            body, data = data[:length], data[length:]
            self.received.append(head + b"\r\n\r\n" + body)
            if b"upgrade: websocket" in head.lower():
                connection.sendall(
                    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n"
                )
                while echo := connection.recv(65536):
                    connection.sendall(echo)
                return
            if b" /missing" in head:
                answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 10\r\nx-opentracy-shop: 1\r\n\r\nno article"
            else:
                answer = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\ncontent-type: text/plain\r\n\r\nthe shop"
            connection.sendall(answer)

    def stop(self):
        self._server.shutdown()


class GrpcApp:
    """A gRPC application that answers with the names of the metadata that it received."""

    def __init__(self):
        def echo(request, context):
            names = sorted(name for name, _ in context.invocation_metadata())
            return request + b" " + ",".join(names).encode()

        handlers = grpc.method_handlers_generic_handler(
            "shop.Echo", {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
        )
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers((handlers,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def stop(self):
        self._server.stop(0)


def bootstrap(port, shop, app):
    """Returns an Envoy with a catch-all, an API and a gRPC service on one listener."""

    def cluster(name, port, **more):
        return {
            "name": name,
            "type": "STATIC",
            "connect_timeout": "1s",
            **more,
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [
                    {
                        "lb_endpoints": [
                            {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
                        ]
                    }
                ],
            },
        }

    manager = {
        "@type": MANAGER,
        "stat_prefix": "web",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {
            "name": "web",
            "virtual_hosts": [
                {
                    "name": "shop",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "shop"}}],
                },
                {
                    "name": "orders",
                    "domains": ["api.example.com"],
                    "routes": [
                        {"match": {"prefix": "/v1/orders"}, "route": {"cluster": "shop"}},
                        {
                            "match": {"prefix": "/small"},
                            "route": {"cluster": "shop"},
                            "typed_per_filter_config": {
                                "envoy.filters.http.buffer": {
                                    "@type": f"{BUFFER}.BufferPerRoute",
                                    "buffer": {"max_request_bytes": 100},
                                }
                            },
                        },
                        {"match": {"prefix": "/gone"}, "route": {"cluster": "gone"}},
                        {"match": {"prefix": "/shop.Echo"}, "route": {"cluster": "app"}},
                    ],
                },
            ],
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.buffer",
                "disabled": True,
                "typed_config": {
                    "@type": f"{BUFFER}.Buffer",
                    "max_request_bytes": 1000000,
                },
            },
            {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}},
        ],
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "web",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [
                        {
                            "filters": [
                                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
                            ]
                        }
                    ],
                }
            ],
            "clusters": [
                cluster("shop", shop.port),
                cluster("gone", free_port()),
                cluster(
                    "app",
                    app.port,
                    typed_extension_protocol_options={
                        PROTOCOL: {
                            "@type": f"type.googleapis.com/{PROTOCOL}",
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                ),
            ],
        },
    }


def documented_steps():
    """Returns the configuration and the commands that docs/operations.md has for a shared Envoy."""
    section = OPERATIONS.read_text().split("## Add the gateway to an Envoy you run", 1)[1].split("\n## ", 1)[0]
    [config, commands] = (re.search(rf"```{kind}\n(.*?)```", section, re.S)[1] for kind in ("yaml", "bash"))
    return yaml.safe_load(config), [line.strip() for line in commands.strip().splitlines()]


class GuestStack(Stack):
    """The gateway on the listener of another Envoy."""

    def __init__(self, folder, config, neighbors, **options):
        documented, self._commands = documented_steps()
        super().__init__(folder, config, **options)
        self.neighbors = neighbors
        self.domain = documented["gateway"]["domains"][0]
        # The SDKs call the listener by its address, so the address is one of the gateway's hosts
        # too.
        domains = [self.domain, f"127.0.0.1:{self.ports['gateway']}"]
        self._config = {**config, "gateway": {**config.get("gateway", {}), "domains": domains}}

    def start_envoy(self):
        host = bootstrap(self.ports["gateway"], *self.neighbors)
        host["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.ports["admin"]}}}
        (self.folder / "envoy.yaml").write_text(yaml.safe_dump(host))
        (self.folder / "opentracy_filter.wasm").unlink(missing_ok=True)
        (self.folder / "opentracy_filter.wasm").symlink_to(self._filter)
        # The test starts Envoy itself, to wait for it and to stop it.
        commands = [line for line in self._commands if not line.startswith("envoy ")]
        environment = {
            **self._environment,
            "OPENTRACY_CONFIG": str(self.config_path),
            "PATH": f"{pathlib.Path(self._binary).parent}{os.pathsep}{self._environment['PATH']}",
        }
        subprocess.run(["bash", "-euc", "\n".join(commands)], check=True, cwd=self.folder, env=environment)
        self._start_envoy_with(self.folder / "envoy-with-gateway.yaml")


class PlainEnvoy(Stack):
    """The same Envoy before the gateway is added."""

    def __init__(self, folder, neighbors):
        super().__init__(folder, {})
        self.neighbors = neighbors

    def start(self):
        path = self.folder / "envoy.yaml"
        path.write_text(yaml.safe_dump(bootstrap(self.ports["gateway"], *self.neighbors)))
        self._start_envoy_with(path)
        wait_for(self._answers, "Envoy's start", START_TIMEOUT)
        return self

    def _answers(self):
        try:
            return self.post_raw(None, path="/", method="GET") == b"the shop"
        except OSError:
            return False
