"""LangChain's v3 event streams over the pipeline.

The inner model's own event stream is passed on, event by event, so that its run stays the
only model run. What is done here is what `BaseChatModel` does around its own events.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

_EMPTY = "No generation chunks were returned"


class ClosableStream(ChatModelStream):
    """A stream that can be left before its end.

    Core's own has no such thing: left early, it would keep its place at a tier of bounded
    concurrency until it is collected. The connection below it is core's, and is kept until then.
    """

    opened: Sequence[Any] = ()

    def close(self) -> None:
        """Give the place back, and end the chain's run; may be called at any time, and again."""
        for events in self.opened:
            events.close()

    def __enter__(self) -> Self:
        """Read it inside."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def event_stream(open_events: Callable[[], Iterator[Any]]) -> ClosableStream:
    """A stream that is opened when first looked at, and driven by its consumer."""
    stream = ClosableStream()
    events: list[Iterator[Any]] = []

    def start() -> None:
        if not events:
            events.append(open_events())

    def pump() -> bool:
        start()
        try:
            stream.dispatch(next(events[0]))
            if stream.done:  # the runs end when the last event has been taken
                for _ in events[0]:
                    pass
        except StopIteration:
            if not stream.done:
                stream.fail(ValueError(_EMPTY))
            return False
        except BaseException as error:  # noqa: BLE001  # handed to whoever reads the stream
            stream.fail(error)
            return False
        return True

    stream.set_start(start)
    stream.bind_pump(pump)
    stream.opened = events
    return stream


def async_event_stream(open_events: Callable[[], AsyncIterator[Any]]) -> AsyncChatModelStream:
    """A stream that is opened when first looked at, and driven by a task of its own."""
    stream = AsyncChatModelStream()

    async def produce() -> None:
        try:
            async for event in open_events():
                stream.dispatch(event)
            if not stream.done:
                stream.fail(ValueError(_EMPTY))
        except asyncio.CancelledError as error:
            stream.fail(error)
            raise
        except BaseException as error:  # noqa: BLE001  # handed to whoever reads the stream
            stream.fail(error)

    async def start() -> None:
        # the attribute is langchain-core's own: `aclose` cancels the task that it finds there
        if stream._producer_task is None:  # noqa: SLF001
            stream._producer_task = asyncio.get_running_loop().create_task(produce())  # noqa: SLF001

    stream.set_start(start)
    return stream
