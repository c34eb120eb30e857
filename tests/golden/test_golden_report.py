"""The report of five hundred calls with faults, number by number, in every store."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest
from accounting.traced import Traced
from golden import expected
from golden.scenario import Scenario
from hand_clock import HandClock

from tiered_llm.metrics.histogram import RATIO
from tiered_llm.telemetry import names

BEGIN_S = 1_800_000_000.0
TENANTS = ("acme", "globex")


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/decisions.db"


@pytest.fixture
def traced():
    return Traced(tenants=["globex"])


@pytest.fixture
def scenario(simulated_tiers, clean_environment, traced, store):
    made = Scenario(simulated_tiers, HandClock(BEGIN_S), traced.telemetry, store)
    made.run()
    yield made
    made.metrics.close()


def check(found, wanted, path="report"):
    """Every number of what is wanted; nothing more in lists and names than is wanted."""
    match wanted:
        case dict():
            for name, value in wanted.items():
                check(found[name], value, f"{path}.{name}")
        case list():
            assert len(found) == len(wanted), path
            for number, value in enumerate(wanted):
                check(found[number], value, f"{path}[{number}]")
        case float():
            assert float(found) == pytest.approx(wanted, rel=1e-6, abs=1e-9), path
        case _:
            assert found == wanted, path


def test_every_number_of_the_report_is_the_one_computed_by_hand(scenario):
    report = scenario.metrics.get_report()
    for part in ("distribution", "savings", "faults", "latency", "quality"):
        wanted = getattr(expected, part.upper())
        check(report[part], wanted, part)
    assert set(report["savings"]) == set(expected.SAVINGS)
    assert report["faults"]["errors"] == expected.FAULTS["errors"]
    assert report["distribution"]["tasks"].keys() == expected.DISTRIBUTION["tasks"].keys()


def test_quantiles_keep_their_promise(scenario):
    latency = scenario.metrics.get_report()["latency"]
    for tier, seconds in (("light", 1.0), ("standard", 2.0), ("heavy", 4.0)):
        for share in ("p50_s", "p95_s"):
            assert seconds / RATIO <= latency[tier][share] <= seconds * RATIO


def test_the_tenants_reports_add_up_to_everybodys(scenario):
    whole = scenario.metrics.get_savings_estimate()
    parts = [scenario.metrics.get_savings_estimate(tenant) for tenant in TENANTS]
    for name in ("calls", "failed_calls", "tokens"):
        assert sum(part[name] for part in parts) == whole[name]
    for how in ("measured", "estimated"):
        for name in ("input_tokens", "output_tokens", "cost_units", "baseline_cost_units", "usd"):
            assert sum(part[how][name] for part in parts) == whole[how][name]
    assert parts[1]["tokens"] == 7_000
    assert parts[1]["baseline"]["basis"] == "all_tenants"


def test_the_ledger_says_the_same(scenario):
    usages = [scenario.budget.usage(tenant)["daily"] for tenant in TENANTS]
    assert sum(usage.used for usage in usages) == expected.LEDGER_USED
    assert sum(usage.orphaned for usage in usages) == expected.LEDGER_ORPHANED
    measured = scenario.metrics.get_savings_estimate()["measured"]
    assert measured["input_tokens"] + measured["output_tokens"] == expected.LEDGER_USED
    charged = sum(
        attempt.charged_tokens
        for entry in scenario.metrics.recent(expected.CALLS)
        for attempt in entry.record.attempts
    )
    assert charged == expected.LEDGER_USED + expected.LEDGER_ORPHANED


def test_spans_and_meters_say_the_same(scenario, traced):
    spans = traced.spans(names.ATTEMPT_SPAN)
    assert len(traced.spans(names.ROUTE_SPAN)) == expected.CALLS
    assert len(spans) == expected.FAULTS["attempts"]
    told = [s.attributes[names.READ_TOKENS] + s.attributes[names.WRITTEN_TOKENS] for s in spans]
    assert sum(told) == expected.SAVINGS["tokens"]
    assert traced.total(names.TOKENS) == expected.SAVINGS["tokens"]
    assert traced.total(names.TOKENS, tiered_llm_tenant="globex") == 7_000
    assert traced.total(names.DECISIONS) == expected.CALLS
    assert traced.total(names.FALLBACK_COUNT) == expected.DISTRIBUTION["fallbacks"]
    assert traced.total(names.FAULTS, error_type="server_error") == 20
    assert traced.total(names.ERRORS) == 5
    router = expected.SAVINGS["router"]
    units = expected.SAVINGS["cost_units"] - router["cost_units"]
    assert traced.total(names.COST_UNITS) == pytest.approx(units)
    assert traced.total(names.BASELINE_COST_UNITS) == expected.SAVINGS["baseline_cost_units"]
    usd = 0.016424375 - 0.000076875
    assert traced.total(names.COST_USD) == pytest.approx(usd)
    assert traced.total(names.GPU_TIME) == pytest.approx(378.5 - 4.5)
    assert traced.total(names.ROUTER_TIME) == pytest.approx(router["seconds"])
    assert sum(point.count for point in traced.points(names.DURATION)) == 490
    assert sum(point.sum for point in traced.points(names.DURATION)) == pytest.approx(800)
    assert sum(point.count for point in traced.points(names.FIRST_TOKEN)) == 20


def test_the_exported_hours_add_up_to_the_report(scenario):
    rows = list(csv.DictReader(io.StringIO(scenario.metrics.export_metrics(format="csv"))))
    tokens = [name for name in rows[0] if "_tokens_" in name]
    assert sum(int(row[name]) for row in rows for name in tokens) == expected.SAVINGS["tokens"]
    units = sum(Decimal(row["cost_units"]) for row in rows)
    assert float(units) == expected.SAVINGS["cost_units"] - expected.SAVINGS["router"]["cost_units"]
