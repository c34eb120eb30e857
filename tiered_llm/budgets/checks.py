"""A manager's arguments, checked when they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tiered_llm.budgets.ledger import MAX_PARTS
from tiered_llm.budgets.plan import PERIODS, TRACKING, zone_info
from tiered_llm.budgets.rules import BudgetRule
from tiered_llm.errors import ConfigurationError, Problem
from tiered_llm.settings.budget import DEFAULT_RULE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from decimal import Decimal

    from tiered_llm.budgets.windows import Period
    from tiered_llm.settings import BudgetSettings


OnOrphan = Literal["charge", "release"]
OnStoreError = Literal["deny", "allow"]


def rules_from(daily: int | None, monthly: int | None) -> tuple[BudgetRule, ...]:
    """The one rule of the two default limits."""
    return (BudgetRule(name=DEFAULT_RULE, daily=daily, monthly=monthly),)


def rules_of(settings: BudgetSettings) -> tuple[BudgetRule, ...] | None:
    """The rules that settings name; None where they name none."""
    return tuple(BudgetRule(**rule.model_dump()) for rule in settings.rules) or None


def checked_allowance(
    rules: Sequence[BudgetRule], on_store_error: OnStoreError | None, allowance: int | None
) -> int | None:
    """Tokens that may be used while the store is away: 0 for none, None for any number.

    Raises:
        ConfigurationError: An unknown posture, or one that its allowance contradicts.
    """
    if on_store_error not in {None, "deny", "allow"}:
        wrong = f"{on_store_error!r} cannot work"
        raise refusal(key="on_store_error", wrong=wrong, right="'deny' or 'allow'")
    if on_store_error is None and allowance and all(rule.mode == "soft" for rule in rules):
        return allowance
    if on_store_error is None and allowance:
        right = "name on_store_error='allow' with it"
        raise refusal(key="store_error_allowance", wrong="an allowance alone", right=right)
    if on_store_error is None:
        return None if all(rule.mode == "soft" for rule in rules) else 0
    if on_store_error == "deny":
        return 0
    if not allowance or allowance < 0:
        right = "the tokens that one process may use while the store is away, above 0"
        raise refusal(key="store_error_allowance", wrong="'allow' without one", right=right)
    return allowance


def checked_rules(rules: Sequence[BudgetRule]) -> tuple[BudgetRule, ...]:
    """Rules with names of their own.

    Raises:
        ConfigurationError: There is none, or two share a name.
    """
    names = [rule.name for rule in rules]
    if not rules:
        raise refusal(key="rules", wrong="there is none", right="give at least one BudgetRule")
    if len(set(names)) < len(names) or TRACKING.name in names:
        wrong = f"names that cannot work: {', '.join(names)}"
        raise refusal(key="rules", wrong=wrong, right=f"each its own, and none {TRACKING.name!r}")
    return tuple(rules)


def checked_thresholds(thresholds: Sequence[int]) -> tuple[int, ...]:
    """Percents in ascending order, none twice.

    Raises:
        ConfigurationError: Something that is no whole percent.
    """
    if not all(isinstance(each, int) and 0 < each <= 100 for each in thresholds):  # noqa: PLR2004
        wrong = f"{list(thresholds)} cannot work"
        raise refusal(key="thresholds", wrong=wrong, right="whole percents, 1 to 100")
    return tuple(sorted(set(thresholds)))


def checked_zone(
    zone: str | Callable[[str | None], str],
) -> Callable[[str | None], str]:
    """A tenant's id → its time zone; one zone for all is checked at once.

    Raises:
        ConfigurationError: There is no such zone.
    """
    if callable(zone):
        return zone
    zone_info(zone)
    return lambda _tenant: zone


def checked_limits(
    rules: Sequence[BudgetRule], limits: Mapping[str, Mapping[str, float | Decimal]]
) -> dict[str, dict[str, float | Decimal]]:
    """Tenants' own limits by the full names of their budgets.

    Raises:
        ConfigurationError: There is no such budget, or no such limit.
    """
    found: dict[str, dict[str, float | Decimal]] = {}
    for tenant, own in limits.items():
        found[tenant] = {}
        for name, limit in own.items():
            rule, period = named_rule(rules, name)
            checked_parts(rule, name, limit)
            found[tenant][f"{rule.name}/{period}"] = limit
    return found


def named_rule(rules: Sequence[BudgetRule], name: str) -> tuple[BudgetRule, Period]:
    """The rule and period of `"rule/period"`; a period alone stands for the first rule's.

    Raises:
        ConfigurationError: There is no such budget.
    """
    first, _, period = name.rpartition("/")
    for rule in rules:
        if rule.name == (first or rules[0].name) and period in PERIODS:
            return rule, period
    known = ", ".join(f"{rule.name}/{period}" for rule in rules for period in PERIODS)
    raise refusal(key=name, wrong="there is no such budget", right=f"use one of {known}")


def refusal(*, key: str, wrong: str, right: str) -> ConfigurationError:
    """The error of one argument."""
    return ConfigurationError([Problem(source="arguments", key=key, wrong=wrong, right=right)])


def checked_parts(rule: BudgetRule, name: str, limit: float | Decimal) -> int:
    """A limit in the ledger's parts.

    Raises:
        ConfigurationError: One that no store can hold exactly, or below 0.
    """
    try:
        parts = rule.parts(limit)
    except (ArithmeticError, ValueError):
        parts = -1
    if not 0 <= parts <= MAX_PARTS:
        right = f"from 0 to {rule.units(MAX_PARTS):,f} {rule.unit}"
        raise refusal(key=name, wrong=f"a limit of {limit} cannot work", right=right)
    return parts
