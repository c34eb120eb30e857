"""A circuit breaker's phases as values, and the functions that lead from one to the next.

Nothing here reads a clock, draws a number or holds a lock: `Breaker` does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiered_llm.settings import BreakerSettings

State: TypeAlias = Literal["closed", "open", "half_open", "cooldown"]
Buckets: TypeAlias = tuple[tuple[int, int, int], ...]  # number, calls, bad calls; oldest first
_BUCKETS = 30  # parts of a window: what bounds its memory, and the grain in which calls leave it


class Outcome(StrEnum):
    """What the end of a call says of its endpoint."""

    SUCCESS = "success"
    FAILURE = "failure"  # before the answer, or in the middle of its stream
    NEUTRAL = "neutral"  # cancelled, misconfigured, a bad request: says nothing, never counts
    COOLDOWN = "cooldown"  # 429: refuses for a while, never counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """Lets every call through and counts how the last ones went; `calls` and `bads` are sums."""

    state: ClassVar[State] = "closed"
    buckets: Buckets = ()
    calls: int = 0
    bads: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Refuses every call before `until_s`; `open_s` is its length before jitter."""

    state: ClassVar[State] = "open"
    open_s: float
    until_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfOpen:
    """Lets probes through; each lease is the time at which a probe's place is given away."""

    state: ClassVar[State] = "half_open"
    open_s: float
    good: int = 0
    leases: tuple[float, ...] = ()


Phase: TypeAlias = Closed | Open | HalfOpen


def advance(phase: Phase, now_s: float) -> Phase:
    """What time alone makes of a phase: open becomes half-open, dead leases fall away."""
    if isinstance(phase, Open) and now_s >= phase.until_s:
        return HalfOpen(open_s=phase.open_s)
    if isinstance(phase, HalfOpen):
        return replace(phase, leases=tuple(end_s for end_s in phase.leases if now_s < end_s))
    return phase


def free_at_s(phase: Phase, policy: BreakerSettings) -> float:
    """When a call is let through at the latest; -inf for at once."""
    if isinstance(phase, HalfOpen) and len(phase.leases) >= policy.probes:
        return min(phase.leases)
    return phase.until_s if isinstance(phase, Open) else -math.inf


def grant(phase: Phase, lease_s: float) -> Phase:
    """The phase with one more call under way, which holds its place until `lease_s`."""
    if isinstance(phase, HalfOpen):
        return replace(phase, leases=(*phase.leases, lease_s))
    return phase


def release(phase: Phase, lease_s: float) -> Phase:
    """The phase with a call's place free again, if the call still held one."""
    if not isinstance(phase, HalfOpen) or lease_s not in phase.leases:
        return phase
    at = phase.leases.index(lease_s)
    return replace(phase, leases=phase.leases[:at] + phase.leases[at + 1 :])


def count(
    phase: Phase, bad: bool, now_s: float, policy: BreakerSettings, draw: Callable[[], float]
) -> Phase:
    """The phase after one of its calls went well or badly; `draw` from [0, 1) sets the jitter."""
    if isinstance(phase, Open):
        return phase
    if isinstance(phase, HalfOpen):
        if bad:
            return _opened(min(2 * phase.open_s, policy.max_open_s), now_s, policy, draw)
        good = phase.good + 1
        return Closed() if good >= policy.probes else replace(phase, good=good)
    counted = _counted(phase, bad, math.floor(now_s * _BUCKETS / policy.window_s))
    if counted.calls < policy.min_calls or counted.bads / counted.calls < policy.failure_ratio:
        return counted
    return _opened(policy.open_s, now_s, policy, draw)


def _counted(phase: Closed, bad: bool, number: int) -> Closed:
    """The phase with one more call in the bucket of that number."""
    if phase.buckets and phase.buckets[-1][0] == number:
        *others, (_, calls, bads) = phase.buckets
        buckets = (*others, (number, calls + 1, bads + bad))
        return Closed(buckets=buckets, calls=phase.calls + 1, bads=phase.bads + bad)
    kept = tuple(bucket for bucket in phase.buckets if number - _BUCKETS < bucket[0] < number)
    calls, bads = (sum(bucket[part] for bucket in kept) for part in (1, 2))
    return Closed(buckets=(*kept, (number, 1, int(bad))), calls=calls + 1, bads=bads + bad)


def _opened(
    open_s: float, now_s: float, policy: BreakerSettings, draw: Callable[[], float]
) -> Open:
    jittered_s = open_s * (1 + policy.jitter * (2 * draw() - 1))
    return Open(open_s=open_s, until_s=now_s + jittered_s)
