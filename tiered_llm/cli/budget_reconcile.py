"""`tiered-llm budget reconcile`: do the books hold, what is uncertain, and after a loss go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tiered_llm.cli.budget_options import (
    Agent,
    AsJson,
    Store,
    Tenant,
    User,
    whose,
)
from tiered_llm.cli.budget_store import open_budgets
from tiered_llm.cli.errors import ExitCode
from tiered_llm.cli.output import console, print_error, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiered_llm.budgets import Ledger
    from tiered_llm.cli.budget_windows import WindowRow

_LAW = "settled + reserved + orphaned ≤ limit + overrun"
_SAID = {
    "holds": "holds",
    "lowered": "holds: the limit was lowered below what was charged, and refuses until it ends",
    "broken": "DOES NOT HOLD: charged beyond the limit, and not as an overrun",
    "none": "nothing to hold: it refuses nothing",
}
_ACCEPTED = (
    "What the store has lost is forgotten: every process goes on with what there is, and tenants"
    " may spend again what is no longer counted."
)


def reconcile(  # noqa: PLR0913  # one for each option
    ctx: typer.Context,
    *,
    tenant: Tenant = None,
    user: User = None,
    agent: Agent = None,
    store: Store = None,
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Take a store that has lost what it held into service."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before that.")] = False,
    as_json: AsJson = False,
) -> None:
    """End what is overdue, show what is uncertain, and check that the books hold.

    Exits with 1 if in some window more is charged than limit and overrun allow.

    Example: [bold]tiered-llm budget reconcile --tenant acme[/bold]
    """
    from tiered_llm.budgets import Payer
    from tiered_llm.cli.budget_view import show_head, show_left_out
    from tiered_llm.cli.budget_windows import apart_of, rows_of

    payer = Payer(tenant_id=tenant, user_id=user, agent=agent)
    with open_budgets(ctx, store) as budgets:
        if accept_loss:
            _accept(budgets.manager.ledger, yes=yes)
        rows = rows_of(budgets.manager, payer, tuple(budgets.settings.tiers.values()))
        left_out = apart_of(budgets.manager, payer)
        holds = all(row.law != "broken" for row in rows)
        if as_json:
            said = {"tenant": tenant, "user": user, "agent": agent, "left_out": list(left_out)}
            found = {"holds": holds, "windows": [row.to_dict() for row in rows]}
            print_json({**budgets.to_dict(), **said, "accepted_loss": accept_loss, **found})
        else:
            show_head(budgets, f"budgets of {whose(tenant)}")
            _show(rows)
            show_left_out(left_out)
    raise typer.Exit(ExitCode.OK if holds else ExitCode.FAILED)


def _accept(ledger: Ledger, *, yes: bool) -> None:
    accept = getattr(ledger, "accept_loss", None)
    if accept is None:
        message = "this store keeps nothing that would have to be accepted"
        hint = "Start the processes that refuse anew: they take the file as it is."
        print_error(message, hint)
        raise typer.Exit(ExitCode.FAILED)
    if not yes:
        typer.echo(_ACCEPTED, err=True)
        typer.confirm("Go on?", abort=True, err=True)
    accept()


def _show(rows: Sequence[WindowRow]) -> None:
    from rich.text import Text

    from tiered_llm.cli.budget_view import show_rows

    show_rows(rows)
    out = console()
    out.print()
    out.print(Text(_LAW, style="dim"), soft_wrap=True)
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        style = {"broken": "bold red", "lowered": "yellow"}.get(row.law, "")
        out.print(Text(f"{row.name:<{width}}  {_SAID[row.law]}", style=style), soft_wrap=True)
        _show_uncertain(row)


def _show_uncertain(row: WindowRow) -> None:
    from rich.text import Text

    from tiered_llm.cli.budget_view import amount

    for parts, meaning in (
        (row.orphaned, "uncertain: calls that were never heard of again"),
        (row.overrun, "beyond reservations: servers used more than they were asked to"),
    ):
        if parts:
            said = f"  {amount(parts)} {row.unit} {meaning}"
            console().print(Text(said, style="yellow"), soft_wrap=True)
