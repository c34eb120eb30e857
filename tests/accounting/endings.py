"""The ways in which a call ends: TRAPS' list, one class each.

An ending makes some calls at a time: by one thread, by many, or on an event loop. Whatever must
have happened before a call is left is waited for on the server's side.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

from accounting.calls import number_of
from accounting.laws import REFUSED, TOLD, UNTOLD, Law
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda

from tiered_llm.testing import Answer, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accounting.calls import Call

    from tiered_llm.testing import ChatRequest

Step = Answer | Fault

ANSWER = Answer(text="one two three four five six seven eight nine ten")


class Ending:
    """How some calls are made and end; `law` says what must be in the books then."""

    law: Law = TOLD
    step: Step = ANSWER
    fields: ClassVar[dict[str, Any]] = {}
    """What the model needs beside its server."""

    def some(self, calls: list[Call]) -> None:
        """One after the other, unless an ending says otherwise."""
        for call in calls:
            self.one(call)

    def one(self, call: Call) -> None:
        raise NotImplementedError

    def serve(self, request: ChatRequest) -> Step:
        """What the server does with a request."""
        return self.step


class OnTheLoop(Ending):
    """All at once on an event loop, a new one each time."""

    def some(self, calls: list[Call]) -> None:
        asyncio.run(self.all_at_once(calls))

    async def all_at_once(self, calls: list[Call]) -> None:
        await asyncio.gather(*(self.aone(call) for call in calls))

    async def aone(self, call: Call) -> None:
        raise NotImplementedError


async def read(chunks: Any) -> list[Any]:
    return [chunk async for chunk in chunks]


# --- answered ---


class Invoked(Ending):
    def one(self, call: Call) -> None:
        call.model.invoke(call.words, call.config)


class InThreadsOfTheirOwn(Invoked):
    """A user's own pool, whose threads know no context of ours."""

    def some(self, calls: list[Call]) -> None:
        with ThreadPoolExecutor(len(calls)) as pool:
            list(pool.map(self.one, calls))


class Awaited(OnTheLoop):
    async def aone(self, call: Call) -> None:
        await call.model.ainvoke(call.words, call.config)


class Streamed(Ending):
    def one(self, call: Call) -> None:
        list(call.model.stream(call.words, call.config))


class StreamedOnTheLoop(OnTheLoop):
    async def aone(self, call: Call) -> None:
        await read(call.model.astream(call.words, call.config))


class Batched(Ending):
    def some(self, calls: list[Call]) -> None:
        calls[0].model.batch([c.words for c in calls], [c.config for c in calls])


class BatchedOnTheLoop(OnTheLoop):
    async def all_at_once(self, calls: list[Call]) -> None:
        await calls[0].model.abatch([c.words for c in calls], [c.config for c in calls])


def generating(call: Call) -> dict[str, Any]:
    """Two prompts, each of which is a request."""
    given = {name: call.config.get(name) for name in ("callbacks", "metadata")}
    return {"messages": [[HumanMessage(call.words)]] * 2, **given}


class Generated(Ending):
    def one(self, call: Call) -> None:
        call.model.generate(**generating(call))


class GeneratedOnTheLoop(OnTheLoop):
    async def aone(self, call: Call) -> None:
        await call.model.agenerate(**generating(call))


# --- refused, or never sent ---


class Refused(Invoked):
    """With a 4xx: the server has said that it does nothing."""

    law, step = REFUSED, Fault.status(429)

    def one(self, call: Call) -> None:
        with contextlib.suppress(Exception):
            super().one(call)


class RefusedOnTheLoop(StreamedOnTheLoop):
    law, step = REFUSED, Fault.status(404)

    async def aone(self, call: Call) -> None:
        with contextlib.suppress(Exception):
            await super().aone(call)


class Unreachable(Refused):
    """Connecting is refused: no request is there at all."""

    def some(self, calls: list[Call]) -> None:
        calls[0].server.refuse()
        super().some(calls)
        calls[0].server.accept()


# --- broken by the server ---


class Broken(Ending):
    """Asked whole, streamed, awaited and streamed on the loop, by turns; each of them fails."""

    law = UNTOLD
    sent_share = 1.0
    """Of the calls, how many reach the server at least."""

    def one(self, call: Call) -> None:
        ways = (Invoked, Streamed, Awaited, StreamedOnTheLoop)
        with contextlib.suppress(Exception):
            ways[call.number % len(ways)]().some([call])


class ServerError(Broken):
    step = Fault.status(500)


class CutWhileAnswering(Broken):
    step = Fault.cut(at="content", after=4, answer=ANSWER)


class CutBeforeAnswering(Broken):
    step = Fault.cut(at="start")


class EndedEarly(Broken):
    """A clean end of the stream without finish reason and usage; no client calls it an error."""

    step = Fault.early_end(after=4, answer=ANSWER)

    def one(self, call: Call) -> None:
        ways = (Streamed, StreamedOnTheLoop)
        with contextlib.suppress(Exception):
            ways[call.number % len(ways)]().some([call])


