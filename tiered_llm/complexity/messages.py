"""Reading LangChain messages: what was asked, what goes with it, what was decided before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from tiered_llm.tiers import Tier
from tiered_llm.tokens import IMAGE_TOKENS, MESSAGE_OVERHEAD_TOKENS, estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_HUMAN, _AI, _SYSTEM, _TOOL, _OTHER = "human", "ai", "system", "tool", "other"
_BY_ROLE = "by role"

_KINDS: tuple[tuple[type[BaseMessage], str], ...] = (
    (HumanMessage, _HUMAN),
    (AIMessage, _AI),
    (SystemMessage, _SYSTEM),
    (ToolMessage, _TOOL),
    (FunctionMessage, _TOOL),
    (ChatMessage, _BY_ROLE),
)

_ROLES = {
    "user": _HUMAN,
    "human": _HUMAN,
    "assistant": _AI,
    "ai": _AI,
    "system": _SYSTEM,
    "developer": _SYSTEM,
    "tool": _TOOL,
    "function": _TOOL,
}

_TEXTS = frozenset(["text", "input_text"])
_TEXT_FILE = "text-plain"
"""LangChain's block for a file of plain text: context, not ask."""

_MEDIA = frozenset(
    (
        *("image", "image_url", "input_image", "audio", "input_audio"),
        *("video", "video_url", "file", "input_file", "media", "document"),
    )
)
"""Types of content blocks that are not text: LangChain's, OpenAI's, Anthropic's and Google's."""

_CALLS = frozenset(["tool_use", "tool_call", "function_call"])
"""Types of content blocks that say again what `AIMessage.tool_calls` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What the router reads in the messages of one call.

    Attributes:
        message: Text of the latest human ask; empty if there is none.
        context_tokens: Tokens of system text, tool results and text files of the ask: what
            must be read, as against what is asked.
        history_length: Messages before the latest ask, system messages left out.
        has_images: Whether any message holds an image, audio, video or file.
        input_tokens: Tokens of all messages, each image taken as `IMAGE_TOKENS`.
        in_turn: Whether tool calls or results are the last to follow the latest ask: an
            agent's turn goes on.
        held_tier: The tier that the routing metadata of the latest AI message names; in a
            turn only messages of that turn count. `None` where none names a tier.
        prefix_tokens: Tokens up to and including that AI message; 0 without one.
        result_tokens: In a turn, tokens of the tool results that follow its latest AI message.
        failed_steps: In a turn, steps of the held tier that failed, one after the other, up to
            its end: with a malformed tool call, or a result that is an error.
    """

    message: str = ""
    context_tokens: int = 0
    history_length: int = 0
    has_images: bool = False
    input_tokens: int = 0
    in_turn: bool = False
    held_tier: Tier | None = None
    prefix_tokens: int = 0
    result_tokens: int = 0
    failed_steps: int = 0


def read_conversation(messages: Sequence[BaseMessage]) -> Conversation:
    """Read the messages of one call, as they would be sent.

    Pure; never raises on odd content or metadata. Images and files are not decoded and long
    texts are sampled, so that the time is bounded by the number of messages and blocks.

    ```python
    read_conversation([SystemMessage("Be brief."), HumanMessage("Hello")]).message  # "Hello"
    ```
    """
    if len(messages) == 1 and type(messages[0]) is HumanMessage:
        return _lone_ask(messages[0])
    kinds = [_kind_of(message) for message in messages]
    sizes = [_measure(message, kind) for message, kind in zip(messages, kinds, strict=True)]
    ask = _last_index(kinds, _HUMAN)
    before = kinds[:ask] if ask >= 0 else kinds
    in_turn = ask >= 0 and _uses_tools(messages[ask + 1 :], kinds[ask + 1 :])
    holder, held_tier = _held(messages, ask + 1 if in_turn else 0, ask)
    return Conversation(
        message=_text(messages[ask].content) if ask >= 0 else "",
        context_tokens=_context_tokens(kinds, sizes, ask),
        history_length=len(before) - before.count(_SYSTEM),
        has_images=any(size.media for size in sizes),
        input_tokens=sum(size.tokens for size in sizes),
        in_turn=in_turn,
        held_tier=held_tier,
        prefix_tokens=sum(size.tokens for size in sizes[: holder + 1]),
        result_tokens=_result_tokens(kinds, sizes) if in_turn else 0,
        failed_steps=_failed_steps(messages[ask + 1 :], kinds[ask + 1 :]) if in_turn else 0,
    )


def _lone_ask(message: BaseMessage) -> Conversation:
    """The commonest call, read in a third of the time."""
    size = _measure(message, _HUMAN)
    return Conversation(
        message=_text(message.content),
        context_tokens=size.file_tokens,
        has_images=size.media,
        input_tokens=size.tokens,
    )


@lru_cache(maxsize=256)
def _kind_of_class(cls: type[BaseMessage]) -> str:
    return next((kind for known, kind in _KINDS if issubclass(cls, known)), _OTHER)


