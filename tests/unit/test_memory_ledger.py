"""The ledger in memory: first steps; the suite of laws holds it to the rest."""

from __future__ import annotations

from hand_clock import HandClock

from tiered_llm.budgets.ledger import Ask, Granted, Line, Refused
from tiered_llm.budgets.ledgers.memory import MemoryLedger


def ask(lease, least=1, most=100, limit=1_000, **more):
    line = Line(
        account="tenant/daily/1970-01-01/tokens",
        limit_name="tenant/daily/tokens",
        limit=limit,
        starts_s=0.0,
        ends_s=86_400.0,
        fixed=10,
        per_token=1,
        **more,
    )
    return Ask(group="g", lease=lease, lines=(line,), least=least, most=most, ttl_s=60.0)


def test_a_grant_is_what_is_left_and_the_next_is_refused():
    ledger = MemoryLedger(HandClock())
    assert ledger.reserve(ask("a", most=700)) == Granted(tokens=700, alerts=())
    granted = ledger.reserve(ask("b", most=800))
    assert granted.tokens == 280
    assert [alert.threshold for alert in granted.alerts] == [80, 95]
    refused = ledger.reserve(ask("c"))
    assert isinstance(refused, Refused)
    assert refused.balance.reserved == 1_000


def test_a_settle_frees_what_was_not_used():
    ledger = MemoryLedger(HandClock())
    ledger.reserve(ask("a", most=990))
    assert ledger.settle("g", "a", (100,)).ended == "settled"
    assert ledger.settle("g", "a", (100,)).ended == "already"
    (balance,) = ledger.balances("g", ("tenant/daily/1970-01-01/tokens",))
    assert (balance.settled, balance.reserved) == (100, 0)


def test_an_orphan_stays_charged_until_a_late_settle():
    clock = HandClock()
    ledger = MemoryLedger(clock)
    ledger.reserve(ask("a", most=490))
    clock.now_s += 60
    (balance,) = ledger.balances("g", ("tenant/daily/1970-01-01/tokens",))
    assert (balance.reserved, balance.orphaned) == (0, 500)
    assert ledger.void("g", "a").ended == "already"
    assert ledger.settle("g", "a", (700,)).ended == "corrected"
    (balance,) = ledger.balances("g", ("tenant/daily/1970-01-01/tokens",))
    assert (balance.settled, balance.orphaned, balance.overrun) == (700, 0, 200)
