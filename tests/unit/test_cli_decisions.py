"""`tiered-llm report`, `decisions`, `why`, `metrics show`: what the log holds, told to a person."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from tiered_llm import BudgetManager, ModelMetricsCollector
from tiered_llm.cli import app
from tiered_llm.cli.errors import ExitCode
from tiered_llm.metrics import AttemptRecord, CallRecord

STORE = "sqlite:///decisions.db"

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture(autouse=True)
def _own_data_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("FORCE_COLOR", raising=False)


def run(*words, code=ExitCode.OK, columns="100"):
    done = CliRunner().invoke(app, list(words), env={"COLUMNS": columns})
    assert done.exit_code == code, done.output
    return done


def call(run_id, tier="light", **more):
    attempt = AttemptRecord(
        tier=tier,
        model_id=f"ollama/{tier}",
        input_tokens=50,
        output_tokens=20,
        latency_s=1.0,
        first_token_s=0.25,
        charged_tokens=70,
    )
    given = {
        "at": datetime.now(UTC),
        "tenant_id": "canary-tenant",
        "thread_id": "thread-7",
        "node": "triage",
        "task_type": "simple_qa",
        "score": 0.25,
        "factors": {"message_complexity": 0.5, "keyword_signals": 0.5},
        "reasons": ("score_thresholds: pick light: score 0.25",),
        "asked": tier,
        "answered": tier,
        "attempts": (attempt,),
        "router_s": 0.002,
        "policy_version": "p1",
    }
    return CallRecord(run_id=run_id, **{**given, **more})


FAILED = AttemptRecord(
    tier="standard",
    model_id="ollama/standard",
    outcome="failed",
    fault="server_error",
    input_tokens=60,
    estimated=True,
    latency_s=0.5,
)
REFUSED = {"answered": None, "attempts": (), "error": "BudgetExceededError"}


def filled(*records):
    """The application's log with these calls."""
    metrics = ModelMetricsCollector(STORE)
    for record in records:
        metrics.record(record)
    assert metrics.flush()
    return metrics


@pytest.fixture
def log():
    heavy = call("run-heavy", "heavy")
    metrics = filled(
        call("run-light-1"),
        call("run-light-2"),
        call("run-moved", "heavy", asked="standard", attempts=(FAILED, *heavy.attempts)),
        call("run-refused", budget={"refused_by": "tenant/daily"}, **REFUSED),
    )
    metrics.record_feedback("run-light-1", score=True, comment="good\x1b[31m one")
    yield metrics
    metrics.close()


# --- report ---


def test_the_report_says_what_was_saved_and_by_whom(log):
    out = run("report", "--store", STORE).output
    assert "4 calls of everybody" in out
    assert re.search(r"light +3 +2 .* 67 %", out)
    assert re.search(r"standard +server_error +1", out)
    assert "callers got BudgetExceededError 1 time" in out
    assert re.search(r"saved \d+\.\d % of all-heavy", out)
    assert "canary-tenant" not in out


def test_a_loss_is_called_a_loss():
    many = tuple(FAILED for _ in range(5))
    heavy = call("1", "heavy").attempts
    filled(call("1", "heavy", asked="standard", attempts=(*many, *heavy))).close()
    out = run("report", "--store", STORE).output
    assert "LOST" in out
    assert "saved" not in out.lower().replace("all-heavy", "")


def test_the_reports_json_is_the_report(log):
    told = json.loads(run("report", "--json", "--store", STORE).stdout)
    report = json.loads(json.dumps(log.get_report(), default=str))
    for part in ("distribution", "savings", "latency", "faults", "quality"):
        assert told[part] == report[part]
    assert (told["tenant"], told["store"], told["near_limits"]) == (None, STORE, None)


def test_the_reports_csv_is_its_hours(log):
    rows = list(csv.DictReader(io.StringIO(run("report", "--csv", "--store", STORE).stdout)))
    assert {row["tier"] for row in rows} == {"light", "standard", "heavy"}


def test_json_and_csv_are_one_too_many(log):
    run("report", "--json", "--csv", "--store", STORE, code=ExitCode.USAGE)


