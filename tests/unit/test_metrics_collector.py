"""The collector: what it takes and refuses, what it tells, what it loses and says so."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from tiered_llm.errors import ConfigurationError
from tiered_llm.metrics import (
    CallRecord,
    DecisionLogError,
    ModelMetricsCollector,
    Retention,
)
from tiered_llm.metrics.logs.sqlite import SqliteLog
from tiered_llm.types import RoutingDecision


def call(run_id, **more):
    given = {"at": datetime.now(UTC), "asked": "light", "answered": "light", "tenant_id": "acme"}
    return CallRecord(run_id=run_id, **(given | more))


def until(condition):
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends
        threading.Event().wait(0.005)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.db"


@pytest.fixture
def make():
    made = []

    def make(**more):
        made.append(ModelMetricsCollector(**more))
        return made[-1]

    yield make
    for collector in made:
        collector.close()


@contextmanager
def locked(path):
    """The real file, held by a transaction of another connection."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


# --- recording and reading ---


@pytest.mark.parametrize("store", ["memory://", "sqlite:///metrics.db"])
def test_a_report_sees_what_was_recorded_before(store, make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    collector = make(store=store)
    for at in range(1, 4):
        run_id = collector.record_decision(RoutingDecision(selected_tier="light", tenant_id="acme"))
        assert collector.get_tier_distribution("acme")["calls"] == at
        assert collector.find(run_id).record.run_id == run_id
    assert len(collector.recent()) == 3
    assert collector.dropped == 0


def test_the_seeds_calls_work_as_written(make):
    metrics = make()
    metrics.record_decision(
        RoutingDecision(
            timestamp=datetime.now(UTC),
            tenant_id="acme",
            task_type="security_analysis",
            selected_tier="light",
            estimated_complexity=0.2,
            tokens_used=1_000,
            latency_ms=500.0,
        )
    )
    assert metrics.get_tier_distribution("acme", period_hours=24)["tiers"]["light"]["answered"] == 1
    saved = metrics.get_savings_estimate("acme", period_hours=24)
    # 1,000 tokens at weight 1 instead of 10; (250 + 750 / 100) * 0.03 s of heavy, 0.5 s of light
    assert (saved["tokens_saved"], saved["cost_reduction_pct"]) == (900, 90.0)
    assert saved["gpu_hours_saved"] == pytest.approx((257.5 * 0.03 * 0.9 - 0.5 * 0.1) / 3600)
    assert saved["measured"]["cost_units"] == 0
    assert '"security_analysis"' in metrics.export_metrics("acme", period_hours=24)


async def test_the_twins_say_the_same(make):
    metrics = make()
    run_id = metrics.record_decision(RoutingDecision(selected_tier="light", tenant_id="acme"))
    assert await metrics.arecord_feedback(run_id, score=True, comment="fine")
    for name in ("tier_distribution", "latency", "faults", "quality", "savings_estimate", "report"):
        told = await getattr(metrics, f"aget_{name}")("acme", 12)
        expected = getattr(metrics, f"get_{name}")("acme", 12)
        assert {**told, "to": ""} == {**expected, "to": ""}
    assert await metrics.aexport_metrics("acme", format="csv") == metrics.export_metrics(
        "acme", format="csv"
    )
    assert await metrics.afind(run_id) == metrics.find(run_id)
    assert await metrics.arecent(5, tenant_id="acme") == metrics.recent(5)
    assert await metrics.aflush()
    assert await metrics.aclose()


def test_feedback_finds_a_call_that_was_just_recorded(make):
    metrics = make()
    run_id = metrics.record_decision(RoutingDecision(selected_tier="heavy"))
    assert metrics.record_feedback(run_id, score=0.5, comment="so so")
    assert not metrics.record_feedback("never", score=1)
    assert metrics.get_quality()["tiers"]["heavy"]["mean"] == 0.5
    assert metrics.find(run_id).feedback.comment == "so so"


def test_langchains_run_ids_are_taken_as_they_are(make):
    metrics, run_id, tenant = make(), uuid4(), uuid4()
    metrics.record(call(run_id, tenant_id=tenant))
    assert metrics.record_feedback(run_id, score=True)
    assert metrics.find(run_id).record.run_id == str(run_id)
    assert metrics.get_tier_distribution(tenant)["calls"] == 1


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan"), "good", None])
def test_a_feedback_that_cannot_be_is_refused(make, score):
    with pytest.raises(ValueError, match="score"):
        make().record_feedback("1", score)


def test_a_closed_collector_goes_on(make, path):
    metrics = make(store=f"sqlite:///{path}")
    metrics.record(call("1"))
    assert metrics.close()
    metrics.record(call("2"))
    assert metrics.get_tier_distribution()["calls"] == 2


def test_threads_lose_nothing(make):
    metrics = make()
    threads = [
        threading.Thread(
            target=lambda at=at: [metrics.record(call(f"{at}/{each}")) for each in range(500)]
        )
        for at in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (metrics.get_tier_distribution()["calls"], metrics.dropped) == (4_000, 0)


# --- what is refused at the start ---


@pytest.mark.parametrize("url", ["", "canary", "mysql://canary@x", "sqlite://", "redis://"])
def test_a_url_that_is_none_is_refused_and_not_repeated(url):
    with pytest.raises(ConfigurationError, match="store") as refused:
        ModelMetricsCollector(store=url)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"queue_size": 0},
        {"specs": {}},
        {"reference_gpu_gb": 0},
        {"default_s_per_token": -1},
    ],
)
def test_a_bound_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ModelMetricsCollector(**wrong)


