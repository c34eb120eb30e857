"""A TCP proxy before one server, in which connections die as a test wishes.

It reads requests one by one, for their fate is drawn by what they ask; answers go through
as bytes. Everything here belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from typing import TYPE_CHECKING

from soak.weather import Fate, Stroke

if TYPE_CHECKING:
    from collections.abc import Callable

_LINGER_NOT_AT_ALL = struct.pack("ii", 1, 0)
_LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)
_PIECE_BYTES = 65_536


class FaultProxy:
    """Stands before a server and asks `draw` what to do with each request's body."""

    def __init__(self, upstream: tuple[str, int], draw: Callable[[str], Stroke]) -> None:
        """Take the port at once; nothing is accepted before `accept`."""
        self._upstream, self._draw = upstream, draw
        self._socket = _bound(0)
        self.port: int = self._socket.getsockname()[1]
        self._listener: asyncio.Server | None = None
        self._lines: set[_Line] = set()
        self._changed = asyncio.Condition()

    @property
    def open(self) -> int:
        """Connections under way or kept alive."""
        return len(self._lines)

    async def accept(self) -> None:
        """Accept connections; does nothing if that is so already."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, sock=self._socket)

    def refuse(self) -> None:
        """Refuse connections, as a dead server does; those that are open live on."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self._socket = _bound(self.port)  # nobody else gets it meanwhile

    def drop(self) -> None:
        """Reset every open connection."""
        for line in self._lines:
            line.reset()

    async def close(self) -> None:
        """Refuse, drop, and give the port away."""
        self.refuse()
        self.drop()
        await self.until_empty()
        self._socket.close()

    async def until_empty(self) -> None:
        """Wait until no connection is open."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._lines)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = _Line(reader, writer, self._draw)
        self._lines.add(line)
        try:
            await line.run(self._upstream)
        finally:
            self._lines.discard(line)
            async with self._changed:
                self._changed.notify_all()


class _Line:
    """One client's connection, and the server's behind it."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        draw: Callable[[str], Stroke],
    ) -> None:
        self._reader, self._writer, self._draw = reader, writer, draw
        self._stroke, self._sent = Stroke(fate=Fate.WHOLE), 0

    async def run(self, upstream: tuple[str, int]) -> None:
        """Carry requests and answers until either side leaves or a fault strikes."""
        answers, requests = await asyncio.open_connection(*upstream)
        ways = [
            asyncio.create_task(self._carry_requests(requests)),
            asyncio.create_task(self._carry_answers(answers)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for writer in (self._writer, requests):
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()

    def reset(self) -> None:
        """Let the client's connection die by a TCP reset."""
        sock = self._writer.get_extra_info("socket")
        with contextlib.suppress(OSError):  # it may be closed already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT_AT_ALL)
        self._writer.transport.abort()

    async def _carry_requests(self, server: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await self._reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await self._reader.readexactly(int(length[1]) if length else 0)
                self._stroke, self._sent = self._draw(body.decode()), 0
                if self._stroke.fate is Fate.RESET:
                    self.reset()
                    return
                if self._stroke.fate is not Fate.STALL:  # then it waits for the client to leave
                    server.write(head + body)
                    await server.drain()

    async def _carry_answers(self, server: asyncio.StreamReader) -> None:
        try:
            while data := await server.read(_PIECE_BYTES):
                most = len(data)
                if self._stroke.fate in {Fate.CUT, Fate.HANG}:
                    most = self._stroke.after_bytes - self._sent
                self._writer.write(data[:most])
                self._sent += len(data)
                await self._writer.drain()
                if len(data) >= most and self._stroke.fate is Fate.HANG:
                    await asyncio.Event().wait()  # until the client leaves
                if len(data) >= most and self._stroke.fate is Fate.CUT:
                    self.reset()
                    return
        except ConnectionError:
            self.reset()


def _bound(port: int) -> socket.socket:
    """A socket that is bound but does not listen: connections to its port are refused."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock
