"""Budgets as an application holds them, on the ledger in memory and a clock set by hand."""

from __future__ import annotations

import asyncio
import copy
import pickle
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hand_clock import HandClock
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.exceptions import ModelError
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableLambda

from tiered_llm import TieredChatModel
from tiered_llm.budgets.bound import input_bound
from tiered_llm.budgets.exceeded import BudgetExceededError
from tiered_llm.budgets.manager import BudgetManager
from tiered_llm.budgets.plan import Payer
from tiered_llm.budgets.rules import BudgetRule
from tiered_llm.budgets.windows import window_at
from tiered_llm.errors import ConfigurationError, TieredLLMError
from tiered_llm.testing import FakeChatModel


@pytest.fixture
def clock():
    return HandClock(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp())


@pytest.fixture
def manager(clock):
    return BudgetManager(10_000, 50_000, clock=clock)


def test_what_was_not_used_is_free_again(manager):
    held = manager.reserve("acme", "light", 600, 400)
    assert held.granted == 400
    day = manager.usage("acme")["daily"]
    assert (day.used, day.reserved, day.limit, day.left) == (0, 1_000, 10_000, 9_000)
    held.settle(550, 50)
    day = manager.usage("acme")["daily"]
    assert (day.used, day.reserved, day.left) == (600, 0, 9_400)
    assert manager.usage("other")["daily"].used == 0


def test_the_last_call_is_granted_what_is_left_and_the_next_is_refused(manager, clock):
    assert manager.reserve("acme", "light", 600).granted == 8_192
    assert manager.reserve("acme", "light", 600).granted == 608
    with pytest.raises(BudgetExceededError) as caught:
        manager.reserve("acme", "light", 600)
    error = caught.value
    assert (error.rule, error.period, error.unit) == ("tenant", "daily", "tokens")
    assert (error.limit, error.used, error.reserved, error.wanted) == (10_000, 0, 10_000, 601)
    assert error.resets_at == datetime(2026, 3, 2, tzinfo=UTC)
    assert "acme" not in str(error)
    assert str(error) == (
        "the daily budget 'tenant' has no room: 601 tokens wanted, 0 used and 10,000 reserved "
        "of 10,000; it resets at 2026-03-02T00:00+00:00"
    )
    assert isinstance(error, (ModelError, TieredLLMError))
    assert error.is_retryable is False
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301  # our own
    clock.now_s += 86_400
    assert manager.reserve("acme", "light", 600).granted == 8_192


def test_a_least_grant_is_a_callers_to_name(manager):
    manager.reserve("acme", "light", 600, 8_900)
    with pytest.raises(BudgetExceededError):
        manager.reserve("acme", "light", 400, 200, least=101)
    assert manager.reserve("acme", "light", 400, 200, least=100).granted == 100


def test_left_alone_a_reservation_stays_charged(manager):
    with manager.reserve("acme", "light", 600, 400):
        pass
    day = manager.usage("acme")["daily"]
    assert (day.used, day.reserved, day.orphaned, day.left) == (0, 0, 1_000, 9_000)


def test_void_frees_and_settle_counts_once(manager):
    with manager.reserve("acme", "light", 600, 400) as held:
        held.void()
    assert manager.usage("acme")["daily"].left == 10_000
    with manager.reserve("acme", "light", 600, 400) as held:
        held.settle(10, 10)
        held.settle(10, 10)
        held.orphan()
    assert manager.usage("acme")["daily"].used == 20


async def test_the_twins_do_the_same(manager):
    async with await manager.areserve("acme", "light", 600, 400) as held:
        await held.asettle(100, 100)
    async with await manager.areserve("acme", "light", 600, 400):
        pass
    async with await manager.areserve("acme", "light", 600, 400) as held:
        await held.avoid()
    day = (await manager.ausage("acme"))["daily"]
    assert (day.used, day.reserved, day.orphaned) == (200, 0, 1_000)
    assert day == manager.usage("acme")["daily"]


def test_a_call_settles_in_the_windows_in_which_it_was_reserved(manager, clock):
    held = manager.reserve("acme", "light", 600, 400)
    clock.now_s += 43_200 + 100  # past midnight
    held.settle(500, 300)
    assert manager.usage("acme")["daily"].used == 0
    assert manager.usage("acme")["monthly"].used == 800


def test_an_overrun_is_charged(manager):
    held = manager.reserve("acme", "light", 600, 400)
    settled = held.settle(600, 9_900)
    assert settled.overrun == 9_500
    day = manager.usage("acme")["daily"]
    assert (day.used, day.left) == (10_500, 0)


def test_alerts_come_once_for_each_threshold_and_window(clock, caplog):
    seen = []

    def broken(_alert):
        raise KeyError("observer")

    manager = BudgetManager(1_000, clock=clock, on_alert=[broken, seen.append])
    for _ in range(2):
        for _ in range(10):
            manager.record_usage("SECRET-tenant", "light", 50, 50)
        clock.now_s += 86_400
    assert [(a.threshold, a.charged) for a in seen] == [(80, 800), (95, 1_000)] * 2
    assert "the daily budget 'tenant' of a tenant is at 80 %" in caplog.text
    assert "SECRET" not in caplog.text


