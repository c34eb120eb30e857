"""What is reserved for a model: by bytes, by its tokenizer, and by what it did before."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hand_clock import HandClock
from langchain_core.messages import HumanMessage
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tiered_llm.budgets import BudgetExceededError, BudgetManager, Overrun
from tiered_llm.budgets.bound import input_bound
from tiered_llm.budgets.bounds import MOST_FACTOR
from tiered_llm.settings import DEFAULT_SPECS
from tiered_llm.tiers import Tier

LIGHT = DEFAULT_SPECS[Tier.LIGHT]
ASKED = [HumanMessage("What is the capital of France?")]


@pytest.fixture
def clock():
    return HandClock(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp())


@pytest.fixture
def overruns():
    return []


@pytest.fixture
def manager(clock, overruns):
    return BudgetManager(1_000_000, clock=clock, on_overrun=[overruns.append])


def reserved(manager, read=1_000, written=1_000, tier="light"):
    """What is reserved now for a call of these bounds."""
    held = manager.reserve("acme", tier, read, written)
    amount = int(manager.usage("acme")["daily"].reserved)
    held.void()
    return amount


def test_a_model_that_goes_beyond_its_bound_is_reserved_for_more(manager, overruns, caplog):
    assert reserved(manager) == 2_000
    manager.reserve("acme", "light", 1_000, 1_000).settle(1_000, 3_000)
    assert overruns == [Overrun(model_id=LIGHT.model_id, input_tokens=0, output_tokens=2_000)]
    assert "ollama/qwen2.5:7b used more than its bound" in caplog.text
    assert "acme" not in caplog.text
    assert reserved(manager) == 1_000 + 3 * 1_000
    assert reserved(manager, tier="heavy") == 2_000  # of that model alone
    held = manager.reserve("acme", "light", 1_000, 1_000)
    assert held.granted == 1_000
    held.settle(1_500, 3_000)  # its output within what is reserved now
    assert overruns[1:] == [Overrun(model_id=LIGHT.model_id, input_tokens=500, output_tokens=0)]
    assert reserved(manager) == 1_500 + 3 * 1_000


def test_with_the_factor_the_limit_holds_though_the_server_ignores_its_bound(clock):
    """It writes three times what it was granted, always: one overrun, and no second one."""
    manager = BudgetManager(100_000, clock=clock)
    billed = 0
    while manager.usage("acme")["daily"].left > 3_500:
        held = manager.reserve("acme", "light", 100, 1_000)
        held.settle(100, 3 * held.granted)
        billed += 100 + 3 * held.granted
    assert 90_000 < billed <= 100_000
    assert manager.usage("acme")["daily"].overrun == 2_000  # the first one's


def test_calls_that_keep_within_bring_the_factor_down_again(manager):
    manager.reserve("acme", "light", 1_000, 1_000).settle(1_000, 2_000)
    seen = [reserved(manager)]
    for _ in range(300):
        manager.reserve("acme", "light", 1_000, 1_000).settle(50, 50)
        seen.append(reserved(manager))
    assert seen == sorted(seen, reverse=True)
    assert (seen[0], seen[-1]) == (3_000, 2_000)


def test_so_does_time_for_calls_that_are_refused_tell_nothing(manager, clock):
    manager.reserve("other", "light", 1_000, 1_000).settle(1_000, 10**6)
    with pytest.raises(BudgetExceededError):
        manager.reserve("acme", "light", 1_000, 20_000, least=20_000)
    clock.now_s += 600
    assert reserved(manager) == 1_000 + 32.5 * 1_000
    clock.now_s += 20 * 600
    assert reserved(manager) == 2_000


def test_a_short_grant_says_nothing_of_a_model(manager):
    manager.reserve("acme", "light", 10, 2).settle(10, 16)
    assert reserved(manager) == 2_000


def test_little_beyond_costs_little(manager):
    manager.reserve("acme", "light", 1_000, 1_000).settle(1_000, 1_050)
    assert reserved(manager) == 1_000 + 1_050
    assert manager.reserve("acme", "light", 1_000, 9_000).granted == 9_000


def test_no_report_shuts_a_model_off(manager):
    manager.reserve("other", "light", 1, 1).settle(10**8, 10**8)
    assert reserved(manager, 1_000, 1_000) == 2 * 1_000 * MOST_FACTOR


def test_only_an_end_that_counts_is_learnt_from(manager, overruns):
    held = manager.reserve("acme", "light", 100, 100)
    held.void()
    held.settle(100, 900)
    assert overruns == []
    assert reserved(manager) == 2_000


def test_an_exact_tokenizer_replaces_the_bytes_of_its_model(clock, caplog):
    def broken(messages, tools):
        raise KeyError("SECRET prompt")

    manager = BudgetManager(
        clock=clock,
        tokenizers={LIGHT.model_id: lambda messages, tools: 7 * len(messages), "a/b": broken},
    )
    assert manager.input_bound(LIGHT, ASKED) == 7
    heavy = DEFAULT_SPECS[Tier.HEAVY]
    assert manager.input_bound(heavy, ASKED) == input_bound(ASKED)
    other = heavy.model_copy(update={"model_id": "a/b"})
    assert [manager.input_bound(other, ASKED) for _ in range(2)] == [input_bound(ASKED)] * 2
    assert caplog.text.count("the tokenizer of a/b failed (KeyError)") == 1
    assert "SECRET" not in caplog.text


def test_alerts_and_overruns_are_events_of_the_running_span(clock):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    manager = BudgetManager(1_000, clock=clock)
    manager.reserve("SECRET-tenant", "light", 10, 10).settle(10, 40)  # no span: nothing happens
    with provider.get_tracer("test").start_as_current_span("call"):
        manager.reserve("SECRET-tenant", "light", 100, 100).settle(800, 100)
    assert trace.get_current_span() is trace.INVALID_SPAN
    [span] = exporter.get_finished_spans()
    low, high, overrun = span.events
    assert [low.name, high.name] == ["tiered_llm.budget.alert"] * 2
    assert low.attributes["tiered_llm.budget.threshold"] == 80
    assert dict(high.attributes) == {
        "tiered_llm.budget.rule": "tenant",
        "tiered_llm.budget.period": "daily",
        "tiered_llm.budget.threshold": 95,
        "tiered_llm.budget.used_ratio": 0.95,
    }
    assert overrun.name == "tiered_llm.budget.overrun"
    assert "SECRET" not in repr(span.events)
