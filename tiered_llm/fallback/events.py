"""Protocol events for a runnable that streams message chunks alone.

A tier may be any runnable; only chat models have LangChain's v3 event stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.language_models._compat_bridge import achunks_to_events, chunks_to_events
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def as_events(messages: Iterator[Any]) -> Iterator[Any]:
    """The events that a chat model with these chunks would stream."""
    return iter(chunks_to_events(_generation(message) for message in messages))


def aas_events(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The events that a chat model with these chunks would stream."""
    return achunks_to_events(_generation(message) async for message in messages)


def _generation(message: Any) -> ChatGenerationChunk:
    if not isinstance(message, AIMessageChunk):
        message = AIMessageChunk(**{name: value for name, value in message if name != "type"})
    return ChatGenerationChunk(message=message)
