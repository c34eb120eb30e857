"""Latencies counted in fixed buckets, so that histograms of any hours and processes add up.

The boundaries are those of OpenTelemetry's `gen_ai.client.operation.duration` (10 ms doubled
up to 81.92 s), each interval divided into four equal ratios, and the series continued to
1.25 ms and to 1,310.72 s. A bucket holds what is above its lower boundary and not above its
upper one, as OpenTelemetry's do, so every fourth boundary gives the convention's own buckets.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_FIRST_S, _OCTAVES, STEPS = 0.00125, 20, 4

BOUNDS_S: tuple[float, ...] = tuple(
    _FIRST_S * 2**octave * float(2 ** (step / STEPS))
    for octave in range(_OCTAVES + 1)
    for step in range(STEPS if octave < _OCTAVES else 1)
)
"""Upper boundaries in seconds; what is above the last one is in a bucket of its own."""

RATIO = 2 ** (1 / STEPS)
"""A quantile's estimate is at most this many times too high or too low, within the bounds."""


def bucket_of(seconds: float) -> int:
    """The number of the bucket that a duration is counted in."""
    return bisect_left(BOUNDS_S, seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyHistogram:
    """Durations, counted. Merging is exact, in any order.

    Attributes:
        counts: Durations in each bucket, by its number; empty ones are left out.
        sum_us: All durations together, in microseconds.
        max_us: The longest one, in microseconds.
    """

    counts: Mapping[int, int] = field(default_factory=dict)
    sum_us: int = 0
    max_us: int = 0

    @classmethod
    def of(cls, *seconds: float) -> LatencyHistogram:
        """The histogram of some durations."""
        counts: dict[int, int] = {}
        for each in seconds:
            counts[bucket_of(each)] = counts.get(bucket_of(each), 0) + 1
        us = [microseconds(each) for each in seconds]
        return cls(counts=counts, sum_us=sum(us), max_us=max(us, default=0))

    @property
    def total(self) -> int:
        """How many durations."""
        return sum(self.counts.values())

    @property
    def mean_s(self) -> float | None:
        """Their mean in seconds; None if there are none."""
        return self.sum_us / self.total / 1e6 if self.total else None

    def merged(self, other: LatencyHistogram) -> LatencyHistogram:
        """Both together."""
        counts = dict(self.counts)
        for bucket, count in other.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
        return LatencyHistogram(
            counts=counts,
            sum_us=self.sum_us + other.sum_us,
            max_us=max(self.max_us, other.max_us),
        )

    def quantile_s(self, share: float) -> float | None:
        """The duration, in seconds, that a share of all does not exceed; None if there are none.

        The true one, the `ceil(share * total)`-th smallest, is in the same bucket. So the
        estimate is at most `RATIO` (1.19) times too high or too low from 1.25 ms to 1,311 s,
        1.25 ms wrong below, and between 1,311 s and the longest above.

        Raises:
            ValueError: The share is not in [0, 1].
        """
        if not 0 <= share <= 1:
            msg = "a quantile's share is a number from 0 to 1"
            raise ValueError(msg)
        if not self.total:
            return None
        rank = max(1, ceil(share * self.total))
        buckets = sorted(self.counts)
        reached = list(accumulate(self.counts[bucket] for bucket in buckets))
        at = bisect_left(reached, rank)
        before = reached[at] - self.counts[buckets[at]]
        within = (rank - before) / self.counts[buckets[at]]
        return min(_between(buckets[at], within, self.max_us / 1e6), self.max_us / 1e6)


def _between(bucket: int, within: float, longest_s: float) -> float:
    """A point of a bucket: by ratio, as its boundaries are; by difference in the first one."""
    if bucket == 0:
        return BOUNDS_S[0] * within
    low = BOUNDS_S[bucket - 1]
    high = BOUNDS_S[bucket] if bucket < len(BOUNDS_S) else max(low, longest_s)
    return low * float((high / low) ** within)


def microseconds(seconds: float) -> int:
    """Seconds as whole microseconds, so that sums do not depend on their order."""
    return round(seconds * 1_000_000)
