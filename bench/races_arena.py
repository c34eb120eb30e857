"""Where contestants race: a server that bills, stores, and processes that start together."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import redis
from races_contestants import ANSWER, MODEL, Entry, race

from tiered_llm.testing import SimulatedModel, Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.synchronize import Barrier

LATENCY_S = 1.0
"""Before the first byte of an answer to one of many: a burst's calls are then all under way."""

_PATIENCE_S = 600.0
_START: list[Barrier] = []


def _take(start: Barrier) -> None:
    """Prepare a process."""
    _START.append(start)
    for name in ("langchain_core", "tiered_llm", "LiteLLM Router"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # each tells of every refusal
    warnings.filterwarnings("ignore", "coroutine 'Logging.async_success_handler' was never")


def _run(entry: Entry) -> Counter[str]:
    """What each process does."""
    return asyncio.run(race(entry, lambda: _START[0].wait(_PATIENCE_S)))


class Crew:
    """Processes that start a race together, each with an equal part of its callers."""

    def __init__(self, size: int) -> None:
        """Describe them; they are made when they are first needed."""
        context = multiprocessing.get_context("spawn")
        start = context.Barrier(size)
        self.size = size
        self._pool = ProcessPoolExecutor(
            size, mp_context=context, initializer=_take, initargs=(start,)
        )

    def race(self, entry: Entry) -> Counter[str]:
        """Race; what all callers heard."""
        shares = [len(range(n, entry.callers, self.size)) for n in range(self.size)]
        parts = [replace(entry, callers=share) for share in shares]
        heard: Counter[str] = Counter()
        for part in self._pool.map(_run, parts, timeout=_PATIENCE_S):
            heard += part
        return heard

    def __enter__(self) -> Self:
        """Hold them."""
        return self

    def __exit__(self, *_: object) -> None:
        """End them."""
        self._pool.shutdown()


class Arena:
    """A billing server, and empty stores for each race. Use as a context manager."""

    def __enter__(self) -> Self:
        """Start the servers."""
        with ExitStack() as stack:
            self._quick, self._slow = (
                stack.enter_context(Simulator([SimulatedModel(name=MODEL, latency_s=wait_s)]))
                for wait_s in (0.0, LATENCY_S)
            )
            self._redis_url = stack.enter_context(_redis_server())
            self._files = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self._stack = stack.pop_all()
        self._races = 0
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them."""
        self._stack.close()

    def race(self, crew: Crew, store: str, entry: Entry) -> tuple[int, Counter[str]]:
        """Tokens that the server billed, and what the callers heard."""
        server = self._slow if entry.callers > 1 else self._quick
        server.reset()
        server.always(MODEL, ANSWER)
        with redis.Redis.from_url(self._redis_url) as client:
            client.flushall()
        placed = replace(
            entry,
            url=server.openai_url,
            store=self._store(store),
            shared=self._redis_url if crew.size > 1 else None,
        )
        heard = crew.race(placed)
        return sum(server.billed()), heard

    def _store(self, kind: str) -> str:
        self._races += 1
        file = f"sqlite:///{self._files / f'{self._races}.db'}"
        return {"memory": "memory://", "sqlite": file, "redis": self._redis_url}[kind]


@contextmanager
def _redis_server() -> Iterator[str]:
    """A Redis of our own; its URL."""
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("bench/races.py starts redis-server: apt-get install redis-server")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    options = ("--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no")
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as process:  # noqa: S603  # our own
        try:
            while not _answers(port):
                if process.poll() is not None:
                    sys.exit(f"redis-server ended with {process.returncode}")
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    try:
        with redis.Redis(port=port) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False
