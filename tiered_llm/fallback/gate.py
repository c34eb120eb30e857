"""A bound on the calls that one process makes to one tier at a time."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


_OPEN = nullcontext()


class Gate:
    """Lets at most `limit` callers through, first come first served.

    One count for threads and event loops alike; a waiting coroutine does not block its
    loop, and one that is cancelled while it waits gives its turn away. A stream holds its
    place until it is closed: a call made from inside it needs a second one.
    """

    def __init__(self, limit: int | None) -> None:
        """Set the bound; None lets everybody through."""
        self._free = limit or 0
        self._open = limit is None
        self._lock = threading.RLock()  # a garbage-collected stream may leave within a call
        self._waiting: deque[Future[None]] = deque()

    def enter(self, timeout_s: float | None = None) -> AbstractContextManager[None]:
        """Hold a place; waits for one in the calling thread.

        Raises:
            TimeoutError: None came free in time.
        """
        return _OPEN if self._open else self._held(timeout_s)

    def aenter(self, timeout_s: float | None = None) -> AbstractAsyncContextManager[None]:
        """Hold a place; waits for one without blocking the loop.

        Raises:
            TimeoutError: None came free in time.
        """
        return _OPEN if self._open else self._aheld(timeout_s)

    @contextmanager
    def _held(self, timeout_s: float | None) -> Iterator[None]:
        turn = self._ask()
        if turn is not None:
            with self._giving_back(turn):
                turn.result(timeout_s)
        try:
            yield
        finally:
            self._leave()

    @asynccontextmanager
    async def _aheld(self, timeout_s: float | None) -> AsyncIterator[None]:
        turn = self._ask()
        if turn is not None:
            with self._giving_back(turn):
                async with asyncio.timeout(timeout_s):
                    await asyncio.wrap_future(turn)
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def _giving_back(self, turn: Future[None]) -> Iterator[None]:
        """Who is interrupted while waiting gives the turn away, or back if it had come."""
        try:
            yield
        except BaseException:
            if not turn.cancel():
                self._leave()
            raise

    def _ask(self) -> Future[None] | None:
        """None if the caller may go in at once, else what tells it when."""
        turn: Future[None] = Future()
        with self._lock:
            self._waiting.append(turn)
        self._let_in()
        return None if turn.done() else turn

    def _leave(self) -> None:
        with self._lock:
            self._free += 1
        self._let_in()

    def _let_in(self) -> None:
        """Give free places to those who wait, first come first served.

        A turn is told outside the lock: who waits for it may be woken at once.
        """
        while True:
            with self._lock:
                if not self._free or not self._waiting:
                    return
                turn = self._waiting.popleft()
                if not turn.set_running_or_notify_cancel():
                    continue
                self._free -= 1
            turn.set_result(None)
