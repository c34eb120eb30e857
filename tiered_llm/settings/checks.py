"""What no single setting shows: order, sums, and tiers that must exist."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from tiered_llm.settings.budget import LARGEST, PERIODS
from tiered_llm.settings.sections import DEFAULT_WEIGHTS
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from decimal import Decimal

    from tiered_llm.settings.budget import BudgetSettings
    from tiered_llm.settings.catalogue import Path
    from tiered_llm.settings.model import Settings
    from tiered_llm.tiers import TierSpec

_WORD_LISTS = ("keywords", "extra_keywords", "capabilities", "extra_capabilities")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong between settings that are each fine alone.

    Attributes:
        paths: The settings that it is about, the likeliest culprit first.
        wrong: What is wrong.
        right: What would be right.
    """

    paths: tuple[Path, ...]
    wrong: str
    right: str


def check(settings: Settings) -> list[Finding]:
    """All findings, in the order in which the settings are declared."""
    tiers = settings.tiers
    return [
        *_some_tier(tiers),
        *_names_of_specs(settings),
        *_windows(tiers),
        *_cost_order(tiers),
        *_named_tiers(settings, tiers),
        *_thresholds(settings),
        *_weights(settings.complexity.weights),
        *_strengths(settings),
        *_reserve(settings, tiers),
        *_open_times(settings),
        *_allowance(settings.budget),
        *_rules(settings.budget),
        *_tenants(settings.budget),
        *_default_limits(settings),
    ]


def _some_tier(tiers: Mapping[Tier, TierSpec]) -> Iterator[Finding]:
    if not tiers:
        paths = tuple((tier.value, "model_id") for tier in Tier)
        yield Finding(paths, "every tier is switched off", "leave at least one tier on")


def _names_of_specs(settings: Settings) -> Iterator[Finding]:
    for tier, spec in settings.tiers.items():
        if spec.tier != tier:
            wrong = f"holds the spec of tier {spec.tier.value}"
            yield Finding(((tier.value, "tier"),), wrong, f"give TierSpec(tier={tier.value!r}, …)")


def _windows(tiers: Mapping[Tier, TierSpec]) -> Iterator[Finding]:
    for tier, spec in tiers.items():
        for name in ("num_ctx", "max_output_tokens"):
            tokens = getattr(spec, name)
            if tokens is not None and tokens > spec.context_window:
                wrong = f"{tokens} tokens exceed the context window of {spec.context_window}"
                paths = ((tier.value, name), (tier.value, "context_window"))
                yield Finding(paths, wrong, f"at most {spec.context_window}, or a larger window")


def _cost_order(tiers: Mapping[Tier, TierSpec]) -> Iterator[Finding]:
    for (low, cheap), (high, dear) in pairwise(tiers.items()):
        if cheap.cost_weight > dear.cost_weight:
            wrong = (
                f"the {low.value} tier is costlier than the {high.value} tier: "
                f"weight {cheap.cost_weight} against {dear.cost_weight}"
            )
            paths = ((low.value, "cost_weight"), (high.value, "cost_weight"))
            yield Finding(paths, wrong, "weights must not fall from light to heavy")


def _named_tiers(settings: Settings, tiers: Mapping[Tier, TierSpec]) -> Iterator[Finding]:
    fixed = settings.fixed_tier
    if fixed is not None and fixed not in tiers:
        names = ", ".join(tier.value for tier in tiers)
        yield Finding(
            (("fixed_tier",), (fixed.value, "model_id")),
            f"names the tier {fixed.value}, which is switched off",
            f"name one that is on ({names}), or switch {fixed.value} on",
        )


def _thresholds(settings: Settings) -> Iterator[Finding]:
    low, high = settings.complexity.light_below, settings.complexity.heavy_from
    if low > high:
        yield Finding(
            (("complexity", "light_below"), ("complexity", "heavy_from")),
            f"thresholds out of order: light_below {low} is above heavy_from {high}",
            "light_below must not exceed heavy_from",
        )


def _weights(weights: Mapping[str, float]) -> Iterator[Finding]:
    place = ("complexity", "weights")
    names = ", ".join(DEFAULT_WEIGHTS)
    for name in weights.keys() - DEFAULT_WEIGHTS.keys():
        yield Finding(((*place, name),), "unknown factor", f"the factors are {names}")
    for name in DEFAULT_WEIGHTS.keys() - weights.keys():
        yield Finding(((*place, name),), "this factor has no weight", "give it one; 0 is allowed")
    yield from _outside(place, weights)
    total = math.fsum(weights.values())
    if weights.keys() == DEFAULT_WEIGHTS.keys() and not math.isclose(total, 1, abs_tol=1e-6):
        paths = tuple((*place, name) for name in weights)
        yield Finding(paths, f"the weights sum to {total:.6g}", "the five must sum to 1")


