"""One call on its way through the attempts, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.messages import AIMessage

from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from langchain_core.runnables import RunnableConfig

    from tiered_llm.errors import AttemptFailedError
    from tiered_llm.fallback.shapes import Shape
    from tiered_llm.providers import Parameters
    from tiered_llm.tiers import TierSpec
    from tiered_llm.types import RoutingDecision


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
        decision: Set once the call has been routed.
        failures: The error of each attempt that failed so far.
    """

    shape: Shape
    parameters: Parameters
    arguments: Mapping[str, Any]
    tier_arguments: Mapping[Tier, Mapping[str, Any]]
    overrides: Mapping[str, Any]
    stop: list[str] | None = None
    entry: Entry = Entry.MESSAGE
    input_tokens: int = 0
    decision: RoutingDecision = field(init=False)
    failures: list[AttemptFailedError] = field(default_factory=list)
    opened: list[AsyncGenerator[Any, None]] = field(default_factory=list)

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
        summary = self.decision.summary()
        attempts: list[dict[str, Any]] = [
            {"tier": failure.tier.value, "outcome": "failed", "fault": failure.fault}
            for failure in self.failures
        ]
        attempts.append({"tier": spec.tier.value, "outcome": "answered", "fault": None})
        return {
            **summary,
            "tier": spec.tier.value,
            "model_id": spec.model_id,
            "decided_tier": summary["tier"],
            "attempts": attempts,
        }

    def sign(self, answer: Any, spec: TierSpec) -> Any:
        """Write the routing into an answer's metadata.

        The message is copied, since a cache may hold it too; a structured answer is signed
        on its raw message, if that is part of it.
        """
        if isinstance(answer, AIMessage):
            metadata = {**answer.response_metadata, "routing": self.routing(spec)}
            return answer.model_copy(update={"response_metadata": metadata})
        if isinstance(answer, dict) and isinstance(answer.get("raw"), AIMessage):
            return {**answer, "raw": self.sign(answer["raw"], spec)}
        return answer

    async def aclose(self) -> None:
        """Close what the attempts left open, the last one first."""
        while self.opened:
            await self.opened.pop().aclose()
