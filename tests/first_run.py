"""Writes docs/first-run.md: the first run of a new user.

`python tests/first_run.py` writes the page, and a test compares the page with a new run. The
providers are mocks: one is overloaded and one answers. Values that differ between runs (times, ids,
ports) are replaced by fixed or default values.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "e2e"))

from support import providers as mock  # noqa: E402
from support.stack import free_port, wait_for  # noqa: E402

PAGE = HERE.parent / "docs/first-run.md"

APP = """\
from openai import OpenAI

client = OpenAI(base_url="http://127.0.0.1:8080/v1", api_key="anything")

answer = client.chat.completions.create(
    model="smart",
    messages=[{"role": "user", "content": "Say hello."}],
)
print(answer.choices[0].message.content)
print("model:   ", answer._routing["selected_model"])
print("attempts:", answer._routing["attempts"])
print("cost:    ", answer._cost, "USD")
print("trace:   ", answer._routing["trace_id"])
"""

CONFIG = """\
providers:
  anthropic: {{base_url: "{anthropic}", api_key: sk-ant-example}}
  openai: {{base_url: "{openai}/v1", api_key: sk-example}}
aliases:
  smart:
    candidates: [anthropic/claude-sonnet-4-6, openai/gpt-4o-mini]
"""


class Page:
    """A transcript with the default ports in place of this run's."""

    def __init__(self, replacements):
        self._replacements = replacements
        self.text = ""

    def say(self, text):
        self.text += text.strip("\n") + "\n\n"

    def show(self, language, text):
        for pattern, replacement in self._replacements:
            text = re.sub(pattern, replacement, text)
        self.say(f"```{language}\n{text.strip()}\n```")


def run():
    anthropic, openai = mock.Anthropic(), mock.OpenAi()
    anthropic.habit = mock.status(529, message="Overloaded")
    openai.habit = mock.answer("Hello! How can I help you today?")
    ports = {name: free_port() for name in ("gateway", "management", "grpc", "metrics")}
    replacements = [
        (str(ports["gateway"]), "8080"),
        (str(ports["management"]), "8000"),
        (re.escape(anthropic.origin), "https://api.anthropic.com"),
        (re.escape(openai.origin), "https://api.openai.com"),
        (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "01a1fd8e-a147-7760-a624-7a3e86a1d7a1"),
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "2026-11-21T10:02:25.565Z"),
        (r'("?\w*_ms"?: ?)[\d.]+', r"\g<1>…"),
        (r'("created": ?)\d+', r"\g<1>1795255345"),
    ]
    page = Page(replacements)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        listeners = "".join(
            f"{section}: {{listen: '127.0.0.1:{ports[section]}'}}\n" for section in ("management", "grpc")
        )
        listeners += f"gateway: {{listen: '127.0.0.1:{ports['gateway']}', metrics: '127.0.0.1:{ports['metrics']}'}}\n"
        config = CONFIG.format(anthropic=anthropic.origin, openai=openai.origin)
        (folder / "opentracy.yaml").write_text(listeners + config)
        (folder / "app.py").write_text(APP)
        product = subprocess.Popen(
            ["cargo", "xtask", "run", "--config", str(folder / "opentracy.yaml")],
            cwd=HERE.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # Other keys would enable other providers.
            env={
                **{name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")},
                "OPENTRACY_STATE": str(folder / "state"),
            },
        )
        try:
            tell(page, product, folder, ports, config)
        finally:
            if product.poll() is None:
                product.send_signal(signal.SIGINT)
                product.wait(30)
            anthropic.stop()
            openai.stop()
    return page.text


def tell(page, product, folder, ports, config):
    def shell(command, shown=None):
        """Runs a command, and shows it and its output as the page does."""
        real = command.replace(":8080", f":{ports['gateway']}").replace(":8000", f":{ports['management']}")
        real = re.sub(r"^python ", f"{sys.executable} ", real)
        ran = subprocess.run(real, shell=True, cwd=folder, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        page.show("console", f"$ {command}\n" + (shown(ran.stdout) if shown else ran.stdout))
        return ran.stdout

    page.say("# A first run")
    page.say(
        "`tests/first_run.py` generates this page by running every command on it, and a test compares the page with "
        "a new run. The providers are mocks, so no API key is needed: Anthropic's mock is overloaded, and OpenAI's "
        "mock answers."
    )
    page.say("`opentracy.yaml` defines an alias `smart` with two candidates of different formats:")
    page.show("yaml", config)
    greeting = ""
    for line in product.stdout:
        greeting += line
        if line.strip().startswith("-d "):
            break
    assert "OpenTracy is up" in greeting, greeting
    page.show("console", "$ cargo xtask run\n…" + greeting)
    page.say("The gateway is an Envoy that reports its health:")
    shell(
        "curl --silent http://127.0.0.1:8080/health", lambda out: re.sub(r'"num_models":\d+', '"num_models":147', out)
    )
    page.say("An application needs only a different `base_url`:")
    app = (folder / "app.py").read_text()
    page.show("python", app)
    (folder / "app.py").write_text(app.replace(":8080", f":{ports['gateway']}"))
    printed = shell("python app.py")
    page.say(
        "Anthropic was overloaded, so the call failed over to OpenAI, and the application got one successful answer. "
        "Get the trace of the call by its id:"
    )
    trace_id = re.search(r"trace:\s+(\S+)", printed).group(1)
    origin = f"http://127.0.0.1:{ports['management']}"
    wait_for(lambda: fetch(f"{origin}/v1/traces/{trace_id}").count(b'"number":') == 2, "the trace with both attempts")
    shell(
        f"curl --silent http://127.0.0.1:8000/v1/traces/{trace_id}", lambda out: json.dumps(json.loads(out), indent=2)
    )
    page.say("Or search for it by its alias, provider and content:")
    shell("curl --silent 'http://127.0.0.1:8000/v1/traces?alias=smart&provider=openai&q=hello'", summary)
    page.say("The demo provider needs no API key. It streams an answer:")
    shell("""curl --silent http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' \\
    -d '{"model": "demo/echo", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'""")
    page.say("Ctrl-C stops both processes.")
    product.send_signal(signal.SIGINT)
    assert product.wait(30) == 0


def fetch(url):
    try:
        with urllib.request.urlopen(url) as reply:
            return reply.read()
    except urllib.error.HTTPError:
        return b""


def summary(out):
    page = json.loads(out)
    traces = [{name: trace[name] for name in ("id", "alias", "provider", "model", "status")} for trace in page["data"]]
    return json.dumps({"data": [*traces], "next_cursor": page["next_cursor"]}, indent=2) + "\n(shortened)"


if __name__ == "__main__":
    PAGE.write_text(run())
