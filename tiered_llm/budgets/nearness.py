"""How many accounts have come near their limits, whoever they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiered_llm.budgets.plan import PERIODS, zone_info

if TYPE_CHECKING:
    from tiered_llm.budgets.manager import BudgetManager

_ALERTS = 10_000
"""Alerts that are looked at, newest first: as many as a ledger in memory or a file keeps."""


def accounts_near(budget: BudgetManager) -> list[tuple[tuple[str, str, str], float]]:
    """Accounts that have come to a threshold, by rule, period and per cent.

    Those of windows that are open in the default time zone; of the newest ten thousand alerts. A
    ledger in Redis looks through the keys of all its tenants, which may take a while.

    Raises:
        LedgerError: The store cannot be reached, or has lost what it held.
    """
    plan, now_s = budget.plan, budget.ledger.now_s()
    zone = zone_info(plan.zone(None))
    found: dict[tuple[str, str, str], float] = {
        (rule.name, period, str(threshold)): 0.0
        for rule in plan.rules
        for period in PERIODS
        if rule.limit_of(period) is not None
        for threshold in plan.thresholds
    }
    open_now: dict[str, str] = {
        period: plan.calendar.window_at(period, now_s, zone).key for period in PERIODS
    }
    for alert in budget.ledger.alerts(None, _ALERTS):
        rule, period, window, *_ = alert.account.split("/")
        if window == open_now.get(period):
            key = (rule, period, str(alert.threshold))
            found[key] = found.get(key, 0.0) + 1
    return sorted(found.items())
