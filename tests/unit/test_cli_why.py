"""`tiered-llm why` on the terminal: it fits, says each thing once, and lets nothing through."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from tiered_llm import ModelMetricsCollector
from tiered_llm.cli import app
from tiered_llm.cli.errors import ExitCode
from tiered_llm.metrics import AttemptRecord, CallRecord

STORE = "sqlite:///decisions.db"
FACTORS = {
    "message_complexity": 0.5,
    "context_requirement": 0.2,
    "capability_criticality": 0.9,
    "conversation_depth": 0.1,
    "keyword_signals": 0.7,
}


@pytest.fixture(autouse=True)
def _plain(clean_environment, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)


def run(*words, code=ExitCode.OK, columns="80"):
    env = {"COLUMNS": columns}
    done = CliRunner().invoke(app, ["why", *words, "--store", STORE], env=env)
    assert done.exit_code == code, done.output
    return done


def record(run_id, **more):
    failed = AttemptRecord(
        tier="standard",
        model_id="ollama/qwen2.5:32b",
        outcome="failed",
        fault="timeout",
        input_tokens=1_200,
        estimated=True,
        latency_s=30.0,
    )
    answered = AttemptRecord(
        tier="heavy",
        model_id="vllm/qwen2.5:72b",
        input_tokens=1_190,
        output_tokens=400,
        latency_s=8.25,
        first_token_s=1.5,
        charged_tokens=1_590,
    )
    given = {
        "at": datetime(2026, 11, 27, 12, 0, tzinfo=UTC),
        "tenant_id": "canary-tenant",
        "score": 0.58,
        "factors": FACTORS,
        "reasons": (
            "task_type: raise standard: agent_execution asks for standard at least",
            "score_thresholds: pick standard: score 0.58 is below 0.70, from which heavy serves",
        ),
        "asked": "standard",
        "answered": "heavy",
        "attempts": (failed, answered),
        "policy_version": "3f2a9c1d",
    }
    return CallRecord(run_id=run_id, **{**given, **more})


@pytest.fixture
def keep():
    metrics = ModelMetricsCollector(STORE)

    def keep(*records):
        for each in records:
            metrics.record(each)
        assert metrics.flush()
        return metrics

    yield keep
    metrics.close()


@pytest.mark.parametrize("columns", ["60", "80", "120"])
def test_it_fits_the_terminal_and_loses_no_word(keep, columns):
    keep(record("run-1"))
    shown = run("run-1", columns=columns).stdout
    assert max(map(len, shown.splitlines())) <= int(columns)
    bare = re.sub(r"[█▏▎▍▌▋▊▉]", "", shown).split()
    whole = re.sub(r"[█▏▎▍▌▋▊▉]", "", run("run-1", columns="200").stdout).split()
    assert bare == whole


def test_a_broken_line_goes_on_below_its_words(keep):
    keep(record("run-1"))
    lines = run("run-1", columns="60").stdout.splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("  1. task_type"))
    assert lines[first + 1].startswith("     ")
    assert lines[first + 2].startswith("  2. score_thresholds")


def test_each_factor_has_a_bar_as_long_as_its_value(keep):
    keep(record("run-1"))
    shown = run("run-1").stdout
    assert re.search(r"message complexity +█{10} +0\.50 x 0\.30 = 0\.15", shown)
    assert re.search(r"capability criticality █{18} +0\.90 x 0\.25 = 0\.2", shown)
    assert re.search(r"score +0\.58", shown)


def test_tiers_and_what_failed_have_their_colours_on_a_terminal(keep, monkeypatch):
    keep(record("run-1"))
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = run("run-1").stdout
    assert "\x1b[35mstandard → heavy" in shown
    assert "\x1b[31mfailed: timeout" in shown


def test_a_call_that_came_to_no_decision_says_so(keep):
    nothing = {"asked": None, "answered": None, "attempts": (), "reasons": (), "factors": {}}
    keep(record("run-1", **nothing, error="ConfigurationError"))
    shown = run("run-1").stdout
    assert shown.startswith("none → nobody")
    assert "it did not come to a decision" in shown
    assert "no tier was asked" in shown
    assert "the caller got ConfigurationError" in shown


def test_names_from_outside_do_not_command_the_terminal(keep):
    evil = "\x1b]0;owned\x07[bold]x[/bold]"
    keep(record(f"run-{evil}", task_type=evil, node=evil, error=evil, reasons=(f"a: b: {evil}",)))
    shown = run("run-\x1b").stdout
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "[bold]x[/bold]" in shown


def test_runs_that_may_be_meant_are_listed_the_newest_last(keep):
    keep(*(record(f"0123-{number:02}", asked="heavy") for number in range(12)))
    done = run("0123", code=ExitCode.FAILED)
    assert done.stdout == ""
    assert "12 runs begin or end so" in done.stderr
    listed = [line.split()[0] for line in done.stderr.splitlines() if line.startswith("  ")]
    assert listed == [f"0123-{number:02}" for number in range(4, 12)]
    assert "canary-tenant" not in done.stderr


def test_bytes_that_are_no_text_are_looked_for_in_vain(keep):
    keep(record("run-1"))
    done = run("\udcff\udcfe\udcfd\udcfc", code=ExitCode.FAILED)
    assert "no such run among the last 10,000" in done.stderr
