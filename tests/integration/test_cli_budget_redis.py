"""`tiered-llm budget` beside an application: processes of their own, a real Redis, a real loss."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tiered_llm import BudgetManager, LedgerError, TieredChatModel
from tiered_llm.cli.errors import ExitCode

sys.path.append(str(Path(__file__).parents[1] / "redis"))

from redis_server import RedisServer, free_port

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "share-budgets-with-redis.md"
PASSWORD = "hunter2"


@pytest.fixture(scope="module")
def running():
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(running):
    with running.client() as client:
        client.flushall()
    return running


@pytest.fixture
def model(clean_environment, simulated_tiers, server, monkeypatch):
    """An application's model, whose store the command finds in the environment."""
    for name, value in simulated_tiers.settings_env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("TIERED_LLM_STORE", server.url)
    budget = BudgetManager.from_settings()
    yield TieredChatModel.from_settings(budget=budget)
    budget.ledger.close()


def command(*words):
    return [sys.executable, "-m", "tiered_llm", "budget", *words]


def run(*words, stdin=""):
    return subprocess.run(
        command(*words), input=stdin, capture_output=True, text=True, check=False, timeout=60
    )


def told(*words):
    result = run(*words, "--json")
    assert result.returncode == ExitCode.OK, result.stderr
    return json.loads(result.stdout)


def ask(model, tenant="acme"):
    return model.invoke("Hello", config={"configurable": {"tenant_id": tenant}})


def test_a_command_sees_what_an_application_used_and_sets_what_it_may(model):
    used = ask(model).usage_metadata["total_tokens"]

    found = told("show", "--tenant", "acme")["windows"]
    assert [(w["used"], w["reserved"]) for w in found] == [(used, 0), (used, 0)]
    assert told("set", "--tenant", "acme", "daily", "3")["old"] == 1_000_000
    with pytest.raises(Exception, match="the daily budget 'tenant' has no room"):
        ask(model)
    assert ask(model, tenant="other")
    told("set", "--tenant", "acme", "daily", "none")
    assert ask(model)


def test_a_store_that_has_lost_what_it_held_goes_on_once_that_is_accepted(model, server):
    budget = model.budget
    ask(model)
    with server.client() as client:
        client.flushall()
    told("show")  # a newcomer cannot know, and must not make the others forget
    with pytest.raises(LedgerError, match="lost what it held"):
        budget.usage("acme")

    asked = run("reconcile", "--accept-loss", stdin="n\n")
    assert asked.returncode == ExitCode.FAILED
    assert "may spend again what is no longer counted" in asked.stderr
    with pytest.raises(LedgerError, match="lost what it held"):
        budget.usage("acme")

    answered = run("reconcile", "--accept-loss", stdin="y\n")
    assert answered.returncode == ExitCode.OK, answered.stderr
    assert budget.usage("acme")["daily"].used == 0
    ask(model)
    assert told("reconcile", "--accept-loss", "--yes", "--tenant", "acme")["accepted_loss"]
    assert budget.usage("acme")["daily"].used > 0


def test_the_permissions_of_the_page_are_enough_for_every_command(model, server, monkeypatch):
    (line,) = re.findall(r"^ACL SETUSER budgets .*$", PAGE.read_text("utf-8"), re.MULTILINE)
    with server.client() as admin:
        admin.execute_command(*line.replace(">secret", f">{PASSWORD}").split())
    url = server.url.replace("//", f"//budgets:{PASSWORD}@")
    monkeypatch.setenv("TIERED_LLM_STORE", url)
    limited = BudgetManager.from_settings()

    limited.set_limit("acme", "daily", 100)
    limited.record_usage("acme", "light", 90, 0)
    ask(TieredChatModel.from_settings(budget=limited), tenant="other")

    assert told("show", "--tenant", "acme")["windows"][0]["used"] == 90
    assert [a["threshold_pct"] for a in told("alerts")["alerts"]] == [80]
    assert told("reconcile", "--accept-loss", "--yes", "--tenant", "acme")["holds"]
    assert PASSWORD not in run("show").stdout
    limited.ledger.close()


@pytest.mark.parametrize("words", [("show",), ("set", "daily", "5"), ("alerts",), ("reconcile",)])
def test_nobody_there_is_a_message_without_the_password(words, clean_environment):
    port = free_port()

    result = run(*words, "--store", f"redis://user:{PASSWORD}@127.0.0.1:{port}/0")

    assert result.returncode == ExitCode.UNREACHABLE
    assert f"error: the Redis at 127.0.0.1:{port} cannot be reached" in result.stderr
    assert "Traceback" not in result.stderr
    assert PASSWORD not in result.stdout + result.stderr


@pytest.mark.parametrize("as_json", [True, False])
def test_follow_tells_each_alert_once_until_it_is_interrupted(model, as_json):
    budget = model.budget
    budget.set_limit("acme", "daily", 100)
    budget.record_usage("acme", "light", 80, 0)
    options = ["--follow", "--tenant", "acme", *(["--json"] if as_json else [])]
    with subprocess.Popen(
        command("alerts", *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    ) as following:
        first = following.stdout.readline()  # it is looking from here on
        budget.record_usage("acme", "light", 15, 0)
        second = following.stdout.readline()
        following.send_signal(signal.SIGINT)
        rest, errors = following.communicate(timeout=60)

    if as_json:
        assert [json.loads(line)["threshold_pct"] for line in (first, second)] == [80, 95]
    else:
        assert ("80 %" in first, "95 %" in second) == (True, True)
        assert "95 of 100 tokens" in second
    assert rest == ""
    assert following.returncode == ExitCode.INTERRUPTED
    assert errors.startswith(f"alerts of acme in {os.environ['TIERED_LLM_STORE']}\n")
    assert "Traceback" not in errors


def test_a_loss_ends_following_and_says_what_to_do(model, server):
    model.budget.set_limit("acme", "daily", 100)
    model.budget.record_usage("acme", "light", 80, 0)
    with subprocess.Popen(
        command("alerts", "--follow"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as following:
        following.stdout.readline()  # it has seen the store
        with server.client() as client:
            client.flushall()
        rest, errors = following.communicate(timeout=60)

    assert following.returncode == ExitCode.UNREACHABLE
    assert rest == ""
    assert "has lost what it held" in errors
    assert "hint: Find out what was spent" in errors
    assert "--accept-loss" in errors
    assert "Traceback" not in errors
    assert "acme" not in errors
