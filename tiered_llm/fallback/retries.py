"""What a process may ask again: a share of its calls, so that an outage is not amplified."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tiered_llm.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from tiered_llm.clock import Clock

_PER_S = 1.0
"""What comes back each second: a process with few calls may always try again."""


class RetryBudget:
    """Counts the further attempts that a process may make.

    Every call pays in a share of one attempt, every second one attempt, and up to `reserve`
    is saved. Of n calls in t seconds, at most `reserve + share * n + t` are further attempts.
    Safe to use from many threads and event loops.
    """

    def __init__(self, share: float, reserve: int, clock: Clock = SYSTEM_CLOCK) -> None:
        """Start with the whole reserve.

        Args:
            share: What each call pays in, in [0, 1].
            reserve: The most that is saved.
            clock: Tells the seconds.
        """
        self._share, self._reserve, self._clock = share, max(reserve, 1), clock
        self._open = reserve > 0 or share > 0
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Be as new."""
        with self._lock:
            self._saved, self._paid_s = float(self._reserve), self._clock.monotonic_s()

    @property
    def saved(self) -> float:
        """Further attempts that could be made now."""
        with self._lock:
            return self._filled() if self._open else 0.0

    def pay_in(self) -> None:
        """Count a call."""
        with self._lock:
            self._saved = min(self._saved + self._share, self._reserve)

    def spend(self) -> bool:
        """Take leave for one further attempt; False if there is none to be had."""
        with self._lock:
            self._saved = self._filled()
            if not self._open or self._saved < 1:
                return False
            self._saved -= 1
            return True

    def _filled(self) -> float:
        now_s = self._clock.monotonic_s()
        earned, self._paid_s = _PER_S * (now_s - self._paid_s), now_s
        self._saved = min(self._saved + earned, self._reserve)
        return self._saved
