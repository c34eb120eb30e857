"""One call on its way through the attempts, and what became of each."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.messages import AIMessage

from tiered_llm.errors import AllTiersFailedError
from tiered_llm.fallback.shapes import Plain
from tiered_llm.providers import Parameters
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping

    from langchain_core.runnables import RunnableConfig

    from tiered_llm.errors import AttemptFailedError
    from tiered_llm.fallback.attempt import Attempt
    from tiered_llm.fallback.shapes import Shape
    from tiered_llm.fallback.wallet import Wallet
    from tiered_llm.fallback.watch import Watch
    from tiered_llm.tiers import TierSpec
    from tiered_llm.types import RoutingDecision


_NO_PARAMETERS = Parameters()
_TAGS = {tier: f"tier:{tier.value}" for tier in Tier}


class Entry(Enum):
    """By which of LangChain's doors the call came in."""

    MESSAGE = "message"
    GENERATE = "generate"
    EVENTS = "events"


@dataclass(slots=True, kw_only=True)
class Call:
    """What the attempts of one call share.

    Attributes:
        shape: Plain, with tools, or structured.
        parameters: Standard sampling parameters.
        arguments: Other call-time arguments, meant for every tier.
        tier_arguments: Call-time arguments meant for one tier.
        overrides: Fields that every tier's model takes over from the outer model.
        stop: Stop sequences.
        entry: The door by which the call came in.
        input_tokens: Tokens that would be sent, estimated.
        deadline_s: Longest time of the whole call in seconds; the settings' if unset.
        wallet: Who pays; None where nobody is held to a budget.
        granted: The most output tokens of the attempt under way, where somebody pays.
        watch: Who follows the call; None where nobody does.
        may_restart: Whether a broken stream may begin anew.
        decided: Where the call goes, if that was decided before it was made.
        decision: Set once the call has been routed.
        queue: The attempts in order, set with the decision.
        until_s: The deadline on the monotonic clock; infinite where there is none.
        failures: The error of each attempt that failed so far.
        skipped: Tiers that were not asked, each with the reason.
        opened: Streams on an event loop, to be closed with the call.
        flowing: Streams in a thread, to be closed with the call.
        answered: The tier that answered, once one has.
    """

    shape: Shape
    parameters: Parameters
    arguments: Mapping[str, Any]
    tier_arguments: Mapping[Tier, Mapping[str, Any]]
    overrides: Mapping[str, Any]
    stop: list[str] | None = None
    entry: Entry = Entry.MESSAGE
    input_tokens: int = 0
    deadline_s: float | None = None
    wallet: Wallet | None = None
    granted: int | None = None
    watch: Watch | None = None
    may_restart: bool = False
    decided: RoutingDecision | None = None
    decision: RoutingDecision = field(init=False)
    queue: tuple[Attempt, ...] = ()
    until_s: float = math.inf
    failures: list[AttemptFailedError] = field(default_factory=list)
    skipped: list[tuple[Tier, str]] = field(default_factory=list)
    opened: list[AsyncGenerator[Any, None]] = field(default_factory=list)
    flowing: list[Generator[Any, None, None]] = field(default_factory=list)
    answered: Tier = field(init=False)
    _overflowed: TierSpec | None = None

    @property
    def is_bare(self) -> bool:
        """Whether the call asks for nothing but an answer to its messages."""
        return (
            type(self.shape) is Plain
            and self.parameters == _NO_PARAMETERS
            and self.stop is None
            and self.granted is None
            and not (self.arguments or self.tier_arguments or self.overrides)
        )

    def after(self, attempt: Attempt) -> tuple[Attempt, ...]:
        """The attempts that come after one in the order."""
        return self.queue[self.queue.index(attempt) + 1 :]

    def overflowed(self, spec: TierSpec) -> None:
        """The request does not fit a tier's window: from now on only larger ones will do."""
        if self._overflowed is None or spec.may_take_more_than(self._overflowed):
            self._overflowed = spec

    def too_small(self, spec: TierSpec) -> bool:
        """Whether a tier's window is no larger than one that overflowed."""
        return self._overflowed is not None and not spec.may_take_more_than(self._overflowed)

    def all_failed(self) -> AllTiersFailedError:
        """The error that says what became of every attempt."""
        return AllTiersFailedError(self.failures, self.skipped)

    def trace(self, config: RunnableConfig, tier: Tier) -> dict[str, Any]:
        """The part of a config that shows an attempt to tracers: metadata and tags."""
        metadata = {
            **(config.get("metadata") or {}),
            "tiered_llm.tier": tier.value,
            "tiered_llm.score": self.decision.score,
            "tiered_llm.reason": str(self.decision.last_word or ""),
            "tiered_llm.attempt": len(self.failures) + 1,
        }
        tags = [tag for tag in config.get("tags") or [] if tag not in _TAGS.values()]
        return {"metadata": metadata, "tags": [*tags, _TAGS[tier]]}

    def retrace(self, child: RunnableConfig, tier: Tier) -> dict[str, Any]:
        """The same for a further attempt: what its run would inherit names the tier before."""
        callbacks = child.get("callbacks")
        if isinstance(callbacks, BaseCallbackManager):
            callbacks = callbacks.copy()
            callbacks.remove_tags([tag for tag in callbacks.tags if tag in _TAGS.values()])
        return {**self.trace(child, tier), "callbacks": callbacks}

    def routing(self, spec: TierSpec) -> dict[str, Any]:
        """What `response_metadata["routing"]` holds once a tier has answered."""
        told = self.decision.summary()
        told["decided_tier"] = told["tier"]
        told["tier"], told["model_id"] = spec.tier.value, spec.model_id
        told["attempts"] = [
            *(
                {"tier": failure.tier.value, "outcome": "failed", "fault": failure.fault}
                for failure in self.failures
            ),
            {"tier": spec.tier.value, "outcome": "answered", "fault": None},
        ]
        if self.watch is not None:
            told["run_id"] = self.watch.run_id
        if self.skipped:
            told["skipped"] = [{"tier": tier.value, "why": why} for tier, why in self.skipped]
        return told

    def sign(self, answer: Any, spec: TierSpec) -> Any:
        """Write the routing into an answer's metadata, and note who gave it.

        The message is copied, since a cache may hold it too; a structured answer is signed
        on its raw message, if that is part of it.
        """
        self.answered = spec.tier
        if isinstance(answer, AIMessage):
            metadata = {**answer.response_metadata, "routing": self.routing(spec)}
            return answer.model_copy(update={"response_metadata": metadata})
        if isinstance(answer, dict) and isinstance(answer.get("raw"), AIMessage):
            kind = type(answer)  # pieces of a stream are dicts that add up
            return kind({**answer, "raw": self.sign(answer["raw"], spec)})
        return answer

    def close(self) -> None:
        """Close what the attempts left open, the last one first.

        `with_fallbacks` does not: once an attempt has failed, its traceback and the frame that
        holds the next one's stream keep each other alive until they are collected.
        """
        with ExitStack() as stack:  # one that fails to close does not keep the others open
            while self.flowing:
                stack.callback(self.flowing.pop(0).close)

    async def aclose(self) -> None:
        """Close what the attempts left open, the last one first."""
        async with AsyncExitStack() as stack:
            while self.opened:
                stack.push_async_callback(self.opened.pop(0).aclose)
