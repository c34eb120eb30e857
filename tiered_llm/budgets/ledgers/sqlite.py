"""A ledger in a SQLite file: exact for all processes of one machine, and for the next start.

Every operation is one `BEGIN IMMEDIATE` transaction. A reservation that was answered survives
`kill -9` of any process; it survives a power cut if the disk keeps what it says it has kept
(`synchronous=FULL`). Over a network's file system no promise is made: SQLite's own locks are
not safe there.

What is over is put away a little at each operation, and read as if all of it had been.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tiered_llm.budgets.errors import LedgerError
from tiered_llm.budgets.ledgers.sqlite_books import Books
from tiered_llm.budgets.ledgers.sqlite_file import SqliteFile
from tiered_llm.clock import SYSTEM_CLOCK
from tiered_llm.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from tiered_llm.budgets.ledger import Alert, Answer, Ask, Balance, Settled
    from tiered_llm.clock import Clock

_T = TypeVar("_T")
_URL = "sqlite:///"


class SqliteLedger:
    """The ledger behind `sqlite:///path`.

    The file is made when it is first needed, for its owner alone (0600, and 0700 for the
    directories that were missing). Use one ledger for each file in a process. Threads, event
    loops and forks may share it; its twins on the event loop work in a thread of their own.

    A twin that is cancelled is waited for, so that nothing is under way afterwards. What a
    cancelled `areserve` had reserved is taken back as though it had never been asked for:
    nobody was told of it. If that fails, the lease is left open and is orphaned at its time.
    """

    def __init__(
        self, path_or_url: str | Path, clock: Clock = SYSTEM_CLOCK, *, busy_s: float = 5.0
    ) -> None:
        """Remember where; nothing is opened yet.

        Args:
            path_or_url: `sqlite:///relative/path`, `sqlite:////absolute/path` or a path.
            clock: What windows and leases are told by; all processes need the same.
            busy_s: Longest wait of an operation for others, in seconds; then `LedgerError`.

        Raises:
            ConfigurationError: No file is named.
        """
        self._clock = clock
        self._file = SqliteFile(_path(path_or_url), clock, busy_s)

    def now_s(self) -> float:
        """The clock's time, in seconds since the epoch."""
        return self._clock.now().timestamp()

    def reserve(self, ask: Ask) -> Answer:
        """Reserve in every line, or nothing in any."""
        return self._do(lambda books: books.reserve(ask))[0]

    def settle(self, group: str, lease: str, amounts: tuple[int, ...]) -> Settled:
        """Charge what was used in place of the reservation."""
        return self._do(lambda books: books.settle(group, lease, amounts))

    def orphan(self, group: str, lease: str, amounts: tuple[int, ...] | None = None) -> Settled:
        """Leave an open lease's reservation charged, or as much of it as the amounts.

        If its ask releases, free it.
        """
        return self._do(lambda books: books.orphan(group, lease, amounts))

    def void(self, group: str, lease: str) -> Settled:
        """Free an open lease's reservation."""
        return self._do(lambda books: books.void(group, lease))

    def record(self, ask: Ask, amounts: tuple[int, ...]) -> Settled:
        """Charge what was used without a lease before."""
        return self._do(lambda books: books.record(ask, amounts))

    def balances(self, group: str, accounts: tuple[str, ...]) -> tuple[Balance, ...]:
        """Accounts as they stand."""
        return self._do(lambda books: books.balances(group, accounts))

    def set_limit(self, group: str, limit_name: str, limit: int | None) -> None:
        """Set a limit that goes before the asks' own; None takes it back."""
        self._do(lambda books: books.set_limit(group, limit_name, limit))

    def limits(self, group: str) -> dict[str, int]:
        """The limits set at run time."""
        return self._do(lambda books: books.limits(group))

    def alerts(self, group: str | None = None, most: int = 100) -> tuple[Alert, ...]:
        """Alerts raised, newest first; the newest 10,000 are kept."""
        return self._do(lambda books: books.alerts(group, most))

    def close(self) -> None:
        """Close the file; a later operation opens it again."""
        self._file.close()

    # --- the twins on the event loop ---

    async def anow_s(self) -> float:
        """As `now_s`."""
        return self.now_s()

    async def areserve(self, ask: Ask) -> Answer:
        """As `reserve`; if cancelled, nothing is reserved."""

        def take_back(done: tuple[Answer, bool]) -> None:
            if done[1]:
                self._do(lambda books: books.take_back(ask.group, ask.lease))

        return (await self._aside(lambda books: books.reserve(ask), take_back))[0]

    async def asettle(self, group: str, lease: str, amounts: tuple[int, ...]) -> Settled:
        """As `settle`."""
        return await self._aside(lambda books: books.settle(group, lease, amounts))

    async def aorphan(
        self, group: str, lease: str, amounts: tuple[int, ...] | None = None
    ) -> Settled:
        """As `orphan`."""
        return await self._aside(lambda books: books.orphan(group, lease, amounts))

    async def avoid(self, group: str, lease: str) -> Settled:
        """As `void`."""
        return await self._aside(lambda books: books.void(group, lease))

    async def arecord(self, ask: Ask, amounts: tuple[int, ...]) -> Settled:
        """As `record`."""
        return await self._aside(lambda books: books.record(ask, amounts))

    async def abalances(self, group: str, accounts: tuple[str, ...]) -> tuple[Balance, ...]:
        """As `balances`."""
        return await self._aside(lambda books: books.balances(group, accounts))

    async def aset_limit(self, group: str, limit_name: str, limit: int | None) -> None:
        """As `set_limit`."""
        await self._aside(lambda books: books.set_limit(group, limit_name, limit))

    async def alimits(self, group: str) -> dict[str, int]:
        """As `limits`."""
        return await self._aside(lambda books: books.limits(group))

    async def aalerts(self, group: str | None = None, most: int = 100) -> tuple[Alert, ...]:
        """As `alerts`."""
        return await self._aside(lambda books: books.alerts(group, most))

    # --- inside ---

    def _do(self, work: Callable[[Books], _T], until_s: float | None = None) -> _T:
        """Work on the books as they are now, and put away a little of what is over."""
        until_s = self._file.deadline_s() if until_s is None else until_s
        with self._file.transaction(until_s) as rows:
            books = Books(rows, self.now_s())
            books.sweep()
            return work(books)

    async def _aside(
        self, work: Callable[[Books], _T], undo: Callable[[_T], None] | None = None
    ) -> _T:
        """Work in the worker's thread; if cancelled, wait for its end and undo it."""
        until_s = self._file.deadline_s()
        job = self._file.worker().submit(lambda: self._do(work, until_s))
        try:
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            if not job.cancelled():
                await _outlast(self._file.worker().submit(_undo, job, undo))
            raise


def _undo(job: Future[_T], undo: Callable[[_T], None] | None) -> None:
    """After the job, for the worker has one thread."""
    if undo is not None and job.exception() is None:
        with contextlib.suppress(LedgerError):  # the lease is left open: charged at its end
            undo(job.result())


async def _outlast(job: Future[None]) -> None:
    """Wait for a job, however often one is cancelled meanwhile."""
    ended = asyncio.wrap_future(job)
    while not ended.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(ended)


def _path(path_or_url: str | Path) -> Path:
    text = str(path_or_url)
    name = text.removeprefix(_URL)
    if name in {"", ".", ":memory:"} or "\0" in name or name.startswith("sqlite:"):
        right = "write sqlite:///relative/path or sqlite:////absolute/path"
        problem = Problem(source="arguments", key="store", wrong="names no file", right=right)
        raise ConfigurationError([problem])
    return Path(name)