def _strengths(settings: Settings) -> Iterator[Finding]:
    for name in _WORD_LISTS:
        yield from _outside(("complexity", name), getattr(settings.complexity, name) or {})


def _outside(place: Path, table: Mapping[str, float]) -> Iterable[Finding]:
    for name, value in table.items():
        if not 0 <= value <= 1:
            yield Finding(((*place, name),), f"{value} is out of range", "write 0 to 1")


def _reserve(settings: Settings, tiers: Mapping[Tier, TierSpec]) -> Iterator[Finding]:
    reserve = settings.routing.output_reserve_tokens
    largest = max((spec.window_tokens for spec in tiers.values()), default=None)
    if largest is not None and reserve >= largest:
        yield Finding(
            (("routing", "output_reserve_tokens"),),
            f"{reserve} tokens leave no tier room for a question",
            f"less than the largest window, {largest}",
        )


def _open_times(settings: Settings) -> Iterator[Finding]:
    first, longest = settings.breaker.open_s, settings.breaker.max_open_s
    if first > longest:
        yield Finding(
            (("breaker", "open_s"), ("breaker", "max_open_s")),
            f"the first open time, {first:g} s, is above the longest, {longest:g} s",
            "open_s must not exceed max_open_s",
        )


def _allowance(budget: BudgetSettings) -> Iterator[Finding]:
    paths = (("budget", "store_error_allowance"), ("budget", "on_store_error"))
    if budget.on_store_error == "allow" and not budget.store_error_allowance:
        wrong = "on_store_error is allow, and the allowance is 0 tokens"
        yield Finding(paths, wrong, "write the tokens that a process may use then, or deny")


def _rules(budget: BudgetSettings) -> Iterator[Finding]:
    seen: set[str] = set()
    for number, rule in enumerate(budget.rules):
        at = ("budget", "rules", str(number))
        if rule.name in seen:
            yield Finding(((*at, "name"),), f"a second rule {rule.name!r}", "give each its own")
        seen.add(rule.name)
        for period in PERIODS:
            limit = getattr(rule, period)
            if limit is not None and (right := _limit_right(limit, rule.unit)):
                wrong = f"rule {rule.name!r}: {limit} {rule.unit} cannot be counted"
                yield Finding(((*at, period),), wrong, right)


def _tenants(budget: BudgetSettings) -> Iterator[Finding]:
    """Says nothing of whose limit it is: a tenant's name may be a person's."""
    paths = (("budget", "tenants"), ("budget", "rules"))
    units = {f"{rule}/{p}": unit for rule, unit in budget.units.items() for p in PERIODS}
    found = [(budget.full_name(n), n, v) for t in budget.tenants.values() for n, v in t.items()]
    if unknown := sorted({name for full, name, _ in found if full not in units}):
        names = ", ".join((*PERIODS, *units))
        wrong = f"there is no budget {', '.join(map(repr, unknown))}"
        yield Finding(paths, wrong, f"known here: {names}")
    if any(len(set(map(budget.full_name, t))) < len(t) for t in budget.tenants.values()):
        yield Finding(paths, "one budget under two names for one tenant", "keep one of the two")
    wrongs = {(n, right) for f, n, v in found if (right := _limit_right(v, units.get(f, "")))}
    for name, right in sorted(wrongs):
        yield Finding(paths, f"a limit of {name!r} cannot be counted", right)


def _default_limits(settings: Settings) -> Iterator[Finding]:
    for name in ("token_budget_daily", "token_budget_monthly"):
        limit = getattr(settings, name)
        if limit > LARGEST["tokens"]:
            right = f"{LARGEST['tokens']} at most"
            yield Finding(((name,),), f"{limit} tokens cannot be counted", right)


def _limit_right(limit: Decimal, unit: str) -> str:
    """What would be right for a limit that no store counts exactly; empty if it is fine."""
    if unit == "tokens" and limit != int(limit):
        return "write whole tokens"
    return f"{LARGEST[unit]} {unit} at most" if limit > LARGEST.get(unit, limit) else ""
