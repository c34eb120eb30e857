"""Who is near a budget's limit, for the report: everybody's accounts counted, a tenant's shown."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiered_llm.budgets import BudgetManager
    from tiered_llm.cli.budget_windows import WindowRow
    from tiered_llm.cli.decisions_store import OpenDecisions


def near_limits(decisions: OpenDecisions, tenant: str | None) -> list[dict[str, Any]] | None:
    """Budgets of which a threshold is reached in the windows that are open.

    Of everybody they are counted, from the ledger's alerts, and nobody is named: one that is
    past two thresholds counts at each. Of a tenant each is told as it stands.

    Returns:
        None where budgets are kept nowhere that this process could look into.

    Raises:
        typer.Exit: The budgets' store cannot be read; that has been told.
    """
    from tiered_llm.cli.decisions_store import open_beside

    with open_beside(decisions) as budget:
        if budget is None:
            return None
        if tenant is None:
            return list(_everybodys(budget))
        return list(_own(budget, tenant, decisions))


def _everybodys(budget: BudgetManager) -> Iterator[dict[str, Any]]:
    from tiered_llm.budgets.nearness import accounts_near

    for (rule, period, threshold), count in accounts_near(budget):
        if count:
            name = f"{rule}/{period}"
            yield {"budget": name, "threshold_pct": int(threshold), "accounts": int(count)}


def _own(budget: BudgetManager, tenant: str, decisions: OpenDecisions) -> Iterator[dict[str, Any]]:
    from tiered_llm.budgets import Payer
    from tiered_llm.cli.budget_windows import rows_of

    specs = tuple(decisions.settings.tiers.values())
    for row in rows_of(budget, Payer(tenant_id=tenant), specs):
        reached = [each for each in budget.plan.thresholds if _share_pct(row) >= each]
        if reached:
            yield {"threshold_pct": max(reached), "accounts": 1, **_told(row)}


def _share_pct(row: WindowRow) -> Decimal:
    return Decimal(0) if row.share is None else 100 * row.share


def _told(row: WindowRow) -> dict[str, Any]:
    told = row.to_dict()
    same = {name: told[name] for name in ("unit", "limit", "left", "share_pct", "resets_at")}
    return {"budget": row.name, **same}
