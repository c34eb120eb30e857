"""What must not grow: threads, tasks, descriptors, memory. And what must not hang."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import traceback
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from tiered_llm.fallback.breaker import Permit
from tiered_llm.providers import core_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tiered_llm import TieredChatModel

_DESCRIPTORS = Path("/dev/fd")
_ROUNDS, _PATIENCE_S = 100, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the process holds.

    Attributes:
        threads: Living threads by name.
        descriptors: Open files and sockets by kind.
    """

    threads: Counter[str]
    descriptors: Counter[str]

    @classmethod
    def now(cls) -> Self:
        """Look, after what is garbage has gone."""
        gc.collect()
        threads = Counter(thread.name for thread in threading.enumerate())
        return cls(threads=threads, descriptors=Counter(map(_kind, _DESCRIPTORS.iterdir())))

    def beyond(self, before: Held) -> dict[str, int]:
        """What there is more of than before."""
        return dict(self.threads - before.threads) | dict(self.descriptors - before.descriptors)


def _kind(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink()).partition(":")[0]
    except OSError:  # the one that was open for the listing
        return "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the interpreter holds at rest: counts that are exact, where RSS is not.

    Attributes:
        objects: Objects that the garbage collector knows.
        blocks: Blocks of memory in use, of whatever object.
    """

    objects: int
    blocks: int

    @classmethod
    def now(cls) -> Self:
        """Count, after what is garbage has gone."""
        gc.collect()
        return cls(objects=len(gc.get_objects()), blocks=sys.getallocatedblocks())


async def tasks_left() -> list[str]:
    """Tasks of the running loop that do not end, and generators that nobody closes.

    An event stream's producer may end just after its reader. And the clients leave the
    generators of a broken stream to the garbage collector, whose hook closes them in tasks:
    one in the other, each in a turn of its own.
    """
    left: list[str] = []
    for _ in range(_ROUNDS):
        gc.collect()
        await asyncio.sleep(0)
        await _end_of_tasks()
        left = _seen()  # texts: a list of the generators themselves would keep them alive
        if not left:
            break
    return left


async def _end_of_tasks() -> None:
    if tasks := _tasks():
        await asyncio.wait(tasks, timeout=_PATIENCE_S)


def _seen() -> list[str]:
    return [repr(each) for each in (*_tasks(), *_generators())]


def _tasks() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


def _generators() -> list[Any]:
    loop: Any = asyncio.get_running_loop()
    return [generator for generator in loop._asyncgens if generator.ag_frame is not None]


def permits_left() -> int:
    """Permits that somebody still holds."""
    gc.collect()
    return sum(type(held) is Permit for held in gc.get_objects())


def clients_of(model: TieredChatModel) -> list[Any]:
    """The httpx clients behind a model: of the running loop, and of threads."""
    found = []
    for endpoint in model.stages.endpoints.values():
        for each in (endpoint.model, endpoint.async_model()):
            core: Any = core_of(each)
            if hasattr(core, "root_client"):  # ChatOpenAI, else ChatOllama
                clients = (core.root_client._client, core.root_async_client._client)
            else:
                clients = (core._client._client, core._async_client._client)
            found += [client for client in clients if client not in found]
    return found


def _pools_of(model: TieredChatModel) -> list[Any]:
    return [client._transport._pool for client in clients_of(model)]


def busy_connections(model: TieredChatModel) -> list[str]:
    """Connections of a model's clients that are checked out of their pool, or wait for one.

    Not those that were never begun: httpcore forgets the place of a request that is cancelled
    between being given a connection and opening it. There is no socket behind it.
    """
    pools = _pools_of(model)
    connections = [connection for pool in pools for connection in pool.connections]
    waiting = [repr(pool) for pool in pools if pool._requests]
    return [
        repr(each)
        for each in connections
        if not (each.is_idle() or each.is_closed() or _never_begun(each))
    ] + waiting


def _never_begun(connection: Any) -> bool:
    return connection._connection is None


async def close_connections(model: TieredChatModel) -> None:
    """Close what a model's clients keep alive; they may be used again."""
    for pool in _pools_of(model):
        if hasattr(pool, "aclose"):
            await pool.aclose()
        else:
            pool.close()


def watched(work: Callable[[], Coroutine[Any, Any, Any]], bound_s: float) -> Any:
    """Do asynchronous work on a loop of its own; fail, with all stacks, if it hangs."""
    loops: list[asyncio.AbstractEventLoop] = []
    done: Future[Any] = Future()

    def run() -> None:
        try:
            with asyncio.Runner() as runner:
                loops.append(runner.get_loop())
                result = runner.run(work())
            done.set_result(result)
        except BaseException as error:  # noqa: BLE001  # handed to the test
            done.set_exception(error)

    thread = threading.Thread(target=run, name="crowd", daemon=True)
    thread.start()
    try:
        result = done.result(bound_s)
    except TimeoutError:
        if done.done():
            raise
        pytest.fail(f"still not done after {bound_s} s\n{_stacks(loops)}")
    thread.join()
    return result


def _stacks(loops: list[asyncio.AbstractEventLoop]) -> str:
    frames = sys._current_frames()
    lines = []
    for thread in threading.enumerate():
        stack = traceback.format_stack(frames.get(thread.ident or 0))
        lines += [f"thread {thread.name}", *stack]
    for loop in loops:
        for task in asyncio.all_tasks(loop):
            stack = [line for frame in task.get_stack() for line in traceback.format_stack(frame)]
            lines += [f"task {task.get_name()} {task.get_coro()}", *stack]
    return "\n".join(lines)
