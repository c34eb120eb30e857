"""Many callers at once, by every door, and what each of them got."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler
from soak.weather import answer_text, question

from tiered_llm.errors import AllTiersFailedError, StreamInterruptedError, TieredLLMError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tiered_llm import TieredChatModel

TASKS = {"light": "simple_qa", "standard": "agent_execution", "heavy": "thinking"}
MOST_ATTEMPTS = 3
_COROUTINES, _THREADS = 48, 16
CONCURRENCY = _COROUTINES + _THREADS
_PATIENCE_S = 0.02
"""After which an impatient caller leaves."""


class Runs(BaseCallbackHandler):
    """Counts one call's model runs: every attempt that is made is one of them.

    One caller in four has no callbacks, for such calls go another way; there, what is told of
    the attempts must do.
    """

    run_inline = True

    def __init__(self, number):
        self.begun = self.ended = 0
        self.watching = number % 4 != 0

    @property
    def callbacks(self):
        return [self] if self.watching else None

    def unlike(self, attempts):
        """Whether other attempts are told of than were made."""
        return self.watching and len(attempts) != self.begun

    def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        self.begun += 1

    def on_llm_end(self, *_: Any, **__: Any) -> None:
        self.ended += 1

    def on_llm_error(self, *_: Any, **__: Any) -> None:
        self.ended += 1


@dataclass(slots=True, kw_only=True)
class Heard:
    """What came of one call: pieces of text, the routing once it was whole, how it was left."""

    pieces: list[str] = field(default_factory=list)
    routing: dict[str, Any] | None = None
    left: bool = False
    cancelled: bool = False

    @property
    def text(self):
        return "".join(self.pieces)

    def whole(self, message):
        self.pieces, self.routing = [message.text], message.response_metadata["routing"]

    def piece(self, chunk):
        self.pieces.append(chunk.text)
        self.routing = chunk.response_metadata.get("routing", self.routing)


async def _ainvoke(model, asked, config, heard):
    heard.whole(await model.ainvoke(asked, config))


async def _astream(model, asked, config, heard):
    async for chunk in model.astream(asked, config):
        heard.piece(chunk)


async def _astream_events(model, asked, config, heard):
    stream = await model.astream_events(asked, config, version="v3")
    async for piece in stream.text:
        heard.pieces.append(piece)
    heard.routing = (await stream.output).response_metadata["routing"]


async def _astream_left(model, asked, config, heard):
    chunks = model.astream(asked, config)
    heard.piece(await anext(chunks))
    await chunks.aclose()
    heard.left = True


async def _ainvoke_left(model, asked, config, heard):
    try:
        async with asyncio.timeout(_PATIENCE_S) as patience:
            await _ainvoke(model, asked, config, heard)
    except TimeoutError:
        heard.left = heard.cancelled = patience.expired()
        if not heard.left:
            raise


def _invoke(model, asked, config, heard):
    heard.whole(model.invoke(asked, config))


def _stream(model, asked, config, heard):
    for chunk in model.stream(asked, config):
        heard.piece(chunk)


def _stream_events(model, asked, config, heard):
    stream = model.stream_events(asked, config, version="v3")
    heard.pieces.extend(stream.text)
    heard.routing = stream.output.response_metadata["routing"]


def _stream_left(model, asked, config, heard):
    chunks = model.stream(asked, config)
    heard.piece(next(chunks))
    chunks.close()
    heard.left = True


FOR_COROUTINES = (_ainvoke, _astream) * 4 + (_astream_events,) * 2
FOR_THREADS = (_invoke, _stream) * 3 + (_stream_events,)
LEAVING = (_astream_left, _ainvoke_left)
LEAVING_THREADS = (_stream_left,)


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of all calls; it does not grow with their number.

    Attributes:
        ends: How the calls ended: the tier that answered, `left`, or the error's class.
        attempts: How many calls made how many attempts.
        faults: How attempts failed, as far as answers and errors tell.
        wrong: What should not be.
        unended: Calls with runs that had not ended when their caller went on.
    """

    ends: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    unended: list[Runs] = field(default_factory=list, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def calls(self) -> int:
        """All calls."""
        return self.ends.total()

    @property
    def answered(self) -> int:
        """Calls that were answered in full."""
        return sum(self.ends[tier] for tier in TASKS)

    @property
    def made(self) -> int:
        """All attempts."""
        return sum(attempts * calls for attempts, calls in self.attempts.items())

    def count(self, number: int, heard: Heard, error: BaseException | None, runs: Runs) -> None:
        """Judge one call and count it."""
        end, problems = _judged(number, heard, error, runs)
        door = "thread" if _by_thread(number) else "coroutine"
        told = _told(heard, error)
        with self._lock:
            self.ends[end] += 1
            self.attempts[runs.begun if runs.watching else len(told)] += 1
            self.faults.update(fault for fault in told if fault)
            self.wrong += [f"request {number} ({door}, {end}): {problem}" for problem in problems]
            # langchain-core ends no run whose `ainvoke` is cancelled, whatever the model
            if runs.begun != runs.ended and not heard.cancelled:
                self.unended.append(runs)


def _judged(
    number: int, heard: Heard, error: BaseException | None, runs: Runs
) -> tuple[str, list[str]]:
    problems = []
    made = max(runs.begun, len(_told(heard, error)))
    if made > MOST_ATTEMPTS:
        problems.append(f"{made} attempts")
    if error is not None:
        return type(error).__name__, problems + list(_about_error(number, heard, error, runs))
    if heard.left:
        return "left", problems
    if heard.routing is None:
        return "nothing", [*problems, "neither an error nor an answer with its routing"]
    tier = heard.routing["tier"]
    if heard.text != answer_text(tier, number):
        problems.append(f"{tier} did not say {heard.text!r}")
    if runs.unlike(heard.routing["attempts"]):
        problems.append(f"{runs.begun} runs for {heard.routing['attempts']}")
    if runs.begun != runs.ended:
        problems.append(f"{runs.begun} runs begun, {runs.ended} ended")
    return tier, problems


def _about_error(number: int, heard: Heard, error: BaseException, runs: Runs) -> Iterator[str]:
    if not isinstance(error, TieredLLMError):
        yield f"an error of no known kind: {error!r}, from {error.__cause__!r}"
    if isinstance(error, AllTiersFailedError):
        if runs.unlike(error.attempts):
            yield f"{runs.begun} runs for {error}"
        if heard.text:
            yield f"all failed after {heard.text!r}"
    if isinstance(error, StreamInterruptedError):
        if heard.text != error.partial_text:
            yield f"heard {heard.text!r}, told {error.partial_text!r}"
        if not answer_text(error.tier, number).startswith(error.partial_text):
            yield f"{error.tier} did not begin with {error.partial_text!r}"


def _told(heard: Heard, error: BaseException | None) -> list[str | None]:
    """The fault of each attempt, as far as the answer or the error tells; None for none."""
    if isinstance(error, AllTiersFailedError):
        return [attempt.fault for attempt in error.attempts]
    if isinstance(error, StreamInterruptedError):
        return [error.fault]
    return [attempt["fault"] for attempt in heard.routing["attempts"]] if heard.routing else []


def _by_thread(number: int) -> bool:
    return number % CONCURRENCY < _THREADS


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Callers of one model: coroutines and threads, 64 at once.

    Attributes:
        model: Whom they call.
        wanted: The tiers that they ask for, in turn.
        leaving_every: One of so many callers leaves before the end; 0 for none.
    """

    model: TieredChatModel
    wanted: tuple[str, ...] = tuple(TASKS)
    leaving_every: int = 0

    async def ask(self, numbers: Iterable[int], tally: Tally) -> None:
        """Make the calls of these numbers, and wait for all of them to end."""
        numbers = list(numbers)
        sync = iter([number for number in numbers if _by_thread(number)])
        others = iter([number for number in numbers if not _by_thread(number)])
        works = [_in_thread(lambda: self._by_turns(sync, tally)) for _ in range(_THREADS)]
        coroutines = [self._aby_turns(others, tally) for _ in range(_COROUTINES)]
        await asyncio.gather(*coroutines, *(asyncio.wrap_future(done) for done, _ in works))
        for _, thread in works:
            thread.join()

    def _by_turns(self, numbers: Iterator[int], tally: Tally) -> None:
        for number in numbers:
            door = self._door(number, FOR_THREADS, LEAVING_THREADS)
            heard, error, runs = Heard(), None, Runs(number)
            try:
                door(self.model, question(number), self._config(number, runs), heard)
            except Exception as caught:  # noqa: BLE001  # judged below
                error = caught
            tally.count(number, heard, error, runs)

    async def _aby_turns(self, numbers: Iterator[int], tally: Tally) -> None:
        for number in numbers:
            door = self._door(number, FOR_COROUTINES, LEAVING)
            heard, error, runs = Heard(), None, Runs(number)
            try:
                await door(self.model, question(number), self._config(number, runs), heard)
            except Exception as caught:  # noqa: BLE001  # judged below
                error = caught
            tally.count(number, heard, error, runs)

    def _door(self, number: int, doors: tuple[Any, ...], leaving: tuple[Any, ...]) -> Any:
        turn = number // CONCURRENCY + number
        if self.leaving_every and turn % self.leaving_every == 0:
            return leaving[number % len(leaving)]
        return doors[turn % len(doors)]

    def _config(self, number: int, runs: Runs) -> dict[str, Any]:
        task = TASKS[self.wanted[number % len(self.wanted)]]
        return {"callbacks": runs.callbacks, "configurable": {"task_type": task}}


def _in_thread(work: Callable[[], None]) -> tuple[Future[None], threading.Thread]:
    """Work in a thread that does not outlive the process, should it hang."""
    done: Future[None] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001  # handed to who waits
            done.set_exception(error)

    thread = threading.Thread(target=run, name="caller", daemon=True)
    thread.start()
    return done, thread
