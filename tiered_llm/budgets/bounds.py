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

    from tiered_llm.tiers import TierSpec

_log = logging.getLogger("tiered_llm.budgets")

TokenCounter: TypeAlias = "Callable[[Sequence[BaseMessage], Sequence[Any]], int]"
"""Messages and what describes the tools → the input tokens that the server will bill."""

MOST_FACTOR = 64.0
"""No report of a server makes a model dearer than this: a wrong one must not shut it off."""

_CALMING, _NEARLY_ONE = 0.98, 1.01
"""What is left of a factor's excess after a call that kept within its bounds; when none is."""


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

    def __init__(self, tokenizers: Mapping[str, TokenCounter]) -> None:
        """Take the exact tokenizers, by `model_id`."""
        self._tokenizers = dict(tokenizers)
        self._failed: set[str] = set()
        self._factors: dict[str, Factor] = {}
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
        return self._factors.get(spec.model_id, PLAIN)

    def noted(
        self, spec: TierSpec, factor: Factor, bounds: tuple[int, int], used: tuple[int, int]
    ) -> Overrun | None:
        """Learn from a settled call: its bounds and its use, each of input and output.

        One that went beyond raises its model's factor at once; those that keep within let it
        come down again, slowly.

        Args:
            spec: The model that was asked.
            factor: The factor that it was reserved with.
            bounds: Its bounds, without the factor.
            used: What the server told.

        Returns:
            What was used beyond the reservation; None for nothing.
        """
        seen = [now / max(most, 1) for now, most in zip(used, bounds, strict=True)]
        if max(seen) > 1 or spec.model_id in self._factors:
            self._learn(spec.model_id, *seen)
        reserved = widened(bounds[0], factor.read), widened(bounds[1], factor.written)
        read, written = used[0] - reserved[0], used[1] - reserved[1]
        if max(read, written) <= 0:
            return None
        return Overrun(
            model_id=spec.model_id, input_tokens=max(0, read), output_tokens=max(0, written)
        )

    def _learn(self, model_id: str, read: float, written: float) -> None:
        with self._lock:
            old = self._factors.pop(model_id, PLAIN)
            new = Factor(_next(old.read, read), _next(old.written, written))
            if new != PLAIN:
                self._factors[model_id] = new

    def _say_once(self, model_id: str, error: Exception) -> None:
        if model_id not in self._failed:
            self._failed.add(model_id)
            what = type(error).__name__  # its text may quote the prompt
            _log.warning("the tokenizer of %s failed (%s): bytes are counted", model_id, what)


def widened(amount: int, factor: float) -> int:
    """An amount with a factor, rounded up."""
    return amount if factor == 1.0 else ceil(amount * factor)


def _next(old: float, seen: float) -> float:
    """A factor after one more call."""
    wanted = max(1.0 + (old - 1.0) * _CALMING, seen)
    return 1.0 if wanted < _NEARLY_ONE else min(MOST_FACTOR, wanted)
