"""`tiered-llm report`: what routing saved, who served what, how fast, how well."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiered_llm.cli.decisions_store import (
    Store,
    Tenant,
    open_decisions,
    show_head,
    show_nothing,
)
from tiered_llm.cli.report_near import near_limits

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
        near = near_limits(decisions, tenant)
        told = {**metrics.get_report(tenant, hours), "near_limits": near}
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


def _show(decisions: OpenDecisions, tenant: str | None, told: dict[str, Any]) -> None:
    from tiered_llm.cli.report_view import report_blocks
    from tiered_llm.cli.texts import counted, in_one_line

    who = "everybody" if tenant is None else in_one_line(tenant)
    calls = told["distribution"]["calls"]
    start, end = (told[name][:16].replace("T", " ") for name in ("from", "to"))
    title = f"{counted(calls, 'call')} of {who}, {start} to {end} UTC"
    show_head(decisions, title)
    if not calls:
        show_nothing()
        return
    for block in report_blocks(told):
        block.show()
