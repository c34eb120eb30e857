"""What all attempts of a chain go by."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tiered_llm.fallback.faults import DEFAULT_FAULTS, FaultTable
from tiered_llm.fallback.health import PROCESS_HEALTH, Health
from tiered_llm.settings import BreakerSettings, FallbackSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiered_llm.clock import Clock
    from tiered_llm.fallback.retries import RetryBudget


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackPolicy:
    """How faults are told, how far a call goes on, and when an endpoint is left alone.

    Attributes:
        fallback: Bounds of attempts, waits and time.
        breaker: When an endpoint is left alone.
        faults: Which errors are which fault, and what each leads to.
        health: The breakers and the retry budget; the process's own unless given.
        rng: Draws from [0, 1) for the jitter of waits.
    """

    fallback: FallbackSettings = field(default_factory=FallbackSettings)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    faults: FaultTable = DEFAULT_FAULTS
    health: Health = PROCESS_HEALTH
    rng: Callable[[], float] = random.random

    @property
    def clock(self) -> Clock:
        """The clock that breakers and deadlines are read from."""
        return self.health.clock

    @property
    def retries(self) -> RetryBudget:
        """The process's budget of further attempts."""
        return self.health.retries(self.fallback)

    def wait_s(self, tries: int) -> float:
        """The wait before a tier is asked again that has failed so many times, in seconds."""
        return self.fallback.wait_s * 2.0 ** (tries - 1) * (1 - self.rng() / 2)
