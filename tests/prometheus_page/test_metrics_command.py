"""`tiered-llm metrics`: the page as a command has it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from tiered_llm import ModelMetricsCollector
from tiered_llm.cli import app
from tiered_llm.cli.errors import ExitCode
from tiered_llm.metrics import CallRecord, Retention

STORE = "sqlite:///shown.db"


@pytest.fixture
def run(tmp_path, monkeypatch, clean_environment):
    monkeypatch.chdir(tmp_path)
    kept = Retention(totals_of=frozenset({"acme"}))
    metrics = ModelMetricsCollector(STORE, retention=kept)
    for number, tenant in enumerate(("acme", "canary", "canary")):
        told = {"asked": "light", "answered": "light", "tenant_id": tenant}
        metrics.record(CallRecord(run_id=str(number), at=datetime.now(UTC), **told))
    assert metrics.close()
    return lambda *words: CliRunner().invoke(app, ["metrics", *words, "--store", STORE])


def decisions(told):
    """Calls by the tenant's label."""
    return {
        line.partition('tiered_llm_tenant="')[2].partition('"')[0]: float(line.split()[-1])
        for line in told.stdout.splitlines()
        if line.startswith('tiered_llm_decisions_total{tiered_llm_answered_tier="light"')
        and 'tiered_llm_tier="light"' in line
    }


def test_listed_tenants_have_series_of_their_own(run):
    assert decisions(run("show")) == {"": 3}
    told = run("show", "--tenant", "acme")
    assert decisions(told) == {"acme": 1, "other": 2}
    assert "canary" not in told.stdout


def test_the_settings_list_tenants_too(run, monkeypatch):
    monkeypatch.setenv("TIERED_LLM_TELEMETRY__TENANTS", '["acme"]')
    assert decisions(run("show")) == {"acme": 1, "other": 2}


@pytest.mark.parametrize("command", ["show", "serve"])
def test_a_list_that_may_not_fit_is_refused(run, command):
    listed = [word for number in range(9) for word in ("--tenant", f"canary-{number}")]
    told = run(command, *listed, "--max-series", "500")
    assert told.exit_code == ExitCode.CONFIGURATION
    assert "list fewer, or raise max_series, which is 500" in told.stderr
    assert "canary" not in told.stderr
