"""uvicorn's HTTP protocol on an event loop in a thread of its own, with a hand on the listener.

`uvicorn.Server` polls for its end ten times a second and cannot stop listening while it runs;
here the listener is opened and closed directly, so that starting, refusing and stopping
take milliseconds.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from tiered_llm.testing.simulator.wire import TRANSPORT

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.types import ASGIApp

KEEP_ALIVE = "keep_alive"
_PATIENCE_S = 10.0


class _Connection(H11Protocol):
    """Hands its transport to the application, which may have to cut it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._inner: Any = self.app
        self.app = self._handing_over

    async def _handing_over(self, scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"] = {TRANSPORT: self.transport}
        keep_alive = self.app_state[KEEP_ALIVE]
        await self._inner(scope, receive, send if keep_alive else _closing(send))


class LoopbackServer:
    """Serves one application until stopped. The port stays reserved while it refuses."""

    def __init__(
        self, make_app: Callable[[], ASGIApp], host: str, port: int, *, keep_alive: bool
    ) -> None:
        """Bind the port at once.

        Args:
            make_app: Called on the server's loop, so that events belong to it.
            host: Address or name to bind.
            port: Port to bind; 0 takes a free one.
            keep_alive: Whether a connection stays open after its answer.

        Raises:
            OSError: The port is taken or the host is not this machine's.
        """
        self._make_app = make_app
        self._app_state = {KEEP_ALIVE: keep_alive}
        self._socket = _bind(host, port)
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        self._state = ServerState()
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main()), name="tiered_llm-simulator", daemon=True
        )

    def start(self) -> None:
        """Begin to serve; returns once connections are accepted."""
        self._thread.start()
        self._ready.result(_PATIENCE_S)

    def stop(self) -> None:
        """Cut all connections and end the thread; returns once both are gone."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_PATIENCE_S)

    def call(self, function: Callable[[], None]) -> None:
        """Run a function on the server's loop without waiting for it."""
        self._loop.call_soon_threadsafe(function)

    def refuse(self) -> None:
        """Stop listening and close idle connections; answers under way are finished."""
        self._run(self._refuse())

    def accept(self) -> None:
        """Listen again on the same port; does nothing if that is so already."""
        self._run(self._accept())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_S)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._config = uvicorn.Config(
            self._make_app(),
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        self._listener: asyncio.Server | None = None
        await self._accept()
        self._ready.set_result(None)
        await self._stopping.wait()
        await self._close()

    async def _accept(self) -> None:
        if self._listener is None:
            self._listener = await self._loop.create_server(self._connection, sock=self._socket)

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self._socket = _bind(*self.address)
            for connection in list(self._state.connections):
                connection.shutdown()

    async def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self._socket.close()
        for connection in list(self._state.connections):
            connection.transport.abort()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=_PATIENCE_S)

    def _connection(self) -> _Connection:
        return _Connection(config=self._config, server_state=self._state, app_state=self._app_state)


def _closing(send: Any) -> Any:
    """Tell the client that the connection ends with the answer; h11 then ends it."""

    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send(message)

    return sending


def _bind(host: str, port: int) -> socket.socket:
    """A socket bound but not listening: connecting to it is refused."""
    family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
