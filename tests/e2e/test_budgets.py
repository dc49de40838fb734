"""Budgets of keys and aliases."""

import openai
import pytest
from support.providers import anything
from support.stack import Stack, wait_for

KEY = "client-key-of-the-team"
ROOT = "an-administrators-key"


@pytest.fixture(scope="module")
def budgeted(session_world, tmp_path_factory):
    session_world.reset()
    config = session_world.config()
    one = {"candidates": ["openai/gpt-4o-mini"]}
    config["aliases"] |= {
        "cheap": {**one, "budget": {"period": "day", "soft": 1e-9, "hard": 100}},
        "spent": {**one, "budget": {"hard": 1e-9}},
        "free": one,
    }
    config["keys"] = {
        "team": {"key_env": "TEAM_KEY", "budget": {"period": "month", "hard": 1e-9}},
        "root": {"key_env": "ROOT_KEY", "role": "admin"},
    }
    environment = {"TEAM_KEY": KEY, "ROOT_KEY": ROOT}
    stack = Stack(tmp_path_factory.mktemp("budgets"), config, environment=environment, key=ROOT).start()
    yield stack
    stack.stop()


def ask(stack, model, **more):
    return stack.post({"model": model, "messages": [{"role": "user", "content": "Hello!"}]}, **more)


def wait_for_refusals(stack, *request, **more):
    """Waits for a refusal by every worker of Envoy: each learns of the budget separately."""
    wait_for(lambda: all(ask(stack, *request, **more)[0] == 429 for _ in range(12)), "the refusal")


def test_a_hard_limit_refuses_as_openai_does(budgeted, hello):
    assert ask(budgeted, "spent")[0] == 200
    wait_for_refusals(budgeted, "spent")
    client = openai.OpenAI(base_url=budgeted.base_url, api_key=ROOT, max_retries=0)
    with pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model="spent", messages=hello)
    assert raised.value.code == "insufficient_quota" and raised.value.type == "insufficient_quota"
    assert 'alias "spent"' in raised.value.message
    assert ask(budgeted, "free")[0] == 200, "other aliases are unaffected"
    trace_id = raised.value.response.headers["x-opentracy-trace-id"]
    assert budgeted.trace(trace_id, attempts=0)["error"]["type"] == "insufficient_quota"


def test_a_soft_limit_only_marks(budgeted):
    assert "x-opentracy-budget" not in ask(budgeted, "cheap")[1]
    status, headers, _ = wait_for(
        lambda: (answer := ask(budgeted, "cheap"))[1].get("x-opentracy-budget") and answer,
        "the soft limit's header",
        10,
    )
    assert (status, headers["x-opentracy-budget"]) == (200, "soft_limit")


def test_a_key_has_a_budget_whatever_it_asks_for(budgeted):
    of_team = {"authorization": f"Bearer {KEY}"}
    status, headers, _ = ask(budgeted, "free", headers=of_team)
    assert status == 200
    assert budgeted.trace(headers["x-opentracy-trace-id"])["key"] == "team"
    wait_for_refusals(budgeted, "openai/gpt-4o", headers=of_team)
    assert ask(budgeted, "openai/gpt-4o")[0] == 200
    assert {trace["key"] for trace in budgeted.traces("key=team")} == {"team"}


def test_budgets_survive_a_crash_of_the_control_plane(budgeted):
    wait_for_refusals(budgeted, "spent")
    budgeted.kill_control_plane()
    assert ask(budgeted, "spent")[0] == 429, "the filter keeps the last state that it knows"
    budgeted.start_control_plane()
    budgeted.wait_until_healthy()
    wait_for_refusals(budgeted, "spent")


def test_what_is_spent_is_shown(budgeted):
    ask(budgeted, "cheap")

    def spent():
        budgets = budgeted.get("/statsz", budgeted.management)["budgets"]
        return next(budget for budget in budgets if budget["name"] == "cheap")["spent"]

    wait_for(lambda: spent() > 0, "the amount")
    metrics = budgeted.post_raw(None, method="GET", path="/metrics", origin=budgeted.management).decode()
    assert 'opentracy_budget_spent_ratio{owner="alias",name="spent"}' in metrics


@pytest.mark.parametrize(
    "config,words",
    [
        ({"aliases": {"a": {"candidates": ["demo/echo"], "budget": {}}}}, "needs `soft` or `hard`"),
        ({"aliases": {"a": {"candidates": ["demo/echo"], "budget": {"soft": 2, "hard": 1}}}}, "must not be more"),
        ({"keys": {"a": {}}}, "needs `sha256` or `key_env`"),
        ({"keys": {"a": {"sha256": "abc"}}}, "sha256sum"),
        ({"keys": {"a": {"key_env": "NOT_SET_ANYWHERE"}}}, "NOT_SET_ANYWHERE"),
        ({"traces": {"detectors": ["emial"]}}, "write one of secret, email"),
        ({"traces": {"patterns": {"x": "("}}}, "not a usable regular expression"),
    ],
)
def test_an_invalid_configuration_is_reported(tmp_path, config, words):
    import subprocess

    from support.control_plane import ControlPlane

    control_plane = ControlPlane(tmp_path, config)
    check = subprocess.run(
        control_plane.command("check"), env=control_plane.environment, capture_output=True, text=True
    )
    assert check.returncode == 1 and words in check.stderr, check.stderr


def test_a_budget_is_for_every_endpoint(budgeted, world):
    world.openai.habit = anything
    of_team = {"authorization": f"Bearer {KEY}"}
    wait_for_refusals(budgeted, "openai/gpt-4o", headers=of_team)
    for path, body in (
        ("/v1/embeddings", {"model": "openai/text-embedding-3-small", "input": "a"}),
        ("/proxy/openai/x", {}),
    ):
        status, _, reply = budgeted.post(body, path=path, headers=of_team)
        assert (status, reply["error"]["code"]) == (429, "insufficient_quota")
    assert budgeted.post({"model": "openai/text-embedding-3-small", "input": "a"}, path="/v1/embeddings")[0] == 200
