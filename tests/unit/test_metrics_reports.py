"""Reports of a small day that is counted by hand, and its exports."""

from __future__ import annotations

import csv
import io
import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hand_clock import HandClock
from pyarrow import parquet

from tiered_llm.errors import ConfigurationError
from tiered_llm.metrics import AttemptRecord, CallRecord, ModelMetricsCollector
from tiered_llm.metrics.histogram import RATIO

HOUR_S = 3_600.0
NOON_S = 12 * HOUR_S


@pytest.fixture
def metrics():
    collector = ModelMetricsCollector(clock=HandClock(NOON_S + 1_800))
    yield collector
    collector.close()


@pytest.fixture
def day(metrics):
    """Ten calls: 6 light, 1 of them fallen back to heavy; 3 heavy; 1 that nobody answered."""
    for at in range(5):
        made = attempt("light", 100, 10, 0.1 * (at + 1), first_token_s=0.05)
        record(metrics, f"l{at}", "light", made, score=0.05, task_type="chat")
    failed = attempt("light", 50, 0, 3.0, outcome="failed", fault="timeout", estimated=True)
    record(metrics, "f", "light", failed, attempt("heavy", 60, 40, 8.0), score=0.25)
    for at in range(3):
        made = attempt("heavy", 1_000, 200, 10.0, estimated=at == 0)
        record(metrics, f"h{at}", "heavy", made, at_s=NOON_S - HOUR_S, score=0.9, task_type="agent")
    broken = attempt("standard", 10, 0, 1.0, outcome="failed", fault="server_error")
    record(metrics, "n", "standard", broken, answered=None, score=0.5, error="AllTiersFailedError")
    return metrics


def attempt(tier, read, wrote, seconds, **more):
    return AttemptRecord(
        tier=tier, input_tokens=read, output_tokens=wrote, latency_s=seconds, **more
    )


def record(metrics, run_id, asked, *attempts, at_s=NOON_S, tenant="acme", **more):
    given = {"answered": attempts[-1].tier} | more
    at = datetime.fromtimestamp(at_s, UTC)
    metrics.record(
        CallRecord(run_id=run_id, at=at, tenant_id=tenant, asked=asked, attempts=attempts, **given)
    )


def test_the_distribution(day):
    report = day.get_tier_distribution("acme", 24)
    assert (report["calls"], report["failed"]) == (10, 1)
    assert (report["fallbacks"], report["fallback_rate"]) == (1, 1 / 9)
    assert report["tiers"] == {
        "light": {
            "asked": 6,
            "answered": 5,
            "share": 5 / 9,
            "input_tokens": 550,
            "output_tokens": 50,
        },
        "standard": {
            "asked": 1,
            "answered": 0,
            "share": 0.0,
            "input_tokens": 10,
            "output_tokens": 0,
        },
        "heavy": {
            "asked": 3,
            "answered": 4,
            "share": 4 / 9,
            "input_tokens": 3_060,
            "output_tokens": 640,
        },
    }
    assert report["tasks"] == {
        "agent": {"calls": 3, "failed": 0, "light": 0, "standard": 0, "heavy": 3},
        "chat": {"calls": 5, "failed": 0, "light": 5, "standard": 0, "heavy": 0},
    }
    assert [(b["from"], b["to"], b["calls"], b["failed"]) for b in report["bands"]] == [
        (0.0, 0.1, 5, 0),
        (0.2, 0.3, 1, 0),
        (0.5, 0.6, 1, 1),
        (0.9, 1.0, 3, 0),
    ]


def test_what_went_wrong(day):
    report = day.get_faults("acme")
    assert (report["calls"], report["failed"], report["attempts"]) == (10, 1, 11)
    assert report["outcomes"]["light"] == {"answered": 5, "failed": 1, "abandoned": 0}
    assert report["faults"] == {
        "light": {"timeout": 1},
        "standard": {"server_error": 1},
        "heavy": {},
    }
    assert report["errors"] == {"AllTiersFailedError": 1}


def test_how_long_it_took(day):
    tiers = day.get_latency("acme")["tiers"]
    light = tiers["light"]
    assert (light["count"], light["max_s"]) == (5, 0.5)
    assert light["mean_s"] == pytest.approx(0.3)
    assert light["p50_s"] == pytest.approx(0.3, rel=RATIO - 1)
    assert light["p95_s"] == pytest.approx(0.5, rel=RATIO - 1)
    assert light["first_token"]["count"] == 5
    assert tiers["standard"] == {
        **dict.fromkeys(("mean_s", "p50_s", "p95_s", "max_s")),
        "count": 0,
        "first_token": {
            "count": 0,
            **dict.fromkeys(("mean_s", "p50_s", "p95_s", "max_s")),
        },
    }


