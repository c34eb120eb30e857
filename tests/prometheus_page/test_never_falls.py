"""No counter of the page ever falls: Prometheus would take that for a beginning, and add it all."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tiered_llm import ModelMetricsCollector
from tiered_llm.metrics import AttemptRecord, CallRecord, Retention
from tiered_llm.metrics.tally import MAX_NAMES
from tiered_llm.prometheus import MetricsPage
from tiered_llm.settings import DEFAULT_SPECS
from tiered_llm.tiers import Tier

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
KEPT = Retention(totals_of=frozenset({"acme"}))
ODD = {
    tier: spec.model_copy(
        update={
            "cost_weight": Decimal(weight),
            "input_usd_per_million": Decimal(weight) / 7,
            "output_usd_per_million": Decimal(weight) / 3,
        }
    )
    for (tier, spec), weight in zip(DEFAULT_SPECS.items(), ("0.1", "0.3", "0.7"), strict=True)
}
"""Weights and prices that floats only come near to."""


def call(run_id, tenant="acme", tier="light", tokens=7, **more):
    attempt = AttemptRecord(tier=tier, input_tokens=tokens, output_tokens=3, latency_s=0.1)
    given = {"asked": tier, "answered": tier, "attempts": (attempt,)} | more
    return CallRecord(run_id=str(run_id), at=AT, tenant_id=tenant, **given)


def failed(run_id, name):
    attempt = AttemptRecord(tier="light", outcome="failed", fault=name)
    return call(run_id, answered=None, attempts=(attempt,), error=f"{name}Error")


def counters(page):
    """All samples that Prometheus takes for counters."""
    text, _ = page.render(OPEN_METRICS)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        if family.type in {"counter", "histogram"}
        for sample in family.samples
    }


def falls(pages):
    """What was less on a page, or was no more on it, than on the page before."""
    return [
        (sample, value, after.get(sample))
        for before, after in pairwise(pages)
        for sample, value in before.items()
        if after.get(sample, -1) < value
    ]


@pytest.fixture
def metrics(any_store):
    made = ModelMetricsCollector(any_store, retention=KEPT, specs=ODD)
    yield made
    made.close()


def test_a_listed_tenant_and_the_others_are_of_one_moment(metrics):
    page, over = MetricsPage(metrics, tenants=["acme"]), threading.Event()

    def work():
        number = 0
        while not over.is_set():
            metrics.log.write([call(number)])
            number += 1

    metrics.record(call("other", None))
    writer = threading.Thread(target=work)
    writer.start()
    pages = [counters(page) for _ in range(60)]
    over.set()
    writer.join()
    assert falls(pages) == []
    assert len({sum(each.values()) for each in pages}) > 1


def test_made_up_names_that_overtake_others_take_nobodys_place(metrics):
    page, pages = MetricsPage(metrics), [{}]
    for turn in range(6):
        for number in range(turn * MAX_NAMES // 4, 2 * MAX_NAMES):
            metrics.record(failed(f"{turn}/{number}", f"made-up-{number}"))
        pages.append(counters(page))
    assert falls(pages) == []
    for name in ("faults", "errors"):
        shown = [value for (called, _), value in pages[-1].items() if name in called]
        assert len(shown) == MAX_NAMES + 1
        assert sum(shown) == 6 * 2 * MAX_NAMES - 15 * MAX_NAMES // 4


def test_a_kind_of_task_takes_no_faults_place(metrics):
    for number in range(1_200):
        metrics.record(call(number, task_type=f"task-{number}"))
    metrics.record(failed("late", "timeout"))
    faults = [
        dict(labels)["error_type"]
        for name, labels in counters(MetricsPage(metrics))
        if name == "tiered_llm_faults_total"
    ]
    assert faults == ["timeout"]


def test_who_thinks_better_of_it_is_no_beginning(metrics):
    page = MetricsPage(metrics)
    metrics.record(call("1"))
    pages = []
    for score in (1.0, 0.25, 0.0, 0.5):
        metrics.record_feedback("1", score)
        pages.append(counters(page))
    assert falls(pages) == []


_CALLS = st.tuples(
    st.sampled_from(("acme", "globex", None)), st.sampled_from(tuple(Tier)), st.integers(1, 10**6)
)


@settings(max_examples=50, deadline=None)
@given(steps=st.lists(st.lists(_CALLS, min_size=1, max_size=3), min_size=2, max_size=20))
def test_weights_that_floats_come_near_to_alone(steps):
    metrics = ModelMetricsCollector(retention=KEPT, specs=ODD)
    page, pages, number = MetricsPage(metrics, tenants=["acme"]), [], 0
    for step in steps:
        for tenant, tier, tokens in step:
            number += 1
            metrics.log.write([call(number, tenant, tier, tokens)])
        pages.append(counters(page))
    assert falls(pages) == []
