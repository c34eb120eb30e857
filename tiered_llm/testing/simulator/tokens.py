"""The simulator's own tokenizer: deterministic, reversible, of nobody's model.

A piece is a run of at most six word characters or one other sign, with the blank before
it. East Asian characters are a piece each, as they nearly are in real tokenizers.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiered_llm.testing.simulator.models import Message, Tool

MESSAGE_OVERHEAD_TOKENS = 4
IMAGE_TOKENS = 256

_PIECE = re.compile(r"\s?[^\W\u2e80-\U0003ffff]{1,6}|\s?\S|\s")


def split(text: str) -> tuple[str, ...]:
    """The pieces of a text, one for each token; joined, they are the text again."""
    return tuple(_PIECE.findall(text))


def count(text: str) -> int:
    """How many tokens a text has: `len(split(text))`."""
    return len(split(text))


def count_message(message: Message) -> int:
    """Tokens of one message: its text, its tool calls, its images and its frame."""
    calls = sum(count(call.name) + count(call.arguments) for call in message.tool_calls)
    images = IMAGE_TOKENS * message.images
    return MESSAGE_OVERHEAD_TOKENS + count(message.text) + calls + images


def count_tools(tools: Iterable[Tool]) -> int:
    """Tokens of the tools offered, written out as a chat template does."""
    written = (json.dumps([t.name, t.description, dict(t.parameters)]) for t in tools)
    return sum(count(text) for text in written)