def test_one_tenants_report(log):
    assert (
        "4 calls of canary-tenant"
        in run("report", "--tenant", "canary-tenant", "--store", STORE).output
    )
    done = run("report", "--tenant", "nobody", "--store", STORE)
    assert "0 calls of nobody" in done.output


def test_hours_bound_the_report():
    old = datetime.now(UTC) - timedelta(hours=30)
    filled(call("1"), call("2", at=old)).close()
    assert "1 call of" in run("report", "--store", STORE).output
    assert "2 calls" in run("report", "--hours", "48", "--store", STORE).output


@pytest.mark.parametrize("columns", ["40", "60", "80", "120"])
def test_no_line_is_wider_than_the_terminal(log, columns):
    out = run("report", "--store", STORE, columns=columns).stdout
    tables = [line for line in out.splitlines()[1:] if not line.startswith("note")]
    assert max(map(len, tables)) <= int(columns)


def test_accounts_near_their_limits_are_counted_and_not_named(log, monkeypatch):
    monkeypatch.setenv("TIERED_LLM_STORE", "sqlite:///budgets.db")
    budget = BudgetManager(default_daily_limit=1_000_000, store="sqlite:///budgets.db")
    budget.record_usage(
        tenant_id="canary-tenant", model_tier="light", input_tokens=960_000, output_tokens=0
    )
    budget.ledger.close()
    out = run("report", "--store", STORE).output
    assert "1 account at 95 % of tenant/daily or above" in out
    assert "canary" not in out


def test_an_empty_log_says_how_it_is_filled():
    done = run("report", "--store", STORE)
    assert "the file does not exist" in done.output
    assert "TieredChatModel(metrics=" in done.output
    empty = json.loads(run("report", "--json", "--store", STORE).stdout)
    assert empty["distribution"]["calls"] == 0


# --- which log ---


def test_decisions_lie_beside_the_budgets(monkeypatch):
    monkeypatch.setenv("TIERED_LLM_STORE", "sqlite:///data/budgets.db")
    metrics = ModelMetricsCollector.from_settings()
    metrics.record(call("1"))
    metrics.close()
    told = json.loads(run("report", "--json").stdout)
    assert told["store"] == "sqlite:///data/budgets-decisions.db"
    assert told["distribution"]["calls"] == 1


def test_a_store_of_their_own_can_be_set(monkeypatch):
    monkeypatch.setenv("TIERED_LLM_STORE", "sqlite:///budgets.db")
    monkeypatch.setenv("TIERED_LLM_METRICS__STORE", STORE)
    filled(call("1")).close()
    assert "1 call of" in run("report").output


def test_the_memory_of_another_process_cannot_be_looked_into():
    done = run("report", "--store", "memory://", code=ExitCode.CONFIGURATION)
    assert "which no other can look into" in done.output


def test_a_file_that_is_none_is_told_in_a_line(tmp_path):
    (tmp_path / "decisions.db").write_text("no database at all, but text " * 100, encoding="utf-8")
    done = run("report", "--store", STORE, code=ExitCode.UNREACHABLE)
    assert "cannot be read or written" in done.output
    assert "Traceback" not in done.output


def test_who_names_the_budgets_file_is_told_where_decisions_lie():
    BudgetManager(store="sqlite:///shared.db").record_usage(
        tenant_id="acme", model_tier="light", input_tokens=1, output_tokens=1
    )
    metrics = ModelMetricsCollector("sqlite:///shared-decisions.db")
    metrics.record(call("1"))
    metrics.close()
    done = run("report", "--store", "sqlite:///shared.db", code=ExitCode.UNREACHABLE)
    assert "--store sqlite:///shared-decisions.db" in done.stderr


# --- why ---


def test_why_tells_a_decision_from_the_question_to_the_outcome(log):
    out = run("why", "run-moved", "--store", STORE).output
    for said in (
        "standard → heavy",
        "run run-moved",
        "task simple_qa, node triage, thread thread-7",
        "0.50 x 0.30 = 0.15",
        "1. score_thresholds: pick light: score 0.25",
        "1. standard (ollama/standard) failed: server_error in 0.500 s",
        "60 tokens in, 0 out, estimated",
        "2. heavy (ollama/heavy) answered in 1.000 s 50 tokens in, 20 out, measured",
        "first token after 0.250 s",
        "70 charged",
    ):
        assert said in " ".join(out.split()), said
    assert "canary-tenant" not in out


