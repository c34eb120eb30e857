"""What an answer that was cut is charged where the manager has a margin for that."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from hand_clock import HandClock

from tiered_llm.budgets.manager import BudgetManager
from tiered_llm.budgets.rules import BudgetRule

WAYS = {
    "plain": lambda held, seen: held.orphan(seen_tokens=seen),
    "loop": lambda held, seen: asyncio.run(held.aorphan(seen_tokens=seen)),
}


@pytest.fixture(params=WAYS)
def cut(request):
    """Ends a reservation, on either side: `cut(held, 20)`."""
    return WAYS[request.param]


@pytest.fixture
def make():
    clock = HandClock(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp())

    def make(**more):
        return BudgetManager(10_000, 50_000, clock=clock, **more)

    return make


@pytest.mark.parametrize(
    ("margin", "seen", "charged"),
    [
        (50, 20, 600 + 70),
        (0, 20, 600 + 20),
        (0, 0, 600),
        (380, 20, 600 + 400),
        (1_000, 20, 600 + 400),
        (50, 9_000, 600 + 400),
        (50, None, 600 + 400),
        (None, 20, 600 + 400),
    ],
)
def test_it_is_charged_the_bound_of_its_input_what_was_seen_and_the_margin(
    make, cut, margin, seen, charged
):
    manager = make(cut_margin=margin)
    cut(manager.reserve("acme", "light", 600, 400), seen)
    for period in ("daily", "monthly"):
        usage = manager.usage("acme")[period]
        assert (usage.used, usage.reserved, usage.orphaned) == (0, 0, charged)


def test_every_rule_is_cut_in_its_own_unit(make, cut):
    rules = [BudgetRule(name="tokens", daily=10_000)]
    rules += [BudgetRule(name="cost", unit="cost_units", daily=100_000)]
    manager = BudgetManager(rules=rules, cut_margin=50, clock=make()._clock)
    cut(manager.reserve("acme", "heavy", 600, 400), 20)
    orphaned = [usage.orphaned for usage in manager.usage("acme").values()]
    assert orphaned == [670, 670, 6_700, 6_700]


def test_what_was_freed_may_be_reserved_and_a_late_settle_corrects(make, cut):
    manager = make(cut_margin=50)
    held = manager.reserve("acme", "light", 600, 9_400)
    cut(held, 20)
    assert manager.reserve("acme", "light", 600, 9_400).granted == 9_330 - 600
    assert held.settle(550, 30).ended == "corrected"
    day = manager.usage("acme")["daily"]
    assert (day.used, day.reserved, day.orphaned) == (580, 9_330, 0)


def test_one_that_releases_is_charged_nothing(make, cut):
    manager = make(cut_margin=50, on_orphan="release")
    cut(manager.reserve("acme", "light", 600, 400), 20)
    assert manager.usage("acme")["daily"].orphaned == 0
