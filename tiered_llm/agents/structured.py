"""Answers in a schema, as `create_agent` asks for them: what they need, and which were wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain.agents.structured_output import AutoStrategy, ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, ToolMessage

from tiered_llm.tiers import Ability

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from langchain_core.messages import BaseMessage

    from tiered_llm.chat_model import TieredChatModel


def needed(response_format: Any, model: TieredChatModel) -> frozenset[Ability]:
    """What an answer in a schema asks of a tier: its own means, or a tool.

    Where the application leaves that open, LangChain asks the model's profile; so does this.
    """
    if response_format is None:
        return frozenset()
    own = isinstance(response_format, ProviderStrategy)
    if not own and not isinstance(response_format, ToolStrategy):
        own = bool((model.profile or {}).get("structured_output"))
    return frozenset({Ability.STRUCTURED_OUTPUT if own else Ability.TOOLS})


class AnswerTools:
    """The names of the tools that stand for an agent's answer; looked up once for each format."""

    def __init__(self) -> None:
        """Know none yet."""
        self._known: tuple[Any, frozenset[str]] = (None, frozenset())

    def of(self, response_format: Any) -> frozenset[str]:
        """The names; none where the answer is structured by the model's own means."""
        known, names = self._known
        if known is not response_format:
            names = _answer_names(response_format)
            self._known = (response_format, names)
        return names


def told_wrong(messages: Sequence[BaseMessage], names: AbstractSet[str]) -> list[BaseMessage]:
    """The messages, with the results of wrong answers at the turn's end marked as errors.

    A right answer ends the turn. One that the turn goes on after was wrong, and LangChain tells
    the model so in a tool message whose status is that of a success.
    """
    told = list(messages)
    for at in range(len(told) - 1, -1, -1):
        message = told[at]
        if isinstance(message, ToolMessage) and message.name in names:
            told[at] = message.model_copy(update={"status": "error"})
        elif not isinstance(message, (AIMessage, ToolMessage)):
            break
    return told


def _answer_names(response_format: Any) -> frozenset[str]:
    if response_format is None or isinstance(response_format, ProviderStrategy):
        return frozenset()
    if isinstance(response_format, AutoStrategy):
        response_format = response_format.schema
    if not isinstance(response_format, ToolStrategy):
        response_format = ToolStrategy(response_format)
    return frozenset(spec.name for spec in response_format.schema_specs)
