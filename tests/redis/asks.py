"""Asks for the tests, and what one process of a race does."""

from __future__ import annotations

from tiered_llm.budgets.ledger import Ask, Granted, Line
from tiered_llm.budgets.ledgers.redis import RedisLedger

YEARS_S = 4e9
"""The end of a window that the server's own clock does not reach."""


def ask(  # noqa: PLR0913
    lease, *names, group="payer", limit=1_000, ttl_s=60.0, least=1, most=100, ends_s=YEARS_S
):
    lines = tuple(
        Line(
            account=name,
            limit_name=name,
            limit=limit,
            starts_s=0.0,
            ends_s=ends_s,
            fixed=0,
            per_token=1,
        )
        for name in names or ("day",)
    )
    return Ask(group=group, lease=lease, lines=lines, least=least, most=most, ttl_s=ttl_s)


def race(url, runner, calls, limit):
    """Make calls as fast as they go: tokens granted, and alerts raised to this process."""
    ledger = RedisLedger(url)
    granted, alerts = 0, []
    for call in range(calls):
        answer = ledger.reserve(ask(f"{runner}-{call}", "day", "month", limit=limit, most=7))
        if isinstance(answer, Granted):
            granted += answer.tokens
            alerts += answer.alerts
            if call % 3 == 0:
                ledger.settle("payer", f"{runner}-{call}", (answer.tokens,) * 2)
    ledger.close()
    return granted, [(alert.account, alert.threshold) for alert in alerts]
