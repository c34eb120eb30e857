"""What the fallback tells whoever watches a call: each attempt, from its leave to its end."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig

    from tiered_llm.records import AttemptRecord
    from tiered_llm.tiers import Tier, TierSpec
    from tiered_llm.types import RoutingDecision

UNWATCHED: Final = nullcontext()
"""Stands for a watch where nobody watches."""


class Watch(Protocol):
    """Hears of one call, and is a context manager around it. Never raises, never waits.

    Attributes:
        run_id: By which the call is known: in the answer's metadata, in the records, in traces.
    """

    run_id: str

    def decided(self, decision: RoutingDecision, budget_cap: Tier | None) -> None:
        """Where the call goes, and the highest tier that its payer's budget allowed."""
        ...

    def at_the_edge(self, config: RunnableConfig) -> AbstractContextManager[Any]:
        """Around what takes leave or settles, no model's code inside: events land on our span.

        Args:
            config: The model run's, from which the run around it is told.
        """
        ...

    def skipped(self, tier: Tier, why: str) -> None:
        """A tier was not asked."""
        ...

    def attempt_began(
        self, number: int, spec: TierSpec, messages: Sequence[BaseMessage], granted: int | None
    ) -> None:
        """A tier is asked; `number` counts the call's attempts from 1."""
        ...

    def around_whole(self) -> AbstractContextManager[Any]:
        """Around a model's whole answer, from request to end; never around a stream."""
        ...

    def attempt_ended(self, record: AttemptRecord, answer: Any, *, committed: bool) -> None:
        """A tier has answered or not.

        Args:
            record: What is known of the attempt.
            answer: What it answered, or what there was of it; None where it is not known.
            committed: Whether a stream had come to its content.
        """
        ...

    def __enter__(self) -> Any:
        """The call begins."""
        ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """The call ends, with what its caller gets."""
        ...