def test_limits_can_be_set_for_a_tenant_and_at_run_time(clock):
    manager = BudgetManager(10_000, clock=clock, tenant_limits={"big": {"tenant/daily": 20_000}})
    assert manager.usage("big")["daily"].limit == 20_000
    manager.set_limit("acme", "daily", 500)
    assert manager.usage("acme")["daily"].limit == 500
    with pytest.raises(BudgetExceededError):
        manager.reserve("acme", "light", 500)
    manager.set_limit("acme", "tenant/daily", None)
    assert manager.reserve("acme", "light", 500).granted > 0
    with pytest.raises(ConfigurationError, match="use one of tenant/daily, tenant/monthly"):
        manager.set_limit("acme", "weekly", 5)


def test_rules_count_apart_in_their_own_units(clock):
    rules = [
        BudgetRule(name="tenant", daily=100_000),
        BudgetRule(name="heavy", tier="heavy", daily=1_000),
        BudgetRule(name="users", by=("user",), daily=5_000),
        BudgetRule(name="cost", unit="cost_units", monthly=Decimal(30_000)),
    ]
    manager = BudgetManager(rules=rules, clock=clock)
    ann, bob = Payer(tenant_id="a", user_id="ann"), Payer(tenant_id="a", user_id="bob")
    manager.reserve(ann, "light", 1_000, 3_000).settle(1_000, 3_000)
    assert manager.reserve(ann, "light", 500, 3_000).granted == 500
    assert manager.reserve(bob, "light", 500, 3_000).granted == 3_000
    assert manager.reserve(bob, "heavy", 500, 3_000).granted == 500, "the cap on heavy"
    with pytest.raises(BudgetExceededError) as caught:
        manager.reserve(bob, "heavy", 500)
    assert caught.value.rule == "heavy"
    usage = manager.usage_of(bob)
    assert usage["cost/monthly"].used == 4_000
    assert usage["cost/monthly"].unit == "cost_units"
    assert usage["users/daily"].reserved == 4_500


def test_money_is_exact():
    rule = BudgetRule(name="money", unit="usd", monthly=Decimal("0.01"))
    from tiered_llm.tiers import TierSpec

    spec = TierSpec(
        tier="heavy",
        model_id="openai/m",
        input_usd_per_million=Decimal("2.50"),
        output_usd_per_million=Decimal(10),
    )
    assert rule.cost(spec, 1_000, 100) == 3_500_000
    assert rule.units(3_500_000) == Decimal("0.0035")
    manager = BudgetManager(rules=[rule])
    assert manager.reserve("a", spec, 1_000, 10_000).granted == 750


def test_a_soft_budget_refuses_nothing(clock):
    manager = BudgetManager(rules=[BudgetRule(name="t", daily=10, mode="soft")], clock=clock)
    assert manager.reserve("a", "light", 600, 400).granted == 400


def test_the_original_designs_calls(manager):
    assert manager.check_budget("acme", 10_000)
    assert not manager.check_budget("acme", 10_001)
    manager.record_usage(
        tenant_id="acme", model_tier="light", input_tokens=600, output_tokens=400,
        complexity_score=0.1,
    )  # fmt: skip
    manager.record_usage("acme", "heavy", 500, 500, call_id="once")
    manager.record_usage("acme", "heavy", 500, 500, call_id="once")
    report = manager.get_savings_report("acme")
    assert report["tokens"] == {"light": 1_000, "standard": 0, "heavy": 1_000}
    assert (report["cost_units"], report["baseline_cost_units"]) == (11_000, 20_000)
    assert (report["tokens_saved"], report["cost_reduction_pct"]) == (900, 45.0)
    assert manager.get_savings_report("nobody")["cost_reduction_pct"] == 0.0


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        ({"default_daily_limit": 0}, "above 0 and at most 1,000,000,000,000,000 tokens"),
        ({"default_daily_limit": 10**15 + 1}, "above 0 and at most"),
        ({"time_zone": "Mars/Olympus"}, "an IANA name"),
        ({"thresholds": (0,)}, "whole percents"),
        ({"store": "mongo://x"}, "memory://"),
        ({"rules": []}, "at least one"),
        ({"rules": [BudgetRule(name="a"), BudgetRule(name="a")]}, "each its own"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(arguments, right):
    with pytest.raises(ConfigurationError, match=right):
        BudgetManager(**arguments)


@pytest.mark.parametrize(
    "wrong", [{"unit": "euros"}, {"mode": "angry"}, {"by": ("planet",)}, {"name": "a/b"}]
)
def test_a_rule_that_cannot_work_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="cannot work"):
        BudgetRule(**{"name": "n", **wrong})


