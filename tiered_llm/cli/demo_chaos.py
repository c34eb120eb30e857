"""What `demo --chaos` does: a tier's server is killed in the run's midst, and brought back."""

from __future__ import annotations

import logging
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from tiered_llm.cli.demo_outage import Event, Outage
from tiered_llm.fallback import Health
from tiered_llm.testing import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiered_llm.cli.backing import Backing
    from tiered_llm.fallback.phases import State
    from tiered_llm.settings import BreakerSettings, Settings
    from tiered_llm.tiers import Tier

_MIN_CALLS = 4
_FAILURES = 3
"""So many of them open the breaker, whatever came before the kill."""


class Victim:
    """A simulator that can be killed and brought back on its port."""

    def __init__(self, simulator: Simulator) -> None:
        """Take over a running simulator."""
        self._simulator = simulator
        self._held: socket.socket | None = None

    def kill(self) -> None:
        """Stop it: answers under way are cut, and connecting is refused.

        The port stays bound, so that nobody else listens there meanwhile.
        """
        port = int(self._simulator.url.rsplit(":", 1)[1])
        self._simulator.stop()
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", port))

    def revive(self) -> None:
        """Serve again, on the same port; does nothing if it was not killed."""
        if self._held is not None:
            port = self._held.getsockname()[1]
            self._let_go()
            self._simulator = Simulator(self._simulator.models.values(), port=port).start()

    def end(self) -> None:
        """Leave nothing behind."""
        self._let_go()
        self._simulator.stop()

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


class Chaos:
    """Kills the lightest tier after a quarter of the run, and brings it back after two thirds.

    A context manager; what it leaves behind is nothing, also after Ctrl-C.

    Attributes:
        health: What the model is to be given, so that the breaker can be looked at.
        settings: What the model is to be built from.
        outage: What happened so far.
    """

    def __init__(self, backing: Backing, planned: int, pace: float) -> None:
        """Plan the outage.

        Args:
            backing: Whoever answers: a simulator for each tier.
            planned: How many requests there are to be.
            pace: Factor on the simulated latencies.
        """
        tier = victim_of(backing.settings)
        self._kill_after = planned // 4
        self._back_after = max(self._kill_after + 1, 2 * planned // 3)
        policy = short_breaker(backing.settings.breaker, self._kill_after, open_s(planned, pace))
        self.health = Health()
        self.settings = backing.settings.model_copy(update={"breaker": policy})
        self.outage = Outage(tier=tier, policy=policy)
        self._configured = backing.settings.breaker
        self._victim = Victim(backing.simulators[tier])
        self._url = self.settings.tiers[tier].base_url
        self._unlogged = logging.NullHandler()

    def __enter__(self) -> Self:
        """Begin; the fallback's log is not printed, for the events tell the same."""
        logging.getLogger("tiered_llm.fallback").addHandler(self._unlogged)
        return self

    def __exit__(self, *_: object) -> None:
        """Put everything back."""
        logging.getLogger("tiered_llm.fallback").removeHandler(self._unlogged)
        self._victim.end()

    def plan(self) -> list[str]:
        """What is going to happen, and which breaker is in use, for a person."""
        tier, here, usual = self.outage.tier, self.outage.policy, self._configured
        due = f"after request {self._kill_after}, and comes back after request {self._back_after}"
        opens = f"opens after {here.min_calls} calls with {here.failure_ratio:.0%} failed"
        instead = f"{usual.min_calls} calls, {usual.failure_ratio:.0%} and {usual.open_s:g} s"
        return [
            f"{tier} is killed {due}",
            f"its breaker {opens} here, for {here.open_s:g} s; {instead} are configured",
        ]

    def events(self, done: int) -> Iterator[Event]:
        """Do what is due now that so many requests are over, and tell it."""
        tier, before = self.outage.tier, self.outage.breaker
        state = self._state()
        self.outage = replace(self.outage, breaker=state)
        if state != before:
            yield Event.changed(tier, done, state)
        if done == self._kill_after:
            self._victim.kill()
            self.outage = replace(self.outage, killed_after=done)
            yield Event.killed(tier, done, state)
        if done == self._back_after:
            self._victim.revive()
            self.outage = replace(self.outage, back_after=done)
            yield Event.back(tier, done, state)

    def _state(self) -> State:
        found = (e.state for e in self.health.snapshot() if e.endpoint == self._url)
        return next(found, "closed")


def victim_of(settings: Settings) -> Tier:
    """The tier to kill: the lightest one, which has most to do."""
    return min(settings.tiers)


def open_s(planned: int, pace: float) -> float:
    """How long a breaker stays open: about a third of the run, in seconds."""
    return round(max(0.1, planned / 3 * (0.05 + 0.3 * pace)), 1)


def short_breaker(policy: BreakerSettings, calls_before: int, open_s: float) -> BreakerSettings:
    """A breaker for a run of some seconds, in which the default would hardly open.

    Args:
        policy: The configured one.
        calls_before: Requests before the kill: as many may have gone well.
        open_s: How long it is to stay open, in seconds.
    """
    short = {
        "enabled": True,
        "min_calls": _MIN_CALLS,
        "failure_ratio": max(1, 100 * _FAILURES // (_FAILURES + calls_before)) / 100,
        "open_s": open_s,
        "max_open_s": open_s,
        "jitter": 0.0,
    }
    return policy.model_copy(update=short)