class BadChunk(EndedEarly):
    step = Fault.bad_chunk(after=4, answer=ANSWER)


class ErrorEvent(EndedEarly):
    step = Fault.error_event(after=4, answer=ANSWER)


class TimedOutByItsClient(Broken):
    step = Fault.stall(at="content", after=2, answer=ANSWER)
    fields: ClassVar[dict[str, Any]] = {"timeout_s": 1.0}
    sent_share = 0.9  # on a busy machine a connection may be too late as well: nothing is sent

    def some(self, calls: list[Call]) -> None:
        with ThreadPoolExecutor(len(calls)) as pool:
            list(pool.map(self.one, calls))


# --- left by the caller ---

CHUNKS = 5
"""How many chunks are read at most before a stream is left."""


class Closed(Ending):
    """After none, one, or some chunks; before the first one nothing is sent."""

    law = UNTOLD
    step = Fault.stall(at="content", after=CHUNKS + 1, answer=ANSWER)

    def one(self, call: Call) -> None:
        self.leave(call.model.stream(call.words, call.config), call.number)

    def leave(self, stream: Iterator[Any], number: int) -> None:
        for _ in range(number % CHUNKS):
            next(stream)
        stream.close()


class ClosedInAChain(Closed):
    """The chain's run is told of its end first, the model's of an error after it."""

    def one(self, call: Call) -> None:
        chain = RunnableLambda(str) | call.model
        self.leave(chain.stream(call.words, call.config), call.number)


class ClosedBehindAParser(Closed):
    """LangChain reads what a chain's last step was given to its end when that step is left."""

    law, step = TOLD, ANSWER

    def one(self, call: Call) -> None:
        chain = call.model | StrOutputParser()
        self.leave(chain.stream(call.words, call.config), call.number)


class ClosedAfterTheLastWord(Closed):
    """All of the text is read, and the usage is not: the server was done, and nobody knows."""

    step = Fault.stall(at="content", after=10, answer=ANSWER)

    def leave(self, stream: Iterator[Any], number: int) -> None:
        seen = ""
        for chunk in stream:
            seen += chunk.text
            if seen == ANSWER.text:
                break
        stream.close()


class ClosedOnTheLoop(OnTheLoop):
    law, step = UNTOLD, Closed.step

    async def all_at_once(self, calls: list[Call]) -> None:
        """Ollama's own client hangs up later, in a task that needs the loop."""
        await super().all_at_once(calls)
        server = calls[0].server
        await server.await_for(lambda: all(r.disconnected for r in server.requests))

    async def aone(self, call: Call) -> None:
        stream = call.model.astream(call.words, call.config)
        for _ in range(call.number % CHUNKS):
            await anext(stream)
        await stream.aclose()


class LeftOnTheLoop(OnTheLoop):
    """Left when the server has all of the requests, and answers none of them."""

    law, step = UNTOLD, Fault.stall(at="content", after=CHUNKS, answer=ANSWER)

    async def all_at_once(self, calls: list[Call]) -> None:
        tasks = [asyncio.create_task(self.aone(call)) for call in calls]
        server, numbers = calls[0].server, {call.number for call in calls}
        await server.await_for(
            lambda: numbers <= {number_of(r) for r in server.requests if r.outcome == "stalled"}
        )
        self.leave(tasks)
        await asyncio.gather(*tasks, return_exceptions=True)

    def leave(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()


class StreamCancelled(LeftOnTheLoop):
    async def aone(self, call: Call) -> None:
        await read(call.model.astream(call.words, call.config))


class AwaitCancelled(LeftOnTheLoop):
    async def aone(self, call: Call) -> None:
        await call.model.ainvoke(call.words, call.config)


class AwaitTimedOut(AwaitCancelled):
    """By `asyncio.timeout`, which is due as soon as the server has the requests."""

    def __init__(self) -> None:
        self._limits: list[asyncio.Timeout] = []

    async def aone(self, call: Call) -> None:
        async with asyncio.timeout(None) as limit:
            self._limits.append(limit)
            await super().aone(call)

    def leave(self, tasks: list[asyncio.Task[None]]) -> None:
        now_s = asyncio.get_running_loop().time()
        for limit in self._limits:
            limit.reschedule(now_s)
        self._limits.clear()


ANSWERED = (
    Invoked, InThreadsOfTheirOwn, Awaited, Streamed, StreamedOnTheLoop,
    Batched, BatchedOnTheLoop, Generated, GeneratedOnTheLoop,
)  # fmt: skip
FREE = (Refused, RefusedOnTheLoop, Unreachable)
BROKEN = (
    ServerError, CutWhileAnswering, CutBeforeAnswering, EndedEarly, BadChunk, ErrorEvent,
    TimedOutByItsClient,
)  # fmt: skip
LEFT = (
    Closed, ClosedInAChain, ClosedBehindAParser, ClosedAfterTheLastWord, ClosedOnTheLoop,
    StreamCancelled,
)  # fmt: skip
UNHEARD = (AwaitCancelled, AwaitTimedOut)
"""Of these no callback tells."""
