"""`tiered-llm budget`: what is in the store is shown, set, and held to its law."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from platformdirs import user_data_path
from typer.testing import CliRunner

from tiered_llm import BudgetExceededError, BudgetManager, BudgetRule, Tier
from tiered_llm.budgets import Payer
from tiered_llm.budgets.ledger import Balance, Line
from tiered_llm.cli import COMMANDS, app
from tiered_llm.cli.budget_store import default_store
from tiered_llm.cli.budget_view import amount, percent, style_of
from tiered_llm.cli.budget_windows import law_of
from tiered_llm.cli.errors import ExitCode

STORE = "sqlite:///budgets.db"
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture(autouse=True)
def _own_data_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("FORCE_COLOR", raising=False)


@pytest.fixture
def store(monkeypatch):
    """The application's store, set where both it and the command find it."""
    monkeypatch.setenv("TIERED_LLM_STORE", STORE)
    return STORE


@pytest.fixture
def manager(store):
    """An application's manager."""
    made = BudgetManager(default_daily_limit=1_000, default_monthly_limit=10_000, store=store)
    yield made
    made.ledger.close()


def run(*words, stdin=None):
    return CliRunner().invoke(app, ["budget", *words], input=stdin)


def told(*words, code=ExitCode.OK):
    result = run(*words, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def windows(*words, **more):
    return {f"{w['rule']}/{w['period']}": w for w in told(*words, **more)["windows"]}


def rules(monkeypatch, *given):
    monkeypatch.setenv("TIERED_LLM_BUDGET__RULES", json.dumps(given))


def charge(manager, tokens, tenant="acme", **payer):
    held = manager.reserve(Payer(tenant_id=tenant, **payer), "light", tokens, 1)
    held.settle(tokens, 0)


# --- show ---


def test_show_tells_each_window(manager, monkeypatch):
    monkeypatch.setenv("TOKEN_BUDGET_DAILY", "1000")
    monkeypatch.setenv("TIERED_LLM_BUDGET__TIME_ZONE", "Asia/Kathmandu")
    application = BudgetManager.from_settings()
    charge(application, 300)
    with application.reserve("acme", "light", 100, 20):
        day = windows("show", "--tenant", "acme")["tenant/daily"]
    found = told("show", "--tenant", "acme")

    assert (day["used"], day["reserved"], day["orphaned"]) == (300, 120, 0)
    assert (day["limit"], day["left"], day["share_pct"]) == (1_000, 580, 42.0)
    resets = datetime.fromisoformat(day["resets_at"])
    assert resets.isoformat().endswith("T00:00:00+05:45")
    assert resets > datetime.now(ZoneInfo("Asia/Kathmandu"))
    assert (found["store"], found["store_source"], found["notes"]) == (STORE, "environment", [])
    later = found["windows"][0]
    assert (later["reserved"], later["orphaned"]) == (0, 120)


def test_show_draws_a_line_for_each_window(manager):
    charge(manager, 800)
    result = run("show", "--tenant", "acme", "--store", STORE)

    head, columns, day, month = result.stdout.splitlines()
    assert head == f"budgets of acme in {STORE}"
    assert columns.split() == [
        *("budget", "used", "reserved", "uncertain", "limit", "left", "resets", "at")
    ]
    assert re.match(r"tenant/daily +▏? +0 % +800 +0 +0 +1,000,000 +999,200  tokens +20", day)
    assert month.startswith("tenant/monthly")
    assert len({line.index("tokens") for line in (day, month)}) == 1


def test_without_a_tenant_it_shows_the_calls_that_had_none(manager):
    charge(manager, 7, tenant=None)

    assert windows("show")["tenant/daily"]["used"] == 7
    assert windows("show", "--tenant", "acme")["tenant/daily"]["used"] == 0
    assert "budgets of calls without a tenant" in run("show").stdout


def test_users_agents_and_tiers_are_shown_where_rules_count_them(store, monkeypatch):
    rules(
        monkeypatch,
        {"name": "money", "unit": "usd", "daily": 0.25},
        {"name": "users", "by": ["user"], "daily": 100},
        {"name": "tiers", "by": ["tier"], "daily": 50},
    )
    application = BudgetManager.from_settings()
    charge(application, 40, user_id="bob")

    without = told("show", "--tenant", "acme")
    of_bob = told("show", "--tenant", "acme", "--user", "bob")

    assert without["left_out"] == ["user"]
    assert "shown with --user" in run("show").stdout
    assert of_bob["left_out"] == []
    found = {(w["rule"], w["tier"]): w for w in of_bob["windows"] if w["period"] == "daily"}
    assert found["users", None]["used"] == 40
    assert found["tiers", "light"]["used"] == 40
    assert found["tiers", "heavy"]["used"] == 0
    assert found["money", None]["limit"] == 0.25
    assert ("users", None) not in {(w["rule"], w["tier"]) for w in without["windows"]}


def test_a_control_character_in_a_tenant_commands_no_terminal(manager):
    assert "\x1b" not in run("show", "--tenant", "a\x1b[31m\nb").output


# --- which store ---


def test_by_default_it_reads_a_file_in_the_data_directory_and_says_so(tmp_path):
    found = told("show")

    assert found["store"] == f"sqlite:///{tmp_path}/data/tiered-llm/budgets.db"
    assert found["store_source"] == "default"
    assert [note[:14] for note in found["notes"]] == ["no store is se", "nothing is kep"]
    assert not (tmp_path / "data").exists()
    told("set", "daily", "5")
    assert windows("show")["tenant/daily"]["limit"] == 5
    assert (tmp_path / "data" / "tiered-llm" / "budgets.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("words", [("show",), ("alerts",), ("reconcile",)])
def test_a_command_that_reads_makes_no_file(words, tmp_path):
    assert told(*words, "--store", "sqlite:///typo.db")["notes"] == [
        "nothing is kept there yet: the file does not exist"
    ]
    assert not list(tmp_path.iterdir())


def test_there_must_be_something_to_follow(tmp_path):
    result = run("alerts", "--follow", "--store", "sqlite:///typo.db")

    assert result.exit_code == ExitCode.UNREACHABLE
    assert result.stdout == ""
    assert "sqlite:///typo.db: the file does not exist" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [("show",), ("alerts", "--follow"), ("set", "daily", "5")])
@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("n" * 300, ExitCode.UNREACHABLE, "cannot be reached (File name too long)"),
        ("", ExitCode.CONFIGURATION, "names no file"),
        ("a%00b", ExitCode.CONFIGURATION, "names no file"),
    ],
)
def test_a_name_that_no_file_can_have_is_told(words, name, code, said):
    result = run(*words, "--store", f"sqlite:///{name}")

    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_the_settings_name_a_store(clean_environment):
    (clean_environment / "tiered-llm.toml").write_text('store = "sqlite:///of%20toml.db"\n')

    told("set", "daily", "5")

    assert (clean_environment / "of toml.db").exists()
    assert told("show")["store_source"] == "tiered-llm.toml"
    assert told("show", "--store", STORE)["store_source"] == "arguments"


