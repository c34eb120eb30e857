"""A conversation through one `TieredChatModel`, without a terminal."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.messages.utils import message_chunk_to_message

from tiered_llm.cli.explain import why
from tiered_llm.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from langchain_core.messages import AIMessageChunk

    from tiered_llm.chat_model import TieredChatModel
    from tiered_llm.clock import Clock
    from tiered_llm.tiers import Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One question that was answered.

    Attributes:
        answer: The whole text.
        routing: The decision, as the answer is signed with it.
        why: Why the tier, in a few words.
        input_tokens: Tokens read, as the endpoint counted them.
        output_tokens: Tokens written.
        latency_ms: From the question to the end of the answer.
    """

    answer: str
    routing: Mapping[str, Any]
    why: str
    input_tokens: int
    output_tokens: int
    latency_ms: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        names = ("tier", "decided_tier", "model_id", "score", "factors", "reasons", "fallbacks")
        return {
            "answer": self.answer,
            **{name: self.routing[name] for name in names},
            "why": self.why,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "latency_ms": round(self.latency_ms, 1),
            "error": None,
        }


class Session:
    """A conversation that remembers what was said.

    Attributes:
        tier: The tier that the user insists on; None leaves it to the router.
        last: The latest turn; None before the first and after `reset`.
    """

    def __init__(
        self,
        model: TieredChatModel,
        *,
        weights: Mapping[str, float],
        system: str | None = None,
        context: Mapping[str, Any] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Begin a conversation.

        Args:
            model: Who answers.
            weights: The weight of each factor, to explain scores by.
            system: What the model is told before everything else.
            context: More of `config["configurable"]`, such as `tenant_id`.
            clock: Times the answers.
        """
        self.tier: Tier | None = None
        self.last: Turn | None = None
        self.weights = weights
        self._model, self._context, self._clock = model, dict(context or {}), clock
        self._system: list[BaseMessage] = [SystemMessage(system)] if system else []
        self._history: list[BaseMessage] = []

    def reset(self) -> None:
        """Forget what was said."""
        self._history.clear()
        self.last = None

    def ask(self, text: str, show: Callable[[str], None]) -> Turn:
        """Put a question; pieces of the answer are shown as they come.

        A question that fails or is broken off is not remembered.

        Raises:
            TieredLLMError: No tier could answer.
        """
        began_s = self._clock.monotonic_s()
        question = HumanMessage(text)
        answer = self._stream([*self._system, *self._history, question], show)
        self._history += [question, message_chunk_to_message(answer)]
        usage: Mapping[str, int] = answer.usage_metadata or {}  # type: ignore[assignment]
        routing = answer.response_metadata["routing"]
        self.last = Turn(
            answer=answer.text,
            routing=routing,
            why=why(routing, self.weights),
            input_tokens=usage.get("input_tokens", 0),
            output_tokens=usage.get("output_tokens", 0),
            latency_ms=(self._clock.monotonic_s() - began_s) * 1000,
        )
        return self.last

    def _stream(self, messages: list[BaseMessage], show: Callable[[str], None]) -> AIMessageChunk:
        configurable = {**self._context, **({"tier": self.tier} if self.tier else {})}
        stream = self._model.stream(messages, {"configurable": configurable})
        with closing(cast("Generator[AIMessageChunk]", stream)) as chunks:
            whole = next(chunks)
            show(whole.text)
            for chunk in chunks:
                show(chunk.text)
                whole += chunk
        return whole