ZONES = st.sampled_from(
    [
        "UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia", "Australia/Lord_Howe",
        "Asia/Kathmandu", "America/Sao_Paulo", "Asia/Beirut", "Africa/Casablanca",
        "Antarctica/Troll",
    ]
)  # fmt: skip


@given(st.floats(0, 4_000_000_000), ZONES, st.sampled_from(["daily", "monthly"]))
def test_windows_leave_no_gap_and_do_not_overlap(now_s, zone, period):
    zone = ZoneInfo(zone)
    window = window_at(period, now_s, zone)
    assert window.starts_s <= now_s < window.ends_s
    following = window_at(period, window.ends_s, zone)
    assert following.starts_s == window.ends_s
    assert following.key > window.key
    if period == "daily":
        assert 20 <= (window.ends_s - window.starts_s) / 3600 <= 28


def test_samoa_skipped_a_day():
    zone = ZoneInfo("Pacific/Apia")
    before = window_at("daily", datetime(2011, 12, 29, 12, tzinfo=zone).timestamp(), zone)
    assert window_at("daily", before.ends_s, zone).key == "2011-12-31"


@given(st.text())
def test_a_text_is_never_bound_below_its_bytes(text):
    bound = input_bound([HumanMessage(text)])
    assert bound >= len(text.encode(errors="surrogatepass"))


def test_all_that_is_sent_counts():
    image = {"type": "image_url", "image_url": {"url": "data:…"}}
    call = {"name": "look_up", "args": {"word": "x" * 100}, "id": "1"}
    tool = {"type": "function", "function": {"name": "f", "description": "y" * 100}}
    plain = input_bound([HumanMessage("a")])
    assert input_bound([SystemMessage("b"), HumanMessage("a")]) > plain
    assert input_bound([HumanMessage([image, {"type": "text", "text": "a"}, "b"])]) > 16_384
    assert input_bound([AIMessage("", tool_calls=[call])]) > plain + 200
    assert input_bound([HumanMessage("a")], [tool]) > plain + 200


def test_a_budget_that_degrades_keeps_to_lighter_tiers(clock):
    manager = BudgetManager(rules=[BudgetRule(name="t", daily=10_000, mode="degrade")], clock=clock)
    models = {tier: FakeChatModel(text=tier) for tier in ("light", "standard", "heavy")}
    model = TieredChatModel(budget=manager, **models)
    hard = {"configurable": {"tenant_id": "a", "task_type": "thinking"}}
    tiers, reasons = [], []
    for used in (0, 7_900, 1_700):
        manager.record_usage("a", "heavy", used, 0)
        routing = model.invoke("hi", hard, max_tokens=10).response_metadata["routing"]
        tiers.append(routing["tier"])
        reasons.append([r for r in routing["reasons"] if r.startswith("budget_pressure: lower")])
    assert tiers == ["heavy", "heavy", "light"]
    assert reasons[2] == ["budget_pressure: lower light: the tenant's budget runs low"]
    manager.set_limit("a", "daily", 11_000)
    routing = asyncio.run(model.ainvoke("hi", hard, max_tokens=10)).response_metadata["routing"]
    assert routing["tier"] == "standard"


def test_a_copy_of_a_model_shares_its_budget_and_none_travels(manager):
    model = TieredChatModel(light=FakeChatModel(), budget=manager)
    copy.deepcopy(model).invoke("hi", {"configurable": {"tenant_id": "a"}})
    assert manager.usage("a")["daily"].used == 9
    with pytest.raises(TypeError, match="build one there, on the same store"):
        pickle.dumps(manager)


def test_the_settings_have_limits_and_store(clean_environment, monkeypatch):
    monkeypatch.setenv("TOKEN_BUDGET_DAILY", "1234")
    manager = BudgetManager.from_settings(output_bound=5)
    assert manager.usage("a")["daily"].limit == 1_234
    assert manager.usage("a")["monthly"].limit == 20_000_000
    assert manager.reserve("a", "light", 10).granted == 5


def test_a_tier_that_is_no_chat_model_is_charged_what_was_reserved(clock):
    manager = BudgetManager(100_000, clock=clock)

    def answer(_messages):
        return AIMessage("hello")

    def fail(_messages):
        raise ConnectionResetError

    for function in (answer, fail):
        model = TieredChatModel(
            light=RunnableLambda(function), heavy=FakeChatModel(), budget=manager, tenant_id="a"
        )
        model.invoke("hi")
    day = manager.usage("a")["daily"]
    assert (day.used, day.reserved) == (9, 0), "the second call's heavy tier"
    assert day.orphaned > 2 * 8_192


def test_a_tenants_limits_are_checked_when_they_are_given(clock):
    manager = BudgetManager(10_000, clock=clock, tenant_limits={"acme": {"daily": 100}})
    assert manager.usage("acme")["daily"].limit == 100
    for wrong in ({"weekly": 5}, {"daily": -5}, {"tenant/daily": 10**16}):
        with pytest.raises(ConfigurationError):
            BudgetManager(10_000, clock=clock, tenant_limits={"acme": wrong})