def test_a_directory_of_any_name_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "ä ?#% data"))

    told("set", "daily", "5")

    assert (tmp_path / "ä ?#% data" / "tiered-llm" / "budgets.db").exists()
    assert windows("show")["tenant/daily"]["limit"] == 5


def test_the_memory_of_another_process_is_refused(monkeypatch):
    given = run("show", "--store", "memory://")
    monkeypatch.setenv("TIERED_LLM_STORE", "memory://")
    set_there = run("set", "daily", "5")

    assert given.exit_code == set_there.exit_code == ExitCode.CONFIGURATION
    assert "arguments: store: memory:// is the memory of one process" in given.stderr
    assert "environment: TIERED_LLM_STORE: memory:// is the memory" in set_there.stderr
    assert "name the store that the application counts in" in given.stderr


def test_the_default_store_is_a_file_where_the_platform_keeps_a_users_data(monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "/data dir")
    path = user_data_path("tiered-llm", appauthor=False) / "budgets.db"
    assert default_store() == f"sqlite:///{quote(path.as_posix(), safe='/:')}"
    assert " " not in default_store()


# --- set ---


def test_a_limit_is_set_changed_and_taken_back(manager):
    first = told("set", "--tenant", "acme", "daily", "500")
    second = told("set", "--tenant", "acme", "tenant/daily", "400")

    assert (first["budget"], first["unit"]) == ("tenant/daily", "tokens")
    assert (first["old"], first["new"], first["set"]) == (1_000_000, 500, True)
    assert (second["old"], second["new"]) == (500, 400)
    with pytest.raises(BudgetExceededError):
        manager.reserve("acme", "light", 400, 1)
    manager.reserve("other", "light", 400, 1).void()
    back = told("set", "--tenant", "acme", "daily", "none")
    assert (back["old"], back["new"], back["set"]) == (400, 1_000_000, False)
    manager.reserve("acme", "light", 400, 1).void()


