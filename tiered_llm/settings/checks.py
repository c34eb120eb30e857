"""What no single setting shows: order, sums, and tiers that must exist."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from tiered_llm.settings.sections import DEFAULT_WEIGHTS
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

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
