"""The most that calls of each model may use, and how far models have gone beyond it."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, TypeAlias

from tiered_llm.budgets.bound import input_bound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_core.messages import BaseMessage

    from tiered_llm.clock import Clock
    from tiered_llm.tiers import TierSpec

_log = logging.getLogger("tiered_llm.budgets")

TokenCounter: TypeAlias = "Callable[[Sequence[BaseMessage], Sequence[Any]], int]"
"""Messages and what describes the tools → the input tokens that the server will bill."""

MOST_FACTOR = 64.0
"""No report of a server makes a model dearer than this."""

_CALMING, _HALF_LIFE_S, _NEARLY_ONE = 0.98, 600.0, 1.01
"""What is left of a factor's excess after a call that kept within; when half is; when none is."""

_LEAST_BOUND = 256
"""Tokens below which a bound says nothing of a model: a short grant is easily doubled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrun:
    """A call that used more than was reserved for it. It was charged all the same.

    Attributes:
        model_id: The model that was asked.
        input_tokens: Tokens read beyond the bound.
        output_tokens: Tokens written beyond what was granted.
    """

    model_id: str
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Factor:
    """By how much more than its bounds a model is reserved for.

    Attributes:
        read: For its input, 1 or more.
        written: For its output.
    """

    read: float = 1.0
    written: float = 1.0


PLAIN = Factor()
"""Of a model that has kept within its bounds."""


class Bounds:
    """Bounds by bytes, or by an exact tokenizer; wider for models that went beyond theirs."""

    def __init__(self, tokenizers: Mapping[str, TokenCounter], clock: Clock) -> None:
        """Take the exact tokenizers, by `model_id`."""
        self._tokenizers, self._clock = dict(tokenizers), clock
        self._failed: set[str] = set()
        self._factors: dict[str, tuple[Factor, float]] = {}
        self._lock = threading.RLock()  # a garbage-collected stream may settle within a call

    def input_tokens(
        self, spec: TierSpec, messages: Sequence[BaseMessage], tools: Sequence[Any]
    ) -> int:
        """The most that a request's input may be billed; exact where a tokenizer is known."""
        count = self._tokenizers.get(spec.model_id)
        if count is not None:
            try:
                return max(0, int(count(messages, tools)))
            except Exception as error:  # noqa: BLE001  # a budget goes on without it
                self._say_once(spec.model_id, error)
        return input_bound(messages, tools)

    def factor(self, spec: TierSpec) -> Factor:
        """By how much more than its bounds a model is reserved for."""
        known = self._factors.get(spec.model_id)
        if known is None:
            return PLAIN
        factor, at_s = known
        left = 0.5 ** ((self._clock.monotonic_s() - at_s) / _HALF_LIFE_S)
        return Factor(_calmer(factor.read, left), _calmer(factor.written, left))

    def noted(
        self,
        spec: TierSpec,
        bounds: tuple[int, int],
        reserved: tuple[int, int],
        used: tuple[int, int],
    ) -> Overrun | None:
        """Learn from a settled call: its bounds and its use, each of input and output.

        One that went beyond raises its model's factor at once; those that keep within, and time,
        let it come down again.

        Args:
            spec: The model that was asked.
            bounds: Its bounds, without a factor.
            reserved: What was reserved for it.
            used: What the server told.

        Returns:
            What was used beyond the reservation; None for nothing.
        """
        seen = [now / max(most, _LEAST_BOUND) for now, most in zip(used, bounds, strict=True)]
        if max(seen) > 1 or spec.model_id in self._factors:
            self._learn(spec, *seen)
        read, written = used[0] - reserved[0], used[1] - reserved[1]
        if max(read, written) <= 0:
            return None
        return Overrun(
            model_id=spec.model_id, input_tokens=max(0, read), output_tokens=max(0, written)
        )

    def _learn(self, spec: TierSpec, read: float, written: float) -> None:
        with self._lock:
            old = self.factor(spec)
            wanted = (
                max(_calmer(old.read, _CALMING), min(read, MOST_FACTOR)),
                max(_calmer(old.written, _CALMING), min(written, MOST_FACTOR)),
            )
            if max(wanted) < _NEARLY_ONE:
                self._factors.pop(spec.model_id, None)
            else:
                self._factors[spec.model_id] = Factor(*wanted), self._clock.monotonic_s()

    def _say_once(self, model_id: str, error: Exception) -> None:
        if model_id not in self._failed:
            self._failed.add(model_id)
            what = type(error).__name__  # its text may quote the prompt
            _log.warning("the tokenizer of %s failed (%s): bytes are counted", model_id, what)


def widened(amount: int, factor: float) -> int:
    """An amount with a factor, rounded up."""
    return amount if factor == 1.0 else ceil(amount * factor)


def _calmer(factor: float, left: float) -> float:
    """A factor of whose excess so much is left."""
    calmer = 1.0 + (factor - 1.0) * left
    return 1.0 if calmer < _NEARLY_ONE else calmer