@pytest.mark.parametrize("wrong", [{"days": 0}, {"recent": 0}, {"runs": 5}])
def test_a_retention_that_keeps_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="days and recent"):
        Retention(**wrong)


def test_a_store_that_is_away_keeps_nobody_from_starting(make):
    make(store="sqlite:////proc/none/metrics.db")
    make(store="redis://127.0.0.1:1/0")


# --- what is lost, and said ---


def test_a_full_queue_drops_and_counts(make, path, caplog):
    collector = make(log=SqliteLog(path, busy_s=20.0), queue_size=10)
    collector.record(call("first"))
    assert collector.flush(20.0)
    with locked(path), caplog.at_level(logging.WARNING, logger="tiered_llm.metrics"):
        collector.record(call("writing"))
        until(lambda: collector._writer.waiting == 0)  # the thread has it, and waits for the file
        for at in range(30):
            collector.record(call(f"canary-{at}"))
        # a batch may be gathered in two: what lingered is then out of the queue as well
        dropped = collector.dropped
        assert collector.dropped_by == {"queue_full": dropped, "store": 0}
        assert 30 - 2 * 10 <= dropped <= 20
    assert collector.get_tier_distribution()["calls"] == 2 + 30 - dropped
    assert [line.message for line in caplog.records if "full" in line.message] == [
        "the queue of decisions is full; decisions are dropped, and counted as `dropped`"
    ]
    assert "canary" not in caplog.text


def test_a_store_that_stays_locked_loses_decisions_and_says_so_once(make, path, caplog):
    collector = make(log=SqliteLog(path, busy_s=0.05))
    collector.record(call("kept"))
    assert collector.flush(20.0)
    with locked(path):
        for at in range(3):
            collector.record(call(f"lost-{at}"))
            assert collector.flush(20.0)
        with pytest.raises(DecisionLogError, match="locked"):
            collector.record_feedback("kept", score=1.0)
    assert collector.dropped_by == {"queue_full": 0, "store": 3}
    assert [line.levelname for line in caplog.records] == ["WARNING"]
    assert "DecisionLogError" in caplog.text
    collector.record(call("later"))
    assert collector.get_tier_distribution()["calls"] == 2


def test_a_dead_redis_loses_decisions_and_no_call(make):
    collector = make(store="redis://127.0.0.1:1/0")
    collector.record(call("1"))
    assert collector.flush(60.0)
    assert collector.dropped == 1
    with pytest.raises(DecisionLogError, match="Redis"):
        collector.get_tier_distribution()


def test_one_record_that_cannot_be_written_takes_no_other_with_it(make, caplog):
    collector = make()
    wrong = call("wrong")
    object.__setattr__(wrong, "attempts", (object(),))
    for each in (call("1"), wrong, call("2")):
        collector.record(each)
    assert collector.get_tier_distribution()["calls"] == 2
    assert collector.dropped_by == {"queue_full": 0, "store": 1}
    assert len(caplog.records) == 1