def _kind_of(message: BaseMessage) -> str:
    kind = _kind_of_class(type(message))
    if kind == _BY_ROLE:
        return _ROLES.get(str(getattr(message, "role", "")).lower(), _OTHER)
    return kind


def _uses_tools(messages: Sequence[BaseMessage], kinds: Sequence[str]) -> bool:
    """Whether the messages end amid tool calls; a plain answer ends its agent's turn."""
    last = max(_last_index(kinds, _AI), 0)
    return _TOOL in kinds[last:] or any(getattr(m, "tool_calls", None) for m in messages[last:])


def _last_index(kinds: Sequence[str], wanted: str) -> int:
    """Place of the last one, -1 for none."""
    return next((at for at in range(len(kinds) - 1, -1, -1) if kinds[at] == wanted), -1)


def _text(content: str | list[Any]) -> str:
    """The text of a message; blocks of text are joined by newlines, all others left out."""
    if isinstance(content, str):
        return content
    return "\n".join(text for block in content if (text := _block_text(block)))


def _block_text(block: Any) -> str:
    if isinstance(block, str):
        return block
    if isinstance(block, dict) and block.get("type") in _TEXTS:
        text = block.get("text")
        return text if isinstance(text, str) else ""
    return ""


class _Size(NamedTuple):
    """Tokens of a message, those of them in text files, and whether it holds media."""

    tokens: int
    file_tokens: int
    media: bool


def _measure(message: BaseMessage, kind: str) -> _Size:
    content = message.content
    calls = getattr(message, "tool_calls", None) if kind == _AI else None
    if isinstance(content, str) and not calls:
        return _Size(MESSAGE_OVERHEAD_TOKENS + estimate_tokens(content), 0, media=False)
    return _measure_values([content, *_call_parts(calls or ())])


def _call_parts(calls: Iterable[Mapping[str, Any]]) -> list[Any]:
    return [part for call in calls for part in (call.get("name"), call.get("args"))]


def _measure_values(waiting: list[Any]) -> _Size:
    """Walk blocks and what they hold, without recursion: depth is the sender's choice."""
    tokens, file_tokens, media = MESSAGE_OVERHEAD_TOKENS, 0, False
    while waiting:
        value = waiting.pop()
        kind = value.get("type") if isinstance(value, dict) else None
        kind = kind if isinstance(kind, str) else ""
        if kind in _MEDIA:
            tokens, media = tokens + IMAGE_TOKENS, True
        elif kind == _TEXT_FILE:
            file_tokens += estimate_tokens(str(value.get("text") or ""))
        elif isinstance(value, (str, int, float)):
            tokens += estimate_tokens(str(value))
        elif kind not in _CALLS:
            waiting.extend(_parts(value))
    return _Size(tokens + file_tokens, file_tokens, media)


def _parts(value: Any) -> list[Any]:
    """What a block holds; of a typed block the keys are framing, of other values they are text."""
    if isinstance(value, dict):
        typed = "type" in value
        values = [part for key, part in value.items() if key != "type"]
        return values if typed else [*value, *values]
    return list(value) if isinstance(value, (list, tuple)) else []


def _context_tokens(kinds: Sequence[str], sizes: Sequence[_Size], ask: int) -> int:
    read = sum(
        size.tokens for kind, size in zip(kinds, sizes, strict=True) if kind in {_SYSTEM, _TOOL}
    )
    return read + (sizes[ask].file_tokens if ask >= 0 else 0)


def _result_tokens(kinds: Sequence[str], sizes: Sequence[_Size]) -> int:
    last = _last_index(kinds, _AI) + 1
    pairs = zip(kinds[last:], sizes[last:], strict=True)
    return sum(size.tokens for kind, size in pairs if kind == _TOOL)


def _failed_steps(messages: Sequence[BaseMessage], kinds: Sequence[str]) -> int:
    """Steps at a turn's end that failed, all on the tier of the last of them."""
    failed, count, tier = False, 0, None
    for message, kind in zip(reversed(messages), reversed(kinds), strict=True):
        if kind == _TOOL:
            failed = failed or getattr(message, "status", None) == "error"
        elif kind == _AI:
            failed = failed or bool(getattr(message, "invalid_tool_calls", None))
            here = _routed_tier(message)
            if not failed or (count and here != tier):
                break
            count, tier, failed = count + 1, here, False
    return count


def _held(messages: Sequence[BaseMessage], start: int, ask: int) -> tuple[int, Tier | None]:
    """Place and tier of the latest AI message that names one: from `start`, or before the ask."""
    end = len(messages) if start or ask < 0 else ask
    for at in range(end - 1, start - 1, -1):
        if tier := _routed_tier(messages[at]):
            return at, tier
    return -1, None


def _routed_tier(message: BaseMessage) -> Tier | None:
    """The tier in `response_metadata["routing"]["tier"]`, whatever else may stand there."""
    if not isinstance(message, AIMessage):
        return None
    routing = message.response_metadata.get("routing")
    tier = routing.get("tier") if isinstance(routing, Mapping) else None
    try:
        return Tier(tier) if isinstance(tier, str) else None
    except ValueError:
        return None
