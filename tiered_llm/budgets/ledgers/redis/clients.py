"""The two ways to wait: connections of threads, and connections of an event loop."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from tiered_llm.budgets.ledgers.redis.library import Address, Library
    from tiered_llm.budgets.ledgers.redis.routes import Hop, Steps

_T = TypeVar("_T")
_CONNECTIONS: Final = 32  # of one event loop; more calls than that wait for their turn


class ThreadsClient:
    """Connections for threads: each is one thread's for one command, and then any other's."""

    def __init__(self, library: Library, connect: Callable[[Address], Any]) -> None:
        """Connect when it is first needed."""
        self._library, self._connect = library, connect
        self._idle: defaultdict[Address, list[Any]] = defaultdict(list)

    def run(self, steps: Steps[_T]) -> _T:
        """Run an operation to its end."""
        try:
            hop = next(steps)
            while True:
                try:
                    reply = self._exchange(hop)
                except self._library.failures as error:
                    hop = steps.throw(error)
                else:
                    hop = steps.send(reply)
        except StopIteration as stop:
            answer: _T = stop.value
            return answer

    def close(self) -> None:
        """Close the connections that are idle."""
        for address in list(self._idle):
            self._drop(address)

    def _exchange(self, hop: Hop) -> Any:
        idle, reply = self._idle[hop.address], None
        try:
            connection = idle.pop()
        except IndexError:
            connection = self._connect(hop.address)
        try:
            connection.send_packed_command([hop.command], check_health=False)
            for _ in range(hop.replies):
                reply = connection.read_response(disable_decoding=True)
        except BaseException as error:
            if hop.replies == 1 and isinstance(error, self._library.refused):
                idle.append(connection)
            else:
                connection.disconnect()
                self._drop(hop.address)
            raise
        idle.append(connection)
        return reply

    def _drop(self, address: Address) -> None:
        """Close what is idle: a server that was started anew knows none of it."""
        idle = self._idle[address]
        while idle:
            try:
                connection = idle.pop()
            except IndexError:  # another thread has taken the last
                return
            connection.disconnect()


class LoopClient:
    """Connections for one event loop: each is one coroutine's for one command.

    Not more than `_CONNECTIONS` commands are under way; others wait for their turn.
    """

    def __init__(
        self, library: Library, connect: Callable[[Address], Any], connect_s: float, reply_s: float
    ) -> None:
        """Connect when it is first needed."""
        self._library, self._connect = library, connect
        self._connect_s, self._reply_s = connect_s, reply_s
        self._idle: defaultdict[Address, list[Any]] = defaultdict(list)
        self._turn = asyncio.Semaphore(_CONNECTIONS)

    async def run(self, steps: Steps[_T]) -> _T:
        """Run an operation to its end."""
        try:
            hop = next(steps)
            while True:
                try:
                    async with self._turn:
                        reply = await self._exchange(hop)
                except self._library.failures as error:
                    hop = steps.throw(error)
                else:
                    hop = steps.send(reply)
        except StopIteration as stop:
            answer: _T = stop.value
            return answer

    async def aclose(self) -> None:
        """Close the connections that are idle."""
        for address in list(self._idle):
            await self._drop(address)

    async def kept_open(self) -> AsyncGenerator[None]:
        """Live as long as the loop, whose end finishes its generators."""
        try:
            yield
        finally:
            await self.aclose()

    async def _exchange(self, hop: Hop) -> Any:
        """Send and wait, but not for ever.

        Not by redis-py's own timeout: it writes under `asyncio.wait_for`, which until
        Python 3.12 may swallow a cancellation, and which makes a task for each command. A
        connection whose reply was not waited for is closed: the next one would read it.
        """
        idle, reply = self._idle[hop.address], None
        connection = idle.pop() if idle else await self._connected(hop.address)
        try:
            async with asyncio.timeout(self._reply_s):
                await connection.send_packed_command([hop.command], check_health=False)
                for _ in range(hop.replies):
                    reply = await connection.read_response(disable_decoding=True)
        except BaseException as error:
            if hop.replies == 1 and isinstance(error, self._library.refused):
                idle.append(connection)
            else:
                await connection.disconnect(nowait=True)
                if isinstance(error, self._library.broken):
                    await self._drop(hop.address)
            raise
        idle.append(connection)
        return reply

    async def _connected(self, address: Address) -> Any:
        connection = self._connect(address)
        try:
            async with asyncio.timeout(self._connect_s + self._reply_s):
                await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def _drop(self, address: Address) -> None:
        """Close what is idle: a server that was started anew knows none of it."""
        idle = self._idle[address]
        while idle:
            await idle.pop().disconnect(nowait=True)