def test_set_says_what_was_and_what_is(store):
    result = run("set", "--tenant", "acme", "monthly", "7_000")
    assert result.stdout.splitlines()[-1] == ("tenant/monthly: 20,000,000 → 7,000 tokens, set here")
    result = run("set", "--tenant", "acme", "monthly", "none")
    assert result.stdout.splitlines()[-1].endswith("20,000,000 tokens, as the settings have it")


def test_a_tenants_own_limit_of_the_settings_is_the_old_one(store, monkeypatch):
    rules(monkeypatch, {"name": "money", "unit": "usd"})
    monkeypatch.setenv("TIERED_LLM_BUDGET__TENANTS", '{"acme": {"money/daily": 2.5}}')

    of_acme = told("set", "--tenant", "acme", "money/daily", "0.000000001")
    of_none = told("set", "money/daily", "0")

    assert (of_acme["old"], of_acme["new"]) == (2.5, 1e-9)
    assert (of_none["old"], of_none["new"]) == (None, 0)


def test_a_limit_of_nothing_refuses_every_call(manager):
    told("set", "--tenant", "acme", "daily", "0")

    with pytest.raises(BudgetExceededError):
        manager.reserve("acme", "light", 1, 1)
    day = windows("show", "--tenant", "acme")["tenant/daily"]
    assert (day["limit"], day["left"], day["share_pct"]) == (0, 0, 100.0)


@pytest.mark.parametrize(
    "words",
    [
        ("dayly", "5"),
        ("heavy/daily", "5"),
        ("tenant/", "5"),
        ("daily", "1.5"),
        ("daily", "--", "-1"),
        ("daily", "1000000000000001"),
        ("daily", "nan"),
        ("daily", "inf"),
        ("daily", "5,000"),
        ("daily", ""),
    ],
)
def test_what_cannot_be_set_is_refused_before_anything_is_written(words, store, tmp_path):
    told("set", "daily", "77")

    result = run("set", *words)

    assert result.exit_code == ExitCode.USAGE
    assert windows("show")["tenant/daily"]["limit"] == 77


# --- alerts ---


def test_alerts_come_newest_first_and_name_whom_one_asked_for(manager):
    for tenant in ("acme", "secret"):
        manager.set_limit(tenant, "daily", 100)
        charge(manager, 80, tenant=tenant)
    charge(manager, 16)

    everybody, acme = told("alerts"), told("alerts", "--tenant", "acme")

    assert [a["threshold_pct"] for a in everybody["alerts"]] == [95, 80, 80]
    assert [a["threshold_pct"] for a in acme["alerts"]] == [95, 80]
    newest = acme["alerts"][0]
    assert (newest["budget"], newest["charged"], newest["limit"]) == ("tenant/daily", 97, 100)
    assert (newest["unit"], newest["tenant"]) == ("tokens", "acme")
    assert datetime.fromisoformat(newest["at"]).tzinfo
    assert {alert["tenant"] for alert in everybody["alerts"]} == {None}
    assert [a["threshold_pct"] for a in told("alerts", "--limit", "1")["alerts"]] == [95]
    text = run("alerts").stdout
    assert "97 of 100 tokens" in text
    assert not any(name in text + json.dumps(everybody) for name in ("acme", "secret"))