def test_a_period_is_hours_of_the_clock(day):
    one = day.get_tier_distribution("acme", 1)
    assert (one["from"], one["period_hours"]) == ("1970-01-01T11:00:00+00:00", 1)
    assert one["to"] == "1970-01-01T12:30:00+00:00"
    assert one["calls"] == 10
    record(day, "old", "light", attempt("light", 1, 1, 1.0), at_s=NOON_S - 1.5 * HOUR_S)
    assert day.get_tier_distribution("acme", 1)["calls"] == 10
    assert day.get_tier_distribution("acme", 2)["calls"] == 11


def test_tenants_are_apart_and_nobody_is_everybody(day):
    other = UUID(int=7)
    record(day, "o", "light", attempt("light", 1, 1, 1.0), tenant=str(other))
    record(day, "w", "light", attempt("light", 1, 1, 1.0), tenant=None)
    assert day.get_tier_distribution(other)["calls"] == 1
    assert day.get_tier_distribution("acme")["calls"] == 10
    assert day.get_tier_distribution()["calls"] == 12
    assert day.get_tier_distribution("nobody")["calls"] == 0


def test_a_tenants_baseline_is_timed_on_everybodys_traffic(metrics):
    for at in range(10):
        record(metrics, f"h{at}", "heavy", attempt("heavy", 0, 100, 5.0), tenant="other")
    record(metrics, "l", "light", attempt("light", 0, 100, 1.0))
    report = metrics.get_savings_estimate("acme")
    assert (report["baseline"]["basis"], report["baseline"]["s_per_token"]) == ("all_tenants", 0.05)
    assert report["gpu_hours_saved"] == pytest.approx((5.0 * 0.9 - 1.0 * 0.1) / 3600)
    assert metrics.get_savings_estimate()["baseline"]["basis"] == "tenant"


def test_the_whole_report_is_its_parts(day):
    whole = day.get_report("acme")
    for name, part in (
        ("distribution", day.get_tier_distribution("acme")),
        ("savings", day.get_savings_estimate("acme")),
        ("faults", day.get_faults("acme")),
        ("quality", day.get_quality("acme")),
    ):
        assert whole[name] == {
            k: v for k, v in part.items() if k not in ("period_hours", "from", "to")
        }


# --- exports ---


def test_json_holds_the_report_and_the_hours(day):
    told = json.loads(day.export_metrics("acme", 24))
    assert told["distribution"]["calls"] == 10
    assert Decimal(told["savings"]["cost_units"]) == day.get_savings_estimate("acme")["cost_units"]
    assert [(row["hour"], row["tier"]) for row in told["hours"]] == [
        ("1970-01-01T11:00:00+00:00", "heavy"),
        ("1970-01-01T12:00:00+00:00", "light"),
        ("1970-01-01T12:00:00+00:00", "standard"),
        ("1970-01-01T12:00:00+00:00", "heavy"),
    ]


def test_csv_has_a_row_for_each_hour_and_tier(day):
    rows = list(csv.DictReader(io.StringIO(day.export_metrics("acme", 24, format="csv"))))
    assert len(rows) == 4
    heavy, light = rows[0], rows[1]
    assert (heavy["asked"], heavy["served"], heavy["answered"]) == ("3", "3", "3")
    assert (heavy["input_tokens_measured"], heavy["input_tokens_estimated"]) == ("2000", "1000")
    assert Decimal(heavy["cost_units"]) == 3 * 1_200 * 10
    assert (light["asked"], light["served"], light["failed"]) == ("6", "5", "1")
    assert float(light["model_s"]) == pytest.approx(4.5)
    assert light["first_token_p50_s"] != ""
    assert heavy["first_token_p50_s"] == ""


def test_the_hours_add_up_to_the_report(day):
    rows = list(csv.DictReader(io.StringIO(day.export_metrics("acme", format="csv"))))
    savings = day.get_savings_estimate("acme")
    assert sum(Decimal(row["cost_units"]) for row in rows) == savings["cost_units"]
    names = [name for name in rows[0] if "_tokens_" in name]
    assert sum(int(row[name]) for row in rows for name in names) == savings["tokens"]


def test_an_empty_export_has_its_columns(metrics):
    assert metrics.export_metrics(format="csv").startswith("hour,tier,asked,served,")
    assert json.loads(metrics.export_metrics())["hours"] == []


def test_parquet_holds_what_csv_holds(day):
    table = parquet.read_table(io.BytesIO(day.export_metrics("acme", format="parquet")))
    rows = list(csv.DictReader(io.StringIO(day.export_metrics("acme", format="csv"))))
    assert table.column_names == list(rows[0])
    assert [int(n) for n in table["asked"].to_pylist()] == [int(row["asked"]) for row in rows]


def test_parquet_without_pyarrow_names_the_extra(day, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match=r"tiered-llm\[parquet\]"):
        day.export_metrics("acme", format="parquet")


def test_an_unknown_format_is_refused(day):
    with pytest.raises(ValueError, match="json, csv, parquet"):
        day.export_metrics(format="xml")


@pytest.mark.parametrize("hours", [0, -1, 1.5, "24"])
def test_a_period_that_cannot_be_is_refused(metrics, hours):
    with pytest.raises(ValueError, match="period_hours"):
        metrics.get_tier_distribution(period_hours=hours)
