"""A circuit breaker: an endpoint that keeps failing is left alone, then asked a little.

Its phases are values; `Breaker` adds the lock, the clock, the dice, and the cooldown that a
429 asks for.
"""

from __future__ import annotations

import math
import random
import threading
from typing import TYPE_CHECKING

from tiered_llm.clock import SYSTEM_CLOCK
from tiered_llm.fallback.phases import (
    Closed,
    Open,
    Outcome,
    advance,
    count,
    free_at_s,
    grant,
    release,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiered_llm.clock import Clock
    from tiered_llm.fallback.phases import Phase, State
    from tiered_llm.settings import BreakerSettings

_LONGEST_COOLDOWN_S = 3600.0  # a server's slip must not eject it for good


class Permit:
    """Leave for one call, to be settled when the call ends, however it ends."""

    __slots__ = ("_breaker", "generation", "lease_s", "settled")

    def __init__(self, breaker: Breaker, generation: int, lease_s: float) -> None:
        """Note whom to tell, and in which phase and until when a place is held."""
        self._breaker, self.generation, self.lease_s = breaker, generation, lease_s
        self.settled = False

    def settle(
        self, outcome: Outcome, duration_s: float = 0.0, *, retry_after_s: float | None = None
    ) -> None:
        """Say how the call went, from any thread; only the first word counts.

        Args:
            outcome: What it says of the endpoint.
            duration_s: Seconds to hold against `slow_s`.
            retry_after_s: What a 429 asks for, kept to an hour; `open_s` where it asks nothing.
        """
        self._breaker.settle(self, outcome, duration_s, retry_after_s)


class Breaker:
    """The breaker of one provider, endpoint and model, for threads and event loops alike.

    ```python
    permit = breaker.try_acquire()
    if permit is not None:
        permit.settle(Outcome.SUCCESS, duration_s)
    ```

    Nothing here waits. `on_change(old, new)` is called outside the lock, by the first
    `try_acquire` or `settle` that notices the change, and must not raise.
    """

    def __init__(
        self,
        policy: BreakerSettings,
        clock: Clock = SYSTEM_CLOCK,
        rng: Callable[[], float] = random.random,
        on_change: Callable[[State, State], None] | None = None,
    ) -> None:
        """Start closed; `rng` draws from [0, 1)."""
        self._policy, self._clock, self._rng, self._on_change = policy, clock, rng, on_change
        self._phase: Phase = Closed()
        self._generation = 0  # a call counts only in the phase that granted it
        self._cool_until_s = -math.inf
        self._told: State = "closed"
        self._lock = threading.RLock()  # a garbage-collected stream may settle within a call

    @property
    def state(self) -> State:
        """What the breaker does with calls; `cooldown` where only a 429 stands in the way."""
        with self._lock:
            return self._state(*self._look())

    @property
    def remaining_s(self) -> float:
        """Seconds until a call is let through, at the latest; 0.0 for at once."""
        with self._lock:
            now_s, phase = self._look()
            return max(0.0, self._free_at_s(phase) - now_s)

    @property
    def available(self) -> bool:
        """Whether `try_acquire` would be granted now; takes nothing."""
        return self.at_ease or self.remaining_s == 0.0

    @property
    def at_ease(self) -> bool:
        """Whether it is closed and no 429 ever stood in the way: told without the lock."""
        return type(self._phase) is Closed and self._cool_until_s == -math.inf

    def reset(self) -> None:
        """Be as new; calls under way no longer count."""
        with self._lock:
            self._generation += 1
            self._phase, self._cool_until_s, self._told = Closed(), -math.inf, "closed"

    def try_acquire(self) -> Permit | None:
        """Leave for one call, or None: open, cooling down, or all probes under way."""
        if self.at_ease:  # a closed breaker counts a call when it ends, and takes nothing before
            return Permit(self, self._generation, math.inf)
        with self._lock:
            now_s, phase = self._look()
            free = now_s >= self._free_at_s(phase)
            lease_s = now_s + self._policy.probe_lease_s
            change = self._move(now_s, grant(phase, lease_s) if free else phase)
            permit = Permit(self, self._generation, lease_s)
        self._tell(*change)
        return permit if free else None

    def settle(
        self, permit: Permit, outcome: Outcome, duration_s: float, asked_s: float | None
    ) -> None:
        """What `Permit.settle` does."""
        policy = self._policy
        with self._lock:
            if permit.settled:
                return
            permit.settled = True
            now_s, phase = self._look()
            if outcome is Outcome.COOLDOWN:
                cool_s = min(policy.open_s if asked_s is None else asked_s, _LONGEST_COOLDOWN_S)
                self._cool_until_s = max(self._cool_until_s, now_s + cool_s)
            if permit.generation == self._generation:
                phase = release(phase, permit.lease_s)
                if outcome is Outcome.SUCCESS or outcome is Outcome.FAILURE:
                    bad = outcome is Outcome.FAILURE or duration_s > (policy.slow_s or math.inf)
                    phase = count(phase, bad, now_s, policy, self._rng)
                    if type(phase) is Closed and self.at_ease:
                        self._phase = phase
                        return
            change = self._move(now_s, phase)
        self._tell(*change)

    def _look(self) -> tuple[float, Phase]:
        now_s = self._clock.monotonic_s()
        return now_s, advance(self._phase, now_s)

    def _free_at_s(self, phase: Phase) -> float:
        return max(self._cool_until_s, free_at_s(phase, self._policy))

    def _state(self, now_s: float, phase: Phase) -> State:
        cooling = now_s < self._cool_until_s and not isinstance(phase, Open)
        return "cooldown" if cooling else phase.state

    def _move(self, now_s: float, phase: Phase) -> tuple[State, State]:
        """Take up a phase; what was last told, and what is to be told now."""
        if now_s >= self._cool_until_s:
            self._cool_until_s = -math.inf
        self._generation += phase.state != self._phase.state
        self._phase, old = phase, self._told
        self._told = self._state(now_s, phase)
        return old, self._told

    def _tell(self, old: State, new: State) -> None:
        if self._on_change is not None and old != new:
            self._on_change(old, new)
