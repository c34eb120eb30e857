"""`tiered-llm budget alerts`: which budgets came near their limits, and when."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiered_llm.cli.budget_options import AsJson, Store, whose
from tiered_llm.cli.budget_store import open_budgets
from tiered_llm.cli.errors import ExitCode
from tiered_llm.cli.output import console, print_error, print_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tiered_llm.budgets import Alert, BudgetManager
    from tiered_llm.cli.budget_store import OpenBudgets

_EVERY_S = 1.0
"""Seconds between two looks at the store."""

_AT_ONCE = 1_000
"""Alerts of one look; more than that within a second are not expected."""


def alerts(  # noqa: PLR0913  # one for each option
    ctx: typer.Context,
    *,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="Whose alerts; without it everybody's.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many.")] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new ones until Ctrl-C.")
    ] = False,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Show alerts, the newest first; with --follow the newest last.

    Tenants, users and agents are named only if you name the tenant. With --follow and --json
    each alert is a line of JSON.

    Example: [bold]tiered-llm budget alerts --follow[/bold]
    """
    from tiered_llm.cli.budget_view import show_head

    head = "alerts" if tenant is None else f"alerts of {whose(tenant)}"
    with open_budgets(ctx, store) as budgets:
        manager = budgets.manager
        if follow:
            _insist(budgets)
            show_head(budgets, head, stderr=True)
            for found in _followed(manager, tenant, limit):
                _show([as_dict(manager, alert, tenant) for alert in found], lines=as_json)
            return
        shown = [as_dict(manager, alert, tenant) for alert in manager.ledger.alerts(tenant, limit)]
        if as_json:
            print_json({**budgets.to_dict(), "tenant": tenant, "alerts": shown})
            return
        show_head(budgets, head)
        _show(shown, lines=False)
        if not shown:
            console().print("none")


def as_dict(manager: BudgetManager, alert: Alert, tenant: str | None) -> dict[str, Any]:
    """An alert as plain JSON values; whose it is only where that was asked for."""
    from tiered_llm.cli.budget_windows import plain_number, zone_of

    name, period, window, apart = alert.account.split("/", 3)
    rule = next((rule for rule in manager.plan.rules if rule.name == name), None)
    charged, most = (
        plain_number(rule.units(parts) if rule else Decimal(parts))
        for parts in (alert.charged, alert.limit)
    )
    return {
        "at": datetime.fromtimestamp(alert.at_s, zone_of(manager, tenant)).isoformat(),
        "budget": f"{name}/{period}",
        "window": window,
        "threshold_pct": alert.threshold,
        "charged": charged,
        "limit": most,
        "unit": rule.unit if rule else None,
        "tenant": tenant,
        "apart": apart if tenant is not None else None,
    }


def _insist(budgets: OpenBudgets) -> None:
    """There must be something to follow: a name written wrong would be waited at for ever."""
    if budgets.missing:
        hint = "Start the application that counts in it, or correct the URL."
        print_error(f"{budgets.store}: the file does not exist", hint)
        raise typer.Exit(ExitCode.UNREACHABLE)


def _followed(manager: BudgetManager, tenant: str | None, limit: int) -> Iterator[Iterable[Alert]]:
    """The newest alerts, then for ever those that are new, each time the oldest first."""
    from tiered_llm.clock import SYSTEM_CLOCK

    most = max(limit, _AT_ONCE)
    found = manager.ledger.alerts(tenant, most)
    seen = set(found)
    since_s = found[-1].at_s if len(found) == most else float("-inf")  # older ones may come up
    yield reversed(found[:limit])
    while True:
        SYSTEM_CLOCK.sleep(_EVERY_S)
        found = manager.ledger.alerts(tenant, most)
        yield [each for each in reversed(found) if each not in seen and each.at_s >= since_s]
        seen = set(found)
        since_s = max(since_s, found[-1].at_s) if len(found) == most else since_s


def _show(alerts: Iterable[dict[str, Any]], *, lines: bool) -> None:
    from rich.text import Text

    from tiered_llm.cli.budget_view import amount, style_of
    from tiered_llm.cli.texts import in_one_line

    for alert in alerts:
        if lines:
            typer.echo(json.dumps(alert, ensure_ascii=False))
            continue
        charged, most = (amount(Decimal(str(alert[name]))) for name in ("charged", "limit"))
        at = datetime.fromisoformat(alert["at"])
        who = f"  {alert['apart']}" if alert["apart"] else ""
        text = (
            f"  {alert['budget']} {alert['window']}  {charged} of {most} {alert['unit'] or 'parts'}"
        )
        style = style_of(Decimal(alert["threshold_pct"]) / 100)
        line = Text(f"{at:%Y-%m-%d %H:%M:%S %Z}  ")
        line.append(f"{alert['threshold_pct']:>3} %", style=style)
        line.append(in_one_line(text + who))
        console().print(line, soft_wrap=True)
