"""The file behind a SQLite decision log: opened late, one operation at a time.

Unlike a budgets' file it is nothing to refuse a call for: one that was removed or replaced is
made anew, and what it held is gone.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from typing import TYPE_CHECKING, TypeVar

from tiered_llm.metrics import forks
from tiered_llm.metrics.errors import DecisionLogError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tiered_llm.clock import Clock

_T = TypeVar("_T")

VERSION = 2
"""Of the tables, in the file's `user_version`."""

_TABLES = (
    # tenant: empty for everybody together
    """
    CREATE TABLE hours (
        hour INTEGER NOT NULL,
        tenant BLOB NOT NULL,
        counters BLOB NOT NULL,
        PRIMARY KEY (hour, tenant)
    ) WITHOUT ROWID
    """,
    # totals since ever; no retention touches them
    "CREATE TABLE totals (tenant BLOB PRIMARY KEY, counters BLOB NOT NULL) WITHOUT ROWID",
    # told: what a process alone knows, as JSON; at: seconds since the epoch
    "CREATE TABLE processes (process TEXT PRIMARY KEY, at REAL NOT NULL, told TEXT NOT NULL)",
    # score: the feedback's, in millionths
    """
    CREATE TABLE runs (
        serial INTEGER PRIMARY KEY AUTOINCREMENT,
        run BLOB NOT NULL UNIQUE,
        hour INTEGER NOT NULL,
        tenant BLOB,
        tier TEXT,
        band INTEGER NOT NULL,
        score INTEGER
    )
    """,
    """
    CREATE TABLE ring (
        serial INTEGER PRIMARY KEY,
        tenant BLOB,
        record TEXT NOT NULL,
        score REAL,
        comment BLOB
    )
    """,
)

_STEP_MS = 100
"""Wait for another's lock while holding ours; a fork waits for no more than this."""

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_INHERITED: list[sqlite3.Connection] = []


class LogFile:
    """One file, one operation of this process at a time, any number of processes."""

    def __init__(self, path: Path, clock: Clock, busy_s: float) -> None:
        """Remember where; the file is made or opened when it is first needed."""
        self._path, self._clock, self._busy_s = path.absolute(), clock, busy_s
        self._lock, self._pid = threading.RLock(), os.getpid()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        forks.watch(self)

    def run(self, work: Callable[[sqlite3.Connection], _T], *, writes: bool) -> _T:
        """Do some work in one transaction: all of it, or none.

        Raises:
            DecisionLogError: The file is kept locked, or cannot be read or written.
        """
        until_s = self._clock.monotonic_s() + self._busy_s
        while True:
            try:
                with self._lock:
                    return self._attempt(work, "BEGIN IMMEDIATE" if writes else "BEGIN")
            except sqlite3.Error as error:
                busy = (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _BUSY
                if not busy:
                    self.close()
                if not busy or self._clock.monotonic_s() >= until_s:
                    raise self._error(error, busy=busy) from error
            except OSError as error:
                msg = f"{self._name} cannot be reached ({error.strerror}); check its path"
                raise DecisionLogError(msg) from error

    def close(self) -> None:
        """Close the connection; the next operation opens one."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None and self._pid == os.getpid():
                with contextlib.suppress(sqlite3.Error):
                    connection.close()

    # --- inside ---

    def _attempt(self, work: Callable[[sqlite3.Connection], _T], begin: str) -> _T:
        connection = self._opened()
        connection.execute(begin)
        try:
            done = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        return done

    def _opened(self) -> sqlite3.Connection:
        if self._pid != os.getpid():  # a fork that ran none of Python's hooks
            self.start_over()
        if self._connection is not None:
            if self._seen() == self._identity:
                return self._connection
            self.close()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        self._identity = self._seen()
        connection = sqlite3.connect(
            self._path, timeout=_STEP_MS / 1000, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            # a power cut may lose the last batches, and never the file
            connection.execute("PRAGMA synchronous = NORMAL")
            _make_tables(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _seen(self) -> tuple[int, int] | None:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return None
        return stat.st_dev, stat.st_ino

    @property
    def _name(self) -> str:
        return f"the decisions' file {self._path.name!r}"

    def _error(self, error: sqlite3.Error, *, busy: bool) -> DecisionLogError:
        if busy:
            words = f"was kept locked by others for {self._busy_s:g} s"
        elif str(error) == _NEWER:
            words = "has tables of another release; use that release, or another file"
        else:
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            words = f"cannot be read or written ({name}); check its disk and its permissions"
        return DecisionLogError(f"{self._name} {words}")

    # --- forks ---

    def hold(self) -> None:
        """Before a fork: let what runs end, and close: SQLite's locks do not survive one."""
        self._lock.acquire()
        if self._connection is not None and not self._connection.in_transaction:
            self.close()

    def let_go(self) -> None:
        """After a fork, in the parent."""
        self._lock.release()

    def start_over(self) -> None:
        """After a fork, in the child; what the parent opened must not even be closed here."""
        if self._connection is not None:
            _INHERITED.append(self._connection)
        self._lock, self._pid, self._connection = threading.RLock(), os.getpid(), None


_NEWER = "tables of another release"


def _make_tables(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:  # no other process was first
            for table in _TABLES:
                connection.execute(table)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            version = VERSION
        connection.execute("COMMIT")
    if version != VERSION:
        raise sqlite3.DatabaseError(_NEWER)
