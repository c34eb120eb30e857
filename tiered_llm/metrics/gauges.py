"""What a process alone knows, told to the log from time to time, for whoever reads all of them.

Breakers and queues are a process's own. Behind several workers on one port whoever asks for
metrics meets any of them; so each tells the log, and any of them can answer for all.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tiered_llm.clock import Clock
    from tiered_llm.metrics.log import DecisionLog

_log = logging.getLogger("tiered_llm.metrics")

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
        self._health: list[HealthSource] = []
        self.begin()

    def begin(self) -> None:
        """Be a process of its own: at the start, and after a fork."""
        self._process, self._due_s = uuid4().hex, float("-inf")
        self._told = False

    def watch(self, health: HealthSource) -> None:
        """Tell of these breakers too."""
        if not any(known is health for known in self._health):
            self._health.append(health)

    def pulse(self) -> None:
        """Tell, if it is time; a log that is away is told later."""
        now_s = self._clock.monotonic_s()
        if now_s < self._due_s:
            return
        self._due_s = now_s + EVERY_S
        try:
            self._log.publish(self._process, self._snapshot(), self._clock.now().timestamp())
            self._told = True
        except Exception as error:  # noqa: BLE001  # telemetry's boundary: it never breaks a call
            _log.debug("what this process knows could not be told (%s)", type(error).__name__)

    def withdraw(self) -> None:
        """This process is at its end."""
        if not self._told:
            return
        self._told, self._due_s = False, float("-inf")
        try:
            self._log.withdraw(self._process)
        except Exception as error:  # noqa: BLE001  # as above; it is forgotten by itself
            _log.debug("this process could not take leave (%s)", type(error).__name__)

    def _snapshot(self) -> dict[str, Any]:
        endpoints = [each for health in self._health for each in health.snapshot()]
        return {
            "breakers": [[e.provider, e.model, e.endpoint, e.state] for e in endpoints],
            "dropped": dict(self._dropped()),
        }


_WORST = ("closed", "half_open", "cooldown", "open")


def merged(told: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What all processes know together.

    Returns:
        `processes`, how many there are; `breakers`, by provider, model and endpoint the worst
        state that any sees; `dropped`, by cause the sum.
    """
    found: dict[str, Any] = {"processes": 0, "breakers": {}, "dropped": {}}
    for each in told:
        found["processes"] += 1
        for *address, state in each["breakers"]:
            breakers, key = found["breakers"], tuple(address)
            breakers[key] = max(breakers.get(key, state), state, key=_WORST.index)
        for cause, count in each["dropped"].items():
            found["dropped"][cause] = found["dropped"].get(cause, 0) + count
    return found
