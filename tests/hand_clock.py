"""A clock that a test sets by hand; waiting moves it, and is written down."""

from __future__ import annotations

from datetime import UTC, datetime


class HandClock:
    def __init__(self, now_s=1_000.0):
        self.now_s, self.waits = now_s, []

    def now(self):
        return datetime.fromtimestamp(self.now_s, UTC)

    def monotonic_s(self):
        return self.now_s

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now_s += seconds

    async def asleep(self, seconds):
        self.sleep(seconds)
