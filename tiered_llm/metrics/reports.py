"""Counters of a period → which tier served what, how fast, and what went wrong."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tiered_llm.metrics.tally import BANDS, NOBODY, durations, family, total
from tiered_llm.records import OUTCOMES
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiered_llm.metrics.histogram import LatencyHistogram

TOKEN_PARTS = (
    ("input_tokens", "i"),
    ("output_tokens", "o"),
)


def distribution(counters: Mapping[str, int]) -> dict[str, Any]:
    """Calls by tier: who was chosen, who answered, for which tasks, at which scores."""
    asked: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    for (chosen, served, _), count in family(counters, "c", 3):
        asked[chosen] += count
        answered[served] += count
    calls, failed = sum(asked.values()), answered.pop(NOBODY, 0)
    served_at_all = calls - failed
    return {
        "calls": calls,
        "failed": failed,
        "tiers": {
            tier.value: {
                "asked": asked[tier.value],
                "answered": answered[tier.value],
                "share": _share(answered[tier.value], served_at_all),
                **tokens_of(counters, tier),
            }
            for tier in Tier
        },
        "tasks": _tasks(counters),
        "bands": bands(counters),
        **fallbacks(counters),
    }


def tokens_of(counters: Mapping[str, int], tier: Tier) -> dict[str, int]:
    """A tier's tokens, of all its attempts, measured and estimated."""
    found: Counter[str] = Counter()
    for (whose, _, _, part), count in family(counters, "k", 4):
        if whose == tier.value:
            found[part] += count
    return {name: found[part] for name, part in TOKEN_PARTS}


def bands(counters: Mapping[str, int]) -> list[dict[str, Any]]:
    """Calls by score band: how many each tier answered there; bands without calls left out."""
    found: dict[int, Counter[str]] = {}
    for (_, served, band), count in family(counters, "c", 3):
        found.setdefault(int(band), Counter())[served] += count
    return [
        {
            **band_edges(band),
            "calls": sum(served.values()),
            "failed": served[NOBODY],
            **{tier.value: served[tier.value] for tier in Tier},
        }
        for band, served in sorted(found.items())
    ]


def band_edges(band: int) -> dict[str, float]:
    """The scores that a band holds: from, and up to but not including, unless that is 1."""
    return {"from": band / BANDS, "to": (band + 1) / BANDS}


def fallbacks(counters: Mapping[str, int]) -> dict[str, Any]:
    """Calls that another tier than the chosen one answered, among those that were answered."""
    moved = answered = 0
    for (chosen, served, _), count in family(counters, "c", 3):
        answered += 0 if served == NOBODY else count
        moved += count if served not in {NOBODY, chosen} else 0
    return {"fallbacks": moved, "fallback_rate": _share(moved, answered)}


def faults(counters: Mapping[str, int]) -> dict[str, Any]:
    """What went wrong: outcomes and faults of attempts by tier, errors that callers got."""
    errors = {parts[0]: count for parts, count in family(counters, "e", 1)}
    by_tier: dict[str, dict[str, int]] = {tier.value: {} for tier in Tier}
    for (tier, fault), count in family(counters, "f", 2):
        by_tier[tier][fault] = count
    calls, attempts = total(counters, "c/"), total(counters, "a/")
    return {
        "calls": calls,
        "failed": sum(n for (_, served, _), n in family(counters, "c", 3) if served == NOBODY),
        **fallbacks(counters),
        "attempts": attempts,
        "outcomes": {
            tier.value: {end: total(counters, f"a/{tier.value}/{end}/") for end in OUTCOMES}
            for tier in Tier
        },
        "faults": by_tier,
        "errors": errors,
    }


def latency(counters: Mapping[str, int]) -> dict[str, Any]:
    """How long answers took, by tier: whole, and to the first token where they were streamed.

    Quantiles are off by at most a factor of 1.19; see `LatencyHistogram`.
    """
    return {
        tier.value: {
            **_spread(durations(counters, tier)),
            "first_token": _spread(durations(counters, tier, "f")),
        }
        for tier in Tier
    }


def _spread(histogram: LatencyHistogram) -> dict[str, Any]:
    return {
        "count": histogram.total,
        "mean_s": histogram.mean_s,
        "p50_s": histogram.quantile_s(0.50),
        "p95_s": histogram.quantile_s(0.95),
        "max_s": histogram.max_us / 1e6 if histogram.total else None,
    }


def _tasks(counters: Mapping[str, int]) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for (_, served, task), count in family(counters, "t", 3):
        found.setdefault(task, Counter())[served] += count
    return {
        task: {
            "calls": sum(served.values()),
            "failed": served[NOBODY],
            **{tier.value: served[tier.value] for tier in Tier},
        }
        for task, served in sorted(found.items())
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
