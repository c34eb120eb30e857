"""LangChain's doors into a chat model, each as a plain function, and what comes out of them."""

from __future__ import annotations

import asyncio
import operator
from functools import reduce
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from langchain_core.messages import AIMessage
    from langchain_core.runnables import RunnableConfig
    from langchain_core.runnables.base import Runnable


def to(tier: str, **more: Any) -> RunnableConfig:
    """A config that sends a call to a tier."""
    return {"configurable": {"tier": str(tier), **more}}


def attempts(message: AIMessage) -> list[tuple[str, str, str | None]]:
    """Tier, outcome and fault of each attempt that an answer tells of."""
    told = message.response_metadata["routing"]["attempts"]
    return [(attempt["tier"], attempt["outcome"], attempt["fault"]) for attempt in told]


def joined(chunks: list[Any]) -> Any:
    """The whole of a stream."""
    return reduce(operator.add, chunks)


async def collect(pieces: AsyncIterator[Any]) -> list[Any]:
    """An asynchronous stream as a list."""
    return [piece async for piece in pieces]


async def _aevents(model: Any, *given: Any) -> Any:
    stream = await model.astream_events(*given, version="v3")
    return await stream.output


async def _abatch(model: Runnable[Any, Any], message: str, *config: Any) -> Any:
    (answer,) = await model.abatch([message], *config)
    return answer


DOORS: dict[str, Callable[..., Any]] = {
    "invoke": lambda m, *given: m.invoke(*given),
    "ainvoke": lambda m, *given: asyncio.run(m.ainvoke(*given)),
    "stream": lambda m, *given: joined(list(m.stream(*given))),
    "astream": lambda m, *given: joined(asyncio.run(collect(m.astream(*given)))),
    "batch": lambda m, message, *config: m.batch([message], *config)[0],
    "abatch": lambda m, *given: asyncio.run(_abatch(m, *given)),
    "stream_events": lambda m, *given: m.stream_events(*given, version="v3").output,
    "astream_events": lambda m, *given: asyncio.run(_aevents(m, *given)),
}
"""Each takes a model, a message and perhaps a config, and returns the whole answer."""


async def _apieces(model: Any, *given: Any) -> AsyncIterator[str]:
    stream = await model.astream_events(*given, version="v3")
    async for piece in stream.text:
        yield piece


STREAMS: dict[str, Callable[..., Any]] = {
    "stream": lambda m, *given: (chunk.text for chunk in m.stream(*given)),
    "astream": lambda m, *given: (chunk.text async for chunk in m.astream(*given)),
    "stream_events": lambda m, *given: iter(m.stream_events(*given, version="v3").text),
    "astream_events": _apieces,
}
"""Each takes a model, a message and perhaps a config, and returns an iterator of texts."""


def read_each(pieces: Any, take: Callable[[str], None]) -> None:
    """Hand each text of a stream on, whether it comes synchronously or not."""

    async def aread() -> None:
        async for piece in pieces:
            take(piece)

    if hasattr(pieces, "__aiter__"):
        asyncio.run(aread())
    else:
        _read(pieces, take)


def _read(pieces: Iterator[str], take: Callable[[str], None]) -> None:
    for piece in pieces:
        take(piece)
