"""LangChain's six doors, and what comes out of each: piece by piece, and as a whole."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from uuid import UUID

    from langchain_core.messages import AIMessage
    from langchain_core.runnables import Runnable, RunnableConfig

REQUEST = "hello"


class Runs(BaseCallbackHandler):
    """Keeps the runs that were opened, and how they ended.

    LangChain itself tells twice of an error in `astream_events`, so ends are sets of runs.
    """

    def __init__(self) -> None:
        self.models: list[UUID] = []
        self.chains: list[UUID] = []
        self.answered: set[UUID] = set()
        self.failed: set[UUID] = set()

    def on_chat_model_start(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self.models.append(run_id)

    def on_chain_start(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self.chains.append(run_id)

    def on_llm_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self.answered.add(run_id)

    def on_llm_error(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self.failed.add(run_id)

    on_chain_end = on_llm_end
    on_chain_error = on_llm_error


@dataclass(slots=True, kw_only=True)
class Heard:
    """What a caller has got.

    Attributes:
        pieces: The text, as it came; empty where the door gives only the whole.
        called: The text of tool calls, as it came.
        message: The whole answer.
        error: What was raised in its place.
        runs: The runs that handlers were told of.
        usage: What LangChain's own counter of tokens has counted.
    """

    pieces: list[str] = field(default_factory=list)
    called: list[str] = field(default_factory=list)
    message: AIMessage | None = None
    error: BaseException | None = None
    runs: Runs = field(default_factory=Runs)
    usage: UsageMetadataCallbackHandler = field(default_factory=UsageMetadataCallbackHandler)

    @property
    def config(self) -> RunnableConfig:
        return {"callbacks": [self.runs, self.usage]}

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def called_text(self) -> str:
        return "".join(self.called)

    def chunk(self, chunk: Any) -> None:
        self.pieces.append(chunk.text)
        self.called += [part["args"] or "" for part in chunk.tool_call_chunks]

    def event(self, event: Any) -> None:
        delta = event.get("delta") or {}
        self.pieces.append(delta.get("text") or "")
        self.called.append(delta.get("args") or "")


def _invoke(model: Runnable[Any, Any], heard: Heard) -> None:
    heard.message = model.invoke(REQUEST, heard.config)


async def _ainvoke(model: Runnable[Any, Any], heard: Heard) -> None:
    heard.message = await model.ainvoke(REQUEST, heard.config)


def _stream(model: Runnable[Any, Any], heard: Heard) -> None:
    chunks = []
    for chunk in model.stream(REQUEST, heard.config):
        heard.chunk(chunk)
        chunks.append(chunk)
    heard.message = chunks[0] + chunks[1:]


async def _astream(model: Runnable[Any, Any], heard: Heard) -> None:
    chunks = []
    async for chunk in model.astream(REQUEST, heard.config):
        heard.chunk(chunk)
        chunks.append(chunk)
    heard.message = chunks[0] + chunks[1:]


def _stream_events(model: Runnable[Any, Any], heard: Heard) -> None:
    stream: Any = model.stream_events(REQUEST, heard.config, version="v3")
    for event in stream:
        heard.event(event)
    heard.message = stream.output


async def _astream_events(model: Runnable[Any, Any], heard: Heard) -> None:
    stream: Any = await model.astream_events(REQUEST, heard.config, version="v3")
    async for event in stream:
        heard.event(event)
    heard.message = await stream


_WAYS: dict[str, Callable[[Runnable[Any, Any], Heard], Coroutine[Any, Any, None] | None]] = {
    "invoke": _invoke,
    "ainvoke": _ainvoke,
    "stream": _stream,
    "astream": _astream,
    "stream_events": _stream_events,
    "astream_events": _astream_events,
}


def hear(model: Runnable[Any, Any], door: str) -> Heard:
    """Put the request through a door, and keep all that comes out."""
    heard = Heard()
    try:
        waiting = _WAYS[door](model, heard)
        if waiting is not None:
            asyncio.run(waiting)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what the caller got
        heard.error = error
    return heard
