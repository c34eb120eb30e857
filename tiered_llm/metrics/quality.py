"""Feedback on answers, by tier and score band, with the uncertainty of what little there is."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

from tiered_llm.metrics.reports import band_edges
from tiered_llm.metrics.tally import MILLION, family
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Mapping

Z_95 = 1.959963984540054
"""The normal distribution's 97.5 % quantile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Feedback on some answers.

    Attributes:
        count: How many were judged.
        good: The sum of their scores; with thumbs, how many were good.
    """

    count: int = 0
    good: float = 0.0

    def __add__(self, other: Quality) -> Quality:
        """Both together."""
        return Quality(count=self.count + other.count, good=self.good + other.good)

    @property
    def interval(self) -> tuple[float, float]:
        """The Wilson interval of the mean, at 95 %."""
        return wilson(self.good, self.count)

    def report(self) -> dict[str, Any]:
        """Plain values; the mean is None where nothing was judged."""
        low, high = self.interval
        mean = self.good / self.count if self.count else None
        return {"count": self.count, "mean": mean, "low": low, "high": high}


def wilson(good: float, count: int, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953).

    Scores between 0 and 1 vary less than thumbs of the same mean, so for them it is too wide
    rather than too narrow.

    Returns:
        Its ends within [0, 1]; all of [0, 1] where nothing was counted.
    """
    if not count:
        return 0.0, 1.0
    share, square = good / count, z * z
    middle = (share + square / (2 * count)) / (1 + square / count)
    spread = z * sqrt(share * (1 - share) / count + square / (4 * count * count))
    half = spread / (1 + square / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def quality(counters: Mapping[str, int]) -> dict[str, Any]:
    """Quality by tier, by tier and band, and the bands where a tier does worse than the next."""
    cells = _cells(counters)
    tiers = {tier: _sum_of(cells, tier) for tier in Tier}
    return {
        "tiers": {tier.value: found.report() for tier, found in tiers.items()},
        "bands": [
            {"tier": tier.value, **band_edges(band), **found.report()}
            for (tier, band), found in sorted(cells.items(), key=lambda cell: cell[0][::-1])
        ],
        "flags": [
            flag
            for (tier, band) in sorted(cells, key=lambda cell: cell[::-1])
            if (flag := _flag(cells, tiers, tier, band))
        ],
    }


def _flag(
    cells: Mapping[tuple[Tier, int], Quality],
    tiers: Mapping[Tier, Quality],
    tier: Tier,
    band: int,
) -> dict[str, Any] | None:
    """A band where a tier's interval lies wholly below the next tier's.

    The next tier is compared in the same band, and where it was not judged there, over all
    bands: it was then judged on harder requests. Intervals that do not overlap are a strict
    test (about 0.6 % false alarms for each band instead of 5 %), which is wanted where up to
    twenty bands are looked at together; and a reader sees it in the table.
    """
    above = next((other for other in Tier if other > tier and tiers[other].count), None)
    if above is None:
        return None
    against, there = "band", cells.get((above, band), Quality())
    if not there.count:
        against, there = "tier", tiers[above]
    here = cells[tier, band]
    if here.interval[1] >= there.interval[0]:
        return None
    return {
        "tier": tier.value,
        **band_edges(band),
        "high": here.interval[1],
        "next_tier": above.value,
        "next_low": there.interval[0],
        "against": against,
    }


def _cells(counters: Mapping[str, int]) -> dict[tuple[Tier, int], Quality]:
    found: dict[tuple[Tier, int], Quality] = {}
    for (tier, band, what), value in family(counters, "q", 3):
        cell = (Tier(tier), int(band))
        more = Quality(count=value) if what == "n" else Quality(good=value / MILLION)
        found[cell] = found.get(cell, Quality()) + more
    return found


def _sum_of(cells: Mapping[tuple[Tier, int], Quality], tier: Tier) -> Quality:
    return sum((found for (whose, _), found in cells.items() if whose is tier), Quality())
