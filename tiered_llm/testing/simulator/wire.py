"""One response on its way out: written piece by piece, watched, and cut if a test asks."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any, Self

from tiered_llm.testing.simulator.dialect import encode

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from starlette.types import Receive, Scope, Send

TRANSPORT = "tiered_llm.transport"
_LINGER_NOT_AT_ALL = struct.pack("ii", 1, 0)


class GoneError(Exception):
    """The client has left, or the simulator is being stopped."""


class Wire:
    """The way to one client; notices when it leaves. Use as an async context manager."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take over the connection once the request's body has been read."""
        self._transport: asyncio.Transport = scope["extensions"][TRANSPORT]
        self._receive, self._send = receive, send
        self._left: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        """Begin to watch for the client's leaving."""
        self._left = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop watching."""
        self._left.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._left

    async def _watch(self) -> None:
        """End when the client leaves: the body is read, so nothing else can come."""
        await self._receive()

    async def until(self, work: Coroutine[Any, Any, Any]) -> None:
        """Wait for something.

        Raises:
            GoneError: The client left first.
        """
        task = asyncio.create_task(work)
        await asyncio.wait({task, self._left}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            raise GoneError

    async def pause(self, seconds: float) -> None:
        """Wait as long as a model would; at least let the other tasks run.

        Raises:
            GoneError: The client left meanwhile.
        """
        if seconds:
            await self.until(asyncio.sleep(seconds))
        else:
            await asyncio.sleep(0)
        if self._left.done():
            raise GoneError

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the status line and the headers."""
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, data: bytes) -> None:
        """Send a part of the body.

        Raises:
            GoneError: The client has left.
        """
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        await self.pause(0)

    async def end(self, data: bytes = b"") -> None:
        """Send the last part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def answer(self, status: int, body: object, **headers: str) -> None:
        """Send a whole JSON response; in header names, `_` stands for `-`."""
        await self.answer_raw(status, encode(body), **headers)

    async def answer_raw(self, status: int, data: bytes, **headers: str) -> None:
        """Send a whole response that claims to be JSON."""
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        await self.start(status, json_headers(len(data)) | extra)
        await self.end(data)

    async def sever(self, *, reset: bool) -> None:
        """Let the connection die: by a TCP reset, or closed without the body's end."""
        if reset:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT_AT_ALL)
            self._transport.abort()
        else:
            self._transport.close()
        await self._left


def json_headers(length: int) -> dict[str, str]:
    """The headers of a JSON response."""
    return {"content-type": "application/json", "content-length": str(length)}
