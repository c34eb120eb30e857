"""Servers in processes of their own, which a test may kill."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TESTS = Path(__file__).parents[1]
_PATIENCE_S = 30.0


class ServerDiedError(Exception):
    """A server ended, or said nothing, before it was ready; its output is the message."""


class ServerProcess:
    """One server, started at once; several may get ready side by side.

    A line of its output says when it is ready and where. It leads a process group, so that
    nothing that it starts outlives it, and its standard input stays open for as long as the
    tests run. As a context manager it waits for its readiness, and is stopped at the end.

    Attributes:
        stopped: Whether it was stopped or killed.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        """Start it.

        Args:
            command: The program and its arguments.
            variables: Added to the environment.
            patience_s: Longest wait for its readiness, in seconds.
        """
        self._patience_s = patience_s
        self._output: list[str] = []
        self.stopped = False
        self._ready: Future[list[str]] = Future()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=_environment() | dict(variables or {}),
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        """Where it listens; waits until it does.

        Raises:
            ServerDiedError: It ended, or its patience did.
        """
        return self.addresses[0]

    @property
    def addresses(self) -> list[str]:
        """All its addresses; waits and raises as `url` does."""
        try:
            return self._ready.result(self._patience_s)
        except TimeoutError:
            msg = f"not ready after {self._patience_s} s:\n{self.output}"
            raise ServerDiedError(msg) from None

    def read_addresses(self, line: str) -> list[str]:
        """Its addresses, if this line of its output says that it is ready."""
        return line.split()[1:] if line.startswith("READY ") else []

    @property
    def output(self) -> str:
        """What it has written so far."""
        return "".join(self._output)

    def kill(self) -> None:
        """End it as the kernel ends what takes too much memory; returns once it is gone.

        What it has started is asked to end, so that it gives its shared memory back.
        """
        self._process.kill()
        self.stop()

    def stop(self) -> None:
        """Ask it and what it has started to end, and see to it that they do."""
        if self.stopped:
            return
        self.stopped = True
        self._signal(signal.SIGTERM)
        self._reader.join(_PATIENCE_S)  # the pipe is closed with the last of the group
        self._signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def __enter__(self) -> Self:
        """Wait until it listens."""
        try:
            self.addresses  # noqa: B018  # waits
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._output.append(line)
            addresses = self.read_addresses(line)
            if addresses and not self._ready.done():
                self._ready.set_result(addresses)
        if not self._ready.done():
            self._ready.set_exception(ServerDiedError(f"ended:\n{self.output}"))


def _environment() -> dict[str, str]:
    """Ours without coverage, which would measure a server that is killed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return {**kept, "PYTHONPATH": str(_TESTS), "PYTHONUNBUFFERED": "1"}
