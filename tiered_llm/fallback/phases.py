"""A circuit breaker's phases as values, and the functions that lead from one to the next.

Nothing here reads a clock, draws a number or holds a lock: `Breaker` does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, Literal, TypeAlias

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
class BreakerPolicy:
    """When to open, for how long, and how to probe; ValueError for what cannot work.

    Attributes:
        window_s: Seconds of calls looked at while closed, in steps of a thirtieth.
        min_calls: Calls in the window below which it never opens.
        failure_ratio: Share of bad calls, failed or slow, in (0, 1], at which it opens.
        slow_s: Seconds beyond which a success is bad all the same; None for no bound.
        open_s: First open time; each reopening doubles it, closing resets it.
        max_open_s: Longest open time, before jitter.
        jitter: Share in [0, 1) by which an open time varies, up or down.
        probes: Calls under way at once while half-open, 1 to 3; as many good ones close it.
        probe_lease_s: Seconds after which the place of an unsettled probe is given away.
            Longer than any call, else more than `probes` may be under way.
    """

    window_s: float = 30.0
    min_calls: int = 10
    failure_ratio: float = 0.5
    slow_s: float | None = None
    open_s: float = 5.0
    max_open_s: float = 120.0
    jitter: float = 0.2
    probes: int = 2
    probe_lease_s: float = 150.0  # a tier waits 120 s by default

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming what would."""
        for name, holds, right in (
            ("window_s", 0 < self.window_s < math.inf, "finite and above 0"),
            ("min_calls", self.min_calls >= 1, "1 or more"),
            ("failure_ratio", 0 < self.failure_ratio <= 1, "above 0 and at most 1"),
            ("slow_s", self.slow_s is None or self.slow_s > 0, "None or above 0"),
            ("open_s", 0 < self.open_s < math.inf, "finite and above 0"),
            ("max_open_s", self.open_s <= self.max_open_s < math.inf, "finite, open_s or more"),
            ("jitter", 0 <= self.jitter < 1, "0 or more and below 1"),
            ("probes", self.probes in {1, 2, 3}, "1, 2 or 3"),
            ("probe_lease_s", 0 < self.probe_lease_s < math.inf, "finite and above 0"),
        ):
            if not holds:
                msg = f"{name}={getattr(self, name)!r} cannot work; it must be {right}"
                raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """Lets every call through and counts how the last ones went."""

    state: ClassVar[State] = "closed"
    buckets: Buckets = ()


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


def free_at_s(phase: Phase, policy: BreakerPolicy) -> float:
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


def count(phase: Phase, bad: bool, now_s: float, policy: BreakerPolicy, draw: float) -> Phase:
    """The phase after one of its calls went well or badly; `draw` in [0, 1) sets the jitter."""
    if isinstance(phase, Open):
        return phase
    if isinstance(phase, HalfOpen):
        if bad:
            return _opened(min(2 * phase.open_s, policy.max_open_s), now_s, policy, draw)
        good = phase.good + 1
        return Closed() if good >= policy.probes else replace(phase, good=good)
    buckets = _add(phase.buckets, bad, now_s, policy)
    calls, bads = (sum(bucket[part] for bucket in buckets) for part in (1, 2))
    if calls >= policy.min_calls and bads / calls >= policy.failure_ratio:
        return _opened(policy.open_s, now_s, policy, draw)
    return Closed(buckets=buckets)


def _add(buckets: Buckets, bad: bool, now_s: float, policy: BreakerPolicy) -> Buckets:
    number = math.floor(now_s * _BUCKETS / policy.window_s)
    kept = tuple(bucket for bucket in buckets if number - _BUCKETS < bucket[0] < number)
    _, calls, bads = buckets[-1] if buckets and buckets[-1][0] == number else (number, 0, 0)
    return (*kept, (number, calls + 1, bads + bad))


def _opened(open_s: float, now_s: float, policy: BreakerPolicy, draw: float) -> Open:
    jittered_s = open_s * (1 + policy.jitter * (2 * draw - 1))
    return Open(open_s=open_s, until_s=now_s + jittered_s)
