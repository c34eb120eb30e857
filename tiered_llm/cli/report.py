"""`tiered-llm report`: what routing saved, who served what, how fast, how well."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiered_llm.cli.decisions_store import (
    Store,
    Tenant,
    open_beside,
    open_decisions,
    show_head,
    show_nothing,
)

if TYPE_CHECKING:
    from tiered_llm.cli.decisions_store import OpenDecisions


def report(  # noqa: PLR0913  # one for each option
    ctx: typer.Context,
    *,
    tenant: Tenant = None,
    hours: Annotated[
        int, typer.Option("--hours", min=1, max=24 * 366, help="How far to look back.")
    ] = 24,
    store: Store = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole report as JSON.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print its hours as CSV.")] = False,
) -> None:
    """Report savings, tiers, latency, faults and quality over a period.

    Savings are net of failed attempts and of the router's own time, and signed: a loss is shown
    as a loss.

    Example: [bold]tiered-llm report --tenant acme --hours 168[/bold]
    """
    if as_json and as_csv:
        msg = "give one of --json and --csv"
        raise typer.BadParameter(msg)
    with open_decisions(ctx, store) as decisions:
        metrics = decisions.metrics
        if as_csv:
            typer.echo(metrics.export_metrics(tenant, hours, "csv"), nl=False)
            return
        told = {**metrics.get_report(tenant, hours), "near_limits": _near(decisions)}
        if as_json:
            typer.echo(json.dumps({**_head(decisions, tenant), **told}, default=str, indent=2))
            return
        _show(decisions, tenant, told)


def _head(decisions: OpenDecisions, tenant: str | None) -> dict[str, Any]:
    return {
        "store": decisions.store,
        "store_source": decisions.source,
        "notes": list(decisions.notes),
        "tenant": tenant,
    }


def _near(decisions: OpenDecisions) -> list[dict[str, Any]]:
    """Accounts of all tenants near their limits; none where budgets are kept elsewhere."""
    from tiered_llm.budgets.nearness import accounts_near

    with open_beside(decisions) as budget:
        found = [] if budget is None else accounts_near(budget)
    return [
        {"budget": f"{rule}/{period}", "threshold_pct": int(threshold), "accounts": int(count)}
        for (rule, period, threshold), count in found
        if count
    ]


def _show(decisions: OpenDecisions, tenant: str | None, told: dict[str, Any]) -> None:
    from tiered_llm.cli.report_view import report_blocks
    from tiered_llm.cli.texts import in_one_line

    who = "everybody" if tenant is None else in_one_line(tenant)
    calls = told["distribution"]["calls"]
    title = f"{calls:,} calls of {who}, {told['from'][:16]} to {told['to'][:16]} UTC"
    show_head(decisions, title)
    if not calls:
        show_nothing()
        return
    for block in report_blocks(told):
        block.show()
