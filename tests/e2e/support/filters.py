"""The filter under test, in its two forms: a wasm file, and a native module of Envoy.

`OPENTRACY_FILTER_KIND` names the form of `OPENTRACY_FILTER`, with which every test runs. If that is
wasm, the tests of the modules in `ALSO_NATIVE` run with `OPENTRACY_NATIVE_FILTER` too.
"""

import dataclasses
import os


@dataclasses.dataclass(frozen=True)
class Filter:
    kind: str
    # The file, and the one in which a header makes it fail. `None` if it was not built.
    path: str | None
    trap_path: str | None

    @property
    def metrics_prefix(self):
        """Returns the prefix of its metrics in Envoy's statistics. Prometheus doesn't show it."""
        return {"wasm": "wasmcustom", "native": "dynamicmodulescustom"}[self.kind]


MAIN = Filter(
    os.environ.get("OPENTRACY_FILTER_KIND", "wasm"),
    os.environ.get("OPENTRACY_FILTER"),
    os.environ.get("OPENTRACY_TRAP_FILTER"),
)
NATIVE = (
    MAIN
    if MAIN.kind == "native"
    else Filter("native", os.environ.get("OPENTRACY_NATIVE_FILTER"), os.environ.get("OPENTRACY_NATIVE_TRAP_FILTER"))
)
FORMS = {each.kind: each for each in (MAIN, NATIVE)}

# What an application notices first: conversations, streams, failover, limits, other endpoints,
# traces, and attacks.
ALSO_NATIVE = {
    "test_chat",
    "test_endpoints",
    "test_fallback",
    "test_limits",
    "test_security",
    "test_streams",
    "test_traces",
}
ONLY_NATIVE = {"test_native", "test_differences"}


def kinds_of(module):
    """Returns the forms of the filter with which a module's tests run."""
    if module in ONLY_NATIVE:
        return ["native"]
    if module in ALSO_NATIVE:
        return list(FORMS)
    return [MAIN.kind]