def test_why_tells_what_the_caller_got_and_which_budget_refused(log):
    out = run("why", "run-refused", "--store", STORE).output
    assert "no tier was asked" in out
    assert "refused by tenant/daily" in out
    assert "the caller got BudgetExceededError" in out


def test_why_shows_feedback_without_what_would_command_a_terminal(log):
    out = run("why", "run-light-1", "--store", STORE).output
    assert "1.00: good [31m one" in out
    assert "\x1b" not in out


def test_the_tenant_is_shown_where_it_is_asked_for(log):
    assert (
        "tenant canary-tenant" in run("why", "run-moved", "--show-tenant", "--store", STORE).output
    )
    plain = json.loads(run("why", "run-moved", "--json", "--store", STORE).stdout)
    assert "tenant_id" not in plain
    named = run("why", "run-moved", "--json", "--show-tenant", "--store", STORE)
    assert json.loads(named.stdout)["tenant_id"] == "canary-tenant"


def test_whys_json_is_the_record(log):
    told = json.loads(run("why", "run-light-1", "--json", "--store", STORE).stdout)
    assert told["attempts"][0]["input_tokens"] == 50
    assert told["feedback"] == {"score": 1.0, "comment": "good\x1b[31m one"}


def test_a_part_of_the_id_is_enough_if_it_is_one_runs_alone(log):
    assert "run run-moved" in run("why", "moved", "--store", STORE).output
    assert "run run-refused" in run("why", "run-re", "--store", STORE).output
    done = run("why", "run-light", "--store", STORE, code=ExitCode.FAILED)
    assert "2 runs begin or end so" in done.output
    listed = [line.split()[0] for line in done.stderr.splitlines() if line.startswith("  ")]
    assert listed == ["run-light-1", "run-light-2"]


def test_a_run_that_is_not_there_is_told_with_where_ids_are(log):
    done = run("why", "nothing", "--store", STORE, code=ExitCode.FAILED)
    assert "no such run among the last 10,000" in done.output
    assert "tiered-llm decisions" in done.output
    run("why", "run", "--store", STORE, code=ExitCode.USAGE)


# --- decisions ---


def test_decisions_are_a_line_each_the_newest_last(log):
    lines = run("decisions", "--store", STORE).stdout.splitlines()
    assert len(lines) == 4
    assert "light" in lines[0]
    assert "standard → heavy" in lines[2]
    assert "standard: server_error" in lines[2]
    assert "light → nobody" in lines[3]
    assert "BudgetExceededError" in lines[3]
    assert not any("canary" in line for line in lines)
    assert len(run("decisions", "--limit", "2", "--store", STORE).stdout.splitlines()) == 2
    assert run("decisions", "--tenant", "nobody", "--store", STORE).stdout == ""


def test_what_finds_no_room_in_a_decisions_line_goes_on_below(log):
    lines = run("decisions", "--store", STORE, columns="60").stdout.splitlines()
    assert max(map(len, lines)) <= 60
    assert sum(line.startswith("          simple_qa") for line in lines) == 4
    assert "          simple_qa  standard: server_error" in lines


def test_decisions_as_json_are_an_object_each(log):
    lines = run("decisions", "--json", "--store", STORE).stdout.splitlines()
    told = [json.loads(line) for line in lines]
    assert [each["run_id"] for each in told][-1] == "run-refused"
    assert not any("tenant_id" in each for each in told)


def test_there_must_be_something_to_follow():
    done = run("decisions", "--follow", "--store", STORE, code=ExitCode.UNREACHABLE)
    assert "the file does not exist" in done.output


# --- metrics ---


def test_metrics_show_prints_the_page(log):
    out = run("metrics", "show", "--store", STORE).stdout
    assert 'tiered_llm_tokens_total{gen_ai_token_type="input"' in out
    assert "canary" not in out
