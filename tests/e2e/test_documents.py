"""Checks what the documents and examples in the repository claim."""

import os
import pathlib
import subprocess
import sys

import pytest
import yaml
from support import filters

ROOT = pathlib.Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import first_run  # noqa: E402


@pytest.mark.timeout(1200)
def test_the_first_run_matches_its_page():
    """Builds the product as `cargo xtask run` does for a new user."""
    assert first_run.run() == first_run.PAGE.read_text(), "python tests/first_run.py regenerates the page"


@pytest.mark.skipif(filters.MAIN.kind != "wasm", reason="the limit is for the wasm file")
def test_the_filter_is_small():
    assert os.path.getsize(filters.MAIN.path) < 2_600_000


def test_the_compose_file_is_valid():
    checked = subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            "vendor.compose-spec",
            str(ROOT / "docker-compose.yml"),
        ],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_containers_are_pinned_watched_and_on_the_loopback():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert {"envoy", "control-plane", "clickhouse"} <= set(services)
    for name, service in services.items():
        assert ":" in service["image"] and not service["image"].endswith(":latest"), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert "healthcheck" in service or service["restart"] == "no", name
    bases = [line.split()[1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("FROM")]
    assert all(":" in base for base in bases)


def test_the_containers_configuration_is_good(tmp_path):
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    config = tmp_path / "opentracy.yaml"
    config.write_text(compose["configs"]["opentracy"]["content"])
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    for command in ("check", "envoy-config"):
        ran = subprocess.run(
            [os.environ["OPENTRACY_BIN"], command, "--config", str(config)],
            capture_output=True,
            text=True,
            env=environment,
        )
        assert ran.returncode == 0, ran.stderr


def test_every_configuration_key_is_documented():
    page = (ROOT / "docs/configuration.md").read_text()

    def keys(value, at):
        for name, item in value.items():
            if at == "traces.patterns":
                yield f"{at}.NAME", item
            elif at == "aliases.NAME.weights":
                yield f"{at}.MODEL", item
            elif at == "limits.models":
                yield f"{at}.PROVIDER/MODEL", item
            elif at in ("aliases.NAME.limits", "keys.NAME.limits"):
                yield f"{at}.LIMIT", item
            elif at == "endpoints":
                yield f"{at}.NAME", item
            elif at in ("providers", "aliases", "prices", "keys", "agents", "agents.NAME.mcp_servers"):
                yield from keys(item, f"{at}.NAME") if at != "prices" else iter([("prices", item)])
            elif isinstance(item, dict) and name not in ("headers", "header_envs", "env"):
                yield from keys(item, f"{at}.{name}" if at else name)
            else:
                yield f"{at}.{name}", item

    for key, value in keys(yaml.safe_load((ROOT / "opentracy.example.yaml").read_text()), ""):
        words = value if key == "prices" else [key]
        assert all(f"`{word}`" in page for word in words), key
