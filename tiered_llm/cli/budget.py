"""`tiered-llm budget`: what tenants have used and may use, in the store that they share."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer

from tiered_llm.cli.budget_alerts import alerts
from tiered_llm.cli.budget_options import (
    Agent,
    AsJson,
    Store,
    Tenant,
    User,
    whose,
)
from tiered_llm.cli.budget_reconcile import reconcile
from tiered_llm.cli.budget_store import open_budgets
from tiered_llm.cli.output import console, print_json

if TYPE_CHECKING:
    from tiered_llm.budgets import BudgetManager, BudgetRule


def show(  # noqa: PLR0913  # one for each option
    ctx: typer.Context,
    *,
    tenant: Tenant = None,
    user: User = None,
    agent: Agent = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Show what is used, reserved, uncertain and left in each window, and when it resets.

    Uncertain is what was reserved for calls that were never heard of again; it counts as used.

    Example: [bold]tiered-llm budget show --tenant acme --store sqlite:///budgets.db[/bold]
    """
    from tiered_llm.budgets import Payer
    from tiered_llm.cli.budget_view import show_head, show_left_out, show_rows
    from tiered_llm.cli.budget_windows import apart_of, rows_of

    payer = Payer(tenant_id=tenant, user_id=user, agent=agent)
    with open_budgets(ctx, store) as budgets:
        rows = rows_of(budgets.manager, payer, tuple(budgets.settings.tiers.values()))
        left_out = apart_of(budgets.manager, payer)
        if as_json:
            said = {"tenant": tenant, "user": user, "agent": agent, "left_out": list(left_out)}
            print_json({**budgets.to_dict(), **said, "windows": [row.to_dict() for row in rows]})
            return
        show_head(budgets, f"budgets of {whose(tenant)}")
        show_rows(rows)
        show_left_out(left_out)


def set_limit(  # noqa: PLR0913  # one for each option
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="daily, monthly, or rule/period.")],
    limit: Annotated[str, typer.Argument(help="In the rule's unit; none takes it back.")],
    *,
    tenant: Tenant = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Set a tenant's limit in the store: for every process, from its next call on.

    It goes before the settings' own until [bold]none[/bold] takes it back. 0 refuses every call.

    Example: [bold]tiered-llm budget set --tenant acme daily 500000[/bold]
    """
    from tiered_llm.budgets import Payer
    from tiered_llm.cli.budget_view import amount, show_head
    from tiered_llm.cli.budget_windows import plain_number

    payer = Payer(tenant_id=tenant)
    with open_budgets(ctx, store, writes=True) as budgets:
        manager = budgets.manager
        rule, period = _named(manager, name)
        wanted = _limit(rule, limit)
        key = f"{rule.name}/{period}"
        own = _own_limit(manager, rule, tenant, period)
        before = manager.limits(payer).get(key)
        old = own if before is None else rule.units(before)
        manager.set_limit(tenant, key, wanted)
        new = own if wanted is None else wanted
        if as_json:
            amounts = {"old": plain_number(old), "new": plain_number(new)}
            said = {"tenant": tenant, "budget": key, "unit": rule.unit, **amounts}
            print_json({**budgets.to_dict(), **said, "set": wanted is not None})
            return
        show_head(budgets, f"budgets of {whose(tenant)}")
        origin = "set here" if wanted is not None else "as the settings have it"
        text = f"{key}: {amount(old)} → {amount(new)} {rule.unit}, {origin}"
        console().print(text, markup=False, soft_wrap=True)


def _named(manager: BudgetManager, name: str) -> tuple[BudgetRule, str]:
    """The rule and period of a budget's name; a bare period is the first rule's."""
    from tiered_llm.budgets.checks import named_rule
    from tiered_llm.errors import ConfigurationError

    try:
        return named_rule(manager.plan.rules, name)
    except ConfigurationError as error:
        (problem,) = error.problems
        msg = f"{problem.wrong}: {name!r}; {problem.right}"
        raise typer.BadParameter(msg, param_hint="NAME") from None


def _limit(rule: BudgetRule, text: str) -> Decimal | None:
    """A limit that every store counts exactly."""
    from tiered_llm.budgets.ledger import MAX_PARTS

    if text.strip().lower() == "none":
        return None
    most = rule.units(MAX_PARTS)
    try:
        limit = Decimal(text)
        fits = 0 <= limit <= most and rule.units(rule.parts(limit)) == limit
    except ArithmeticError:
        fits = False
    if not fits:
        unit = "whole tokens" if rule.unit == "tokens" else rule.unit
        msg = f"{text!r} is no limit; write 0 to {most:f} {unit}, or none"
        raise typer.BadParameter(msg, param_hint="LIMIT")
    return limit


def _own_limit(
    manager: BudgetManager, rule: BudgetRule, tenant: str | None, period: str
) -> Decimal | None:
    """What holds where nothing is set in the store."""
    own = manager.plan.tenant_limits.get(tenant or "", {})
    given = own.get(f"{rule.name}/{period}")
    parts = rule.limit_of(period) if given is None else rule.parts(given)
    return None if parts is None else rule.units(parts)


budget = typer.Typer(
    help="See and set what tenants may use, in the store that applications share.\n\n"
    "Example: [bold]tiered-llm budget show --tenant acme[/bold]",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
)
budget.command("show")(show)
budget.command("set")(set_limit)
budget.command("alerts")(alerts)
budget.command("reconcile")(reconcile)
