"""What a stream has said so far: its end is signed, and told from a mere stop."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk

from tiered_llm.errors import StreamInterruptedError
from tiered_llm.fallback.faults import Fault
from tiered_llm.tokens import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tiered_llm.fallback.call import Call
    from tiered_llm.tiers import TierSpec

_REASONS = ("finish_reason", "done_reason", "stop_reason", "status", "done")
"""Where providers say that, and why, an answer is at its end."""


def finished(metadata: Mapping[str, Any]) -> bool:
    """Whether a message's metadata says that the answer came to its end."""
    return any(metadata.get(name) for name in _REASONS)


def ends(piece: Any) -> bool:
    """Whether a chunk or a protocol event says that the answer came to its end."""
    if isinstance(piece, dict):
        return finished(piece.get("metadata") or {})
    return finished(getattr(piece, "response_metadata", None) or {})


class Signing:
    """Writes the routing into the piece that ends a stream, or makes one where none comes.

    A stream whose model tells its end must have told it: a connection that is closed in
    good order, but early, looks like a whole answer to every client.
    """

    __slots__ = ("_call", "_events", "_finished", "_said", "_spec")

    def __init__(self, call: Call, spec: TierSpec, *, tells_its_end: bool) -> None:
        """Sign for the tier that streams."""
        self._call, self._spec = call, spec
        self._finished = not tells_its_end
        self._said: list[AIMessageChunk] = []
        self._events: list[dict[str, Any]] = []  # of a stream that has no chunks

    def sign(self, piece: Any) -> Any:
        """The piece, signed if it is the last one.

        Raises:
            StreamInterruptedError: It is the last one, and the answer had no end.
        """
        if isinstance(piece, AIMessageChunk):
            self._said.append(piece)
            self._finished = self._finished or finished(piece.response_metadata)
            if piece.chunk_position is None:
                return piece
            self._expect_an_end()
            return self._call.sign(piece, self._spec)
        if isinstance(piece, dict) and "event" in piece:
            return self._event(piece)
        return self._call.sign(piece, self._spec)

    def missing(self) -> Iterator[AIMessageChunk]:
        """The last chunk, where a model sent none of its own.

        Raises:
            StreamInterruptedError: The answer had no end.
        """
        if self._said and self._said[-1].chunk_position is None:
            self._expect_an_end()
            routing = {"routing": self._call.routing(self._spec)}
            yield AIMessageChunk(
                content="",
                chunk_position="last",
                id=self._said[-1].id,
                response_metadata=routing,
            )

    def interrupted(self, fault: str) -> StreamInterruptedError:
        """The error that says what there was until the stream broke."""
        whole = self._whole()
        known = whole.usage_metadata
        return StreamInterruptedError(
            tier=self._spec.tier,
            fault=str(fault),
            partial_text=whole.text,
            tool_calls=whole.tool_calls,
            usage=known or self._estimated(whole),
            usage_estimated=not known,
        )

    @property
    def seen(self) -> AIMessageChunk:
        """What there was of the answer so far."""
        return self._whole()

    def seen_bytes(self) -> int:
        """Bytes of all that was said: no tokenizer makes more tokens of it."""
        whole = self._whole()
        said = [whole.content, *whole.tool_call_chunks, whole.additional_kwargs]
        return sum(len(_text(each).encode(errors="surrogatepass")) for each in said if each)

    def _whole(self) -> AIMessageChunk:
        said = [*self._said, *map(_said_by, self._events)]
        whole: AIMessageChunk = AIMessageChunk(content="") + said
        return whole

    def _estimated(self, whole: AIMessageChunk) -> UsageMetadata:
        calls = [f"{call['name'] or ''} {call['args'] or ''}" for call in whole.tool_call_chunks]
        read, written = self._call.input_tokens, estimate_tokens("\n".join([whole.text, *calls]))
        return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)

    def _event(self, event: dict[str, Any]) -> dict[str, Any]:
        if event["event"] != "message-finish":
            self._events.append(event)
            return event
        metadata = event.get("metadata") or {}
        self._finished = self._finished or finished(metadata)
        self._expect_an_end()
        return {**event, "metadata": {**metadata, "routing": self._call.routing(self._spec)}}

    def _expect_an_end(self) -> None:
        if not self._finished:
            raise self.interrupted(Fault.INTERRUPTED)


def _said_by(event: dict[str, Any]) -> AIMessageChunk:
    """What a protocol event adds to the answer, as a chunk."""
    part = event.get("delta") or event.get("content") or {}
    if event["event"] == "content-block-finish" or not isinstance(part, dict):
        return AIMessageChunk(content="")  # says the block once more
    if part.get("type") not in {"tool_call_chunk", "tool-call-delta"}:
        return AIMessageChunk(content=part.get("text") or "")
    named = {name: part.get(name) for name in ("id", "name", "args")}
    piece = tool_call_chunk(index=event.get("index"), **named)
    return AIMessageChunk(content="", tool_call_chunks=[piece])


def _text(said: Any) -> str:
    return said if isinstance(said, str) else json.dumps(said, default=str, ensure_ascii=False)
