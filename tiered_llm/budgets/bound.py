"""An upper bound of a request's input tokens: what it is reserved for before it is sent.

Byte-level tokenizers, which all current models use, never make more tokens of a text than it
has bytes in UTF-8. Estimates by characters are an order of magnitude too low on some texts.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_core.messages import BaseMessage

FRAME_TOKENS = 16
"""What a chat template may put around one message: role, separators, a call's id."""

TEMPLATE_TOKENS = 256
"""What it may put around the whole: a default system text, instructions for tools."""

TOOL_TOKENS = 64
"""What it may put around one tool's description."""

MEDIA_TOKENS = 16_384
"""One image, audio or file: Qwen2.5-VL's largest image, which is the largest we know."""


def input_bound(messages: Iterable[BaseMessage], tools: Sequence[Any] = ()) -> int:
    """Tokens that a request cannot exceed, by the bytes of all that is sent."""
    total = TEMPLATE_TOKENS
    for message in messages:
        total += FRAME_TOKENS + _bytes_of(message.content)
        extra = {**message.additional_kwargs, "calls": getattr(message, "tool_calls", None)}
        named = (message.name or "", getattr(message, "tool_call_id", "") or "")
        total += sum(len(name.encode()) for name in named)
        total += _bytes_of_json(extra) if any(extra.values()) else 0
    return total + sum(TOOL_TOKENS + _bytes_of_json(tool) for tool in tools)


def _bytes_of(content: Any) -> int:
    if isinstance(content, str):
        return len(content.encode(errors="surrogatepass"))
    return sum(_bytes_of_block(block) for block in content)


def _bytes_of_block(block: Any) -> int:
    if isinstance(block, str):
        return len(block.encode(errors="surrogatepass"))
    if isinstance(block, dict) and "text" in block and block.get("type") == "text":
        return len(str(block["text"]).encode(errors="surrogatepass"))
    kind = str(block.get("type", "")) if isinstance(block, dict) else ""
    if any(word in kind for word in ("image", "audio", "video", "file")):
        return MEDIA_TOKENS
    return _bytes_of_json(block)


def _bytes_of_json(value: Any) -> int:
    """Bytes of a value in a prompt; twice its JSON in ASCII, for templates that indent it."""
    return 2 * len(json.dumps(value, default=str))