def test_users_are_named_with_their_tenant_alone(store, monkeypatch):
    rules(monkeypatch, {"name": "users", "by": ["user"], "daily": 100})
    charge(BudgetManager.from_settings(), 90, user_id="bob/1")

    assert told("alerts", "--tenant", "acme")["alerts"][0]["apart"] == "user=bob/1"
    assert "user=bob/1" in run("alerts", "--tenant", "acme").stdout
    assert "bob" not in run("alerts").stdout + json.dumps(told("alerts"))


def test_alerts_of_a_rule_that_is_gone_are_in_parts(store, monkeypatch):
    rules(monkeypatch, {"name": "money", "unit": "usd", "daily": 0.1})
    gone = BudgetManager(
        rules=[BudgetRule(name="gone", unit="cost_units", daily=Decimal("0.5"))], store=STORE
    )
    gone.record_usage("acme", Tier.LIGHT, 1, 0)

    (newest, *_) = told("alerts")["alerts"]
    assert (newest["charged"], newest["limit"], newest["unit"]) == (1_000_000, 500_000, None)
    assert "1,000,000 of 500,000 parts" in run("alerts").stdout


def test_no_alerts_is_said(store):
    assert told("alerts")["alerts"] == []
    assert run("alerts").stdout.splitlines()[-1] == "none"


# --- reconcile ---


def test_reconcile_ends_what_is_overdue_and_says_that_the_books_hold(store):
    hasty = BudgetManager(default_daily_limit=1_000, store=store, lease_s=1e-6)
    hasty.reserve("acme", "light", 100, 50)
    charge(hasty, 10)

    day = windows("reconcile", "--tenant", "acme")["tenant/daily"]

    assert (day["reserved"], day["orphaned"], day["law"]) == (0, 150, "holds")
    text = run("reconcile", "--tenant", "acme").stdout
    assert "settled + reserved + orphaned ≤ limit + overrun" in text
    assert "150 tokens uncertain: calls that were never heard of again" in text


def test_an_overrun_is_no_breach(manager):
    held = manager.reserve("acme", "light", 500, 500)
    held.settle(500, 700)

    day = windows("reconcile", "--tenant", "acme")["tenant/daily"]

    assert (day["used"], day["overrun"], day["law"]) == (1_200, 200, "holds")
    assert "200 tokens beyond reservations" in run("reconcile", "--tenant", "acme").stdout


def test_a_limit_that_was_lowered_is_no_breach(manager):
    charge(manager, 900)
    told("set", "--tenant", "acme", "daily", "100")
    with pytest.raises(BudgetExceededError):
        manager.reserve("acme", "light", 1, 1)

    assert windows("reconcile", "--tenant", "acme")["tenant/daily"]["law"] == "lowered"
    assert "the limit was lowered" in run("reconcile", "--tenant", "acme").stdout


def test_books_that_do_not_hold_fail_the_command(manager, tmp_path):
    charge(manager, 900)
    manager.ledger.close()
    with closing(sqlite3.connect(tmp_path / "budgets.db")) as file, file:
        file.execute("UPDATE accounts SET settled = settled + 101 WHERE most = 1000")

    found = told("reconcile", "--tenant", "acme", code=ExitCode.FAILED)

    assert found["holds"] is False
    assert [w["law"] for w in found["windows"]] == ["broken", "holds"]
    result = run("reconcile", "--tenant", "acme")
    assert result.exit_code == ExitCode.FAILED
    assert "tenant/daily    DOES NOT HOLD" in result.stdout
    assert told("reconcile", "--tenant", "other")["holds"]


