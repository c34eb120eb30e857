"""What a process alone knows, told to the log from time to time, for whoever reads all of them.

Breakers and queues are a process's own. Behind several workers on one port whoever asks for
metrics meets any of them; so each tells the log, and any of them can answer for all.
"""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tiered_llm.clock import Clock
    from tiered_llm.metrics.log import DecisionLog

_log = logging.getLogger("tiered_llm.metrics")

LOSSES: Final = ("queue_full", "store")
"""Why records are lost: the queue was full, or the store refused them."""

EVERY_S: Final = 5.0
"""Seconds between two tellings, at least, while there are calls."""

HEARTBEAT_S: Final = 30.0
"""Seconds between two tellings, at most."""

FRESH_S: Final = 90.0
"""Seconds for which a process is believed to be there."""


class EndpointState(Protocol):
    """An endpoint as its breaker sees it; see `tiered_llm.fallback.EndpointHealth`."""

    @property
    def provider(self) -> str:
        """`ollama`, `vllm` and the like."""
        ...

    @property
    def endpoint(self) -> str:
        """Its URL, without secrets."""
        ...

    @property
    def model(self) -> str:
        """The model's name."""
        ...

    @property
    def state(self) -> str:
        """What its breaker does with calls."""
        ...


class HealthSource(Protocol):
    """What knows the breakers of a process."""

    def snapshot(self) -> Iterable[EndpointState]:
        """The endpoints asked so far."""
        ...


class Gauges:
    """Tells the log what this process alone knows. The writer's thread alone calls most of it."""

    def __init__(
        self, log: DecisionLog, clock: Clock, dropped: Callable[[], Mapping[str, int]]
    ) -> None:
        """Tell nothing yet; `dropped` says what this process lost, by cause."""
        self._log, self._clock, self._dropped = log, clock, dropped
        self._health: dict[int, weakref.ref[HealthSource]] = {}
        self.begin()

    def begin(self) -> None:
        """Be a process of its own: at the start, and after a fork."""
        self._process, self._due_s = uuid4().hex, float("-inf")
        self._told, self._told_lost = False, dict[str, int]()

    def watch(self, health: HealthSource) -> None:
        """Tell of these breakers too, as long as somebody else holds on to them."""
        key, forget = id(health), self._health.pop
        self._health[key] = weakref.ref(health, lambda _: forget(key, None))

    def pulse(self) -> None:
        """Tell, if it is time; a log that is away is told later."""
        now_s = self._clock.monotonic_s()
        if now_s < self._due_s:
            return
        self._due_s = now_s + EVERY_S
        lost, at_s = dict(self._dropped()), self._clock.now().timestamp()
        try:
            self._log.publish(self._process, self._snapshot(), at_s, self._since(lost))
            self._told, self._told_lost = True, lost
        except Exception as error:  # noqa: BLE001  # telemetry's boundary: it never breaks a call
            _log.debug("what this process knows could not be told (%s)", type(error).__name__)

    def withdraw(self) -> None:
        """This process is at its end."""
        if any(self._since(self._dropped()).values()):
            self._due_s = float("-inf")
            self.pulse()
        if not self._told:
            return
        self._told, self._due_s = False, float("-inf")
        try:
            self._log.withdraw(self._process)
        except Exception as error:  # noqa: BLE001  # as above; it is forgotten by itself
            _log.debug("this process could not take leave (%s)", type(error).__name__)

    def _snapshot(self) -> dict[str, Any]:
        alive = [health for known in list(self._health.values()) if (health := known())]
        endpoints = [each for health in alive for each in health.snapshot()]
        return {"breakers": [[e.provider, e.model, e.endpoint, e.state] for e in endpoints]}

    def _since(self, lost: Mapping[str, int]) -> dict[str, int]:
        """What was lost since it was told the last time."""
        return {cause: count - self._told_lost.get(cause, 0) for cause, count in lost.items()}


_WORST = ("closed", "half_open", "cooldown", "open")


def merged(told: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What all processes know together.

    Returns:
        `processes`, how many there are; `breakers`, by provider, model and endpoint the worst
        state that any sees.
    """
    found: dict[str, Any] = {"processes": 0, "breakers": {}}
    for each in told:
        found["processes"] += 1
        for *address, state in each["breakers"]:
            breakers, key = found["breakers"], tuple(address)
            breakers[key] = worst(breakers.get(key, state), state)
    return found


def worst(*states: str) -> str:
    """Of a breaker's states the one that lets fewest calls through."""
    return max(states, key=_WORST.index)