@pytest.mark.parametrize(
    ("balance", "own", "set_here", "law"),
    [
        ((100, 0, 100), 100, None, "holds"),
        ((101, 0, 100), 100, None, "broken"),
        ((101, 1, 100), 100, None, "holds"),
        ((101, 0, 100), 200, None, "broken"),  # what the ledger went by, not what settings say now
        ((101, 0, 100), 101, 100, "lowered"),
        ((102, 0, 100), 101, 100, "broken"),
        ((102, 1, 100), 101, 100, "lowered"),
        ((102, 0, 100), None, 100, "lowered"),
        ((0, 0, None), 100, None, "holds"),
        ((0, 0, None), None, None, "none"),
        ((5, 0, None), 100, None, "none"),
    ],
)
def test_the_law(balance, own, set_here, law):
    charged, overrun, last = balance
    held = Balance(account="a", settled=charged, overrun=overrun, limit=last)
    window = {"starts_s": 0, "ends_s": 1, "fixed": 0, "per_token": 0}
    line = Line(account="a", limit_name="a", limit=own, **window)

    assert law_of(line, held, set_here) == law
    assert law_of(replace(line, refuses=False), held, set_here) == "none"


def test_a_file_has_no_loss_to_accept(manager):
    charge(manager, 5)
    result = run("reconcile", "--accept-loss", "--yes")

    assert result.exit_code == ExitCode.FAILED
    assert "Start the processes that refuse anew" in result.stderr


# --- what goes wrong ---


@pytest.mark.parametrize("words", [("show",), ("set", "daily", "5"), ("alerts",), ("reconcile",)])
@pytest.mark.parametrize(
    ("content", "said"), [(b"", "is empty"), (b"no database at all" * 99, "is damaged")]
)
def test_a_file_that_lost_what_it_held_is_a_message_and_a_code(words, content, said, tmp_path):
    (tmp_path / "budgets.db").write_bytes(content)

    result = run(*words, "--store", STORE)

    assert result.exit_code == ExitCode.UNREACHABLE
    assert f"the budgets' file 'budgets.db' {said}" in result.stderr
    assert "Traceback" not in result.output
    debugged = CliRunner().invoke(app, ["--debug", "budget", *words, "--store", STORE])
    assert "Traceback" in debugged.stderr


def test_wrong_settings_are_told(monkeypatch):
    monkeypatch.setenv("TIERED_LLM_BUDGET__TIME_ZONE", "Mars/Base")

    result = run("show")

    assert result.exit_code == ExitCode.CONFIGURATION
    assert "TIERED_LLM_BUDGET__TIME_ZONE: 'Mars/Base' is no time zone" in result.stderr


# --- looks ---


def test_amounts_shares_and_colours():
    assert [amount(each) for each in (None, Decimal(0), Decimal("1234567.500"))] == [
        *("none", "0", "1,234,567.5")
    ]
    assert amount(Decimal("1E+3")) == "1,000"
    assert [percent(s) for s in (None, Decimal("0.999"), Decimal(1))] == ["", "99 %", "100 %"]
    shares = [None, *map(Decimal, ("0", "0.79", "0.80", "0.94", "0.95", "2"))]
    assert [style_of(share) for share in shares] == [
        *("dim", "green", "green", "yellow", "yellow", "red", "red")
    ]


# --- the reference ---


@pytest.mark.parametrize("name", ["show", "set", "alerts", "reconcile"])
def test_every_option_is_in_the_reference_and_exists(name):
    heading = rf"^## `tiered-llm budget {name}[ `].*?(?=^## |\Z)"
    section = re.search(heading, PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)[0]
    command = COMMANDS["budget"].load("budget").commands[name]
    options = {o for p in command.params for o in p.opts if o.startswith("--")} - {"--help"}

    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", section)) == options


def test_the_pages_commands_are_taken():
    group = COMMANDS["budget"].load("budget")
    calls = [
        shlex.split(line)
        for page in sorted(PAGE.parents[1].glob("**/*.md"))
        for line in re.findall(
            r"^\$ tiered-llm budget (.*)$", page.read_text("utf-8"), re.MULTILINE
        )
    ]

    assert len(calls) > 5
    for name, *words in calls:
        group.commands[name].make_context(name, words)
