"""The file behind a SQLite ledger: made privately, one operation at a time, watched for loss.

A file is never empty under its own name: it is made beside it, whole, and linked into place.
While it is in use, every operation makes sure that the path still leads to the file that was
opened, that the file has not shrunk, and that it holds the *generation* that was drawn when
it was made. What fails this has been lost or replaced, and every operation says so until the
file is back or the process begins anew: counting from zero in silence would spend twice.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tiered_llm.budgets.errors import LedgerError, LedgerLostError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tiered_llm.clock import Clock

VERSION = 2
"""Of the tables, in the file's `user_version`; the first knew no leases that are released."""

_TABLES = """
    CREATE TABLE meta (generation TEXT NOT NULL);
    CREATE TABLE accounts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice: leases refer to it
        payer BLOB NOT NULL,
        name BLOB NOT NULL,
        settled INTEGER NOT NULL DEFAULT 0 CHECK (typeof(settled) = 'integer'),
        reserved INTEGER NOT NULL DEFAULT 0 CHECK (typeof(reserved) = 'integer'),
        orphaned INTEGER NOT NULL DEFAULT 0 CHECK (typeof(orphaned) = 'integer'),
        overrun INTEGER NOT NULL DEFAULT 0 CHECK (typeof(overrun) = 'integer'),
        most INTEGER,
        thresholds TEXT NOT NULL,              -- JSON: [80, 95]
        forget_s REAL NOT NULL,
        UNIQUE (payer, name)
    );
    CREATE INDEX accounts_by_age ON accounts (forget_s);
    CREATE TABLE raised (
        account INTEGER NOT NULL,
        threshold INTEGER NOT NULL,
        PRIMARY KEY (account, threshold)
    ) WITHOUT ROWID;
    CREATE TABLE leases (
        id INTEGER PRIMARY KEY,
        payer BLOB NOT NULL,
        name BLOB NOT NULL,
        state TEXT NOT NULL,
        tokens INTEGER NOT NULL,
        held TEXT NOT NULL,                    -- JSON: [[account's id, parts], ...]
        releases INTEGER NOT NULL DEFAULT 0,   -- 1: is released where others are orphaned
        expires_s REAL NOT NULL,
        forget_s REAL NOT NULL,
        UNIQUE (payer, name)
    );
    CREATE INDEX leases_open ON leases (expires_s) WHERE state = 'open';
    CREATE INDEX leases_by_age ON leases (forget_s);
    CREATE TABLE limits (
        payer BLOB NOT NULL,
        name BLOB NOT NULL,
        most INTEGER NOT NULL,
        PRIMARY KEY (payer, name)
    ) WITHOUT ROWID;
    CREATE TABLE alerts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        payer BLOB NOT NULL,
        account BLOB NOT NULL,
        threshold INTEGER NOT NULL,
        charged INTEGER NOT NULL,
        most INTEGER NOT NULL,
        at_s REAL NOT NULL
    );
    CREATE INDEX alerts_by_payer ON alerts (payer);
"""

_LOST = (
    "has been lost, cut off or replaced since this process opened it, and what was charged"
    " with it; put it back, or start the process anew to accept what is there now"
)
_EMPTY = "is empty, so it was cut off; remove it to begin anew from zero"
_DAMAGED = (
    "is damaged; move it and its -wal and -shm files aside, and restore a copy or begin anew"
    " from zero"
)

_Identity = tuple[int, int]


def _new_worker() -> ThreadPoolExecutor:
    """One thread is enough, for the file has one writer; it starts when it is first used."""
    return ThreadPoolExecutor(1, thread_name_prefix="tiered-llm-ledger")


@dataclass(slots=True)
class _Here:
    """What belongs to one process alone; a fork starts over."""

    pid: int = field(default_factory=os.getpid)
    lock: threading.RLock = field(default_factory=threading.RLock)
    connection: sqlite3.Connection | None = None
    log: _Identity | None = None
    worker: ThreadPoolExecutor = field(default_factory=_new_worker)

    def disconnect(self) -> None:
        """Close the connection, if this process opened it."""
        connection, self.connection, self.log = self.connection, None, None
        if connection is not None and self.pid == os.getpid():
            connection.close()

    def start_over(self) -> None:
        """Begin as a new process; what the parent opened must not even be closed here."""
        if self.connection is not None:
            _INHERITED.append(self.connection)
        self.pid, self.lock, self.worker = os.getpid(), threading.RLock(), _new_worker()
        self.connection, self.log = None, None


_INHERITED: list[sqlite3.Connection] = []
_FILES: weakref.WeakSet[SqliteFile] = weakref.WeakSet()
_HELD: dict[int, list[SqliteFile]] = {}


class SqliteFile:
    """One file, one operation of this process at a time, any number of processes."""

    def __init__(self, path: Path, clock: Clock, busy_s: float) -> None:
        """Remember where; the file is made or opened when it is first needed."""
        self._path, self._clock, self._busy_s = path.absolute(), clock, busy_s
        self._log_path = self._path.with_name(f"{self._path.name}-wal")
        self._here = _Here()
        self._generation: str | None = None
        self._identity: _Identity | None = None
        self._bytes = 0
        _FILES.add(self)
        weakref.finalize(self, _Here.disconnect, self._here)

    def deadline_s(self) -> float:
        """Until when, on the clock that never goes back, an operation that begins now may wait."""
        return self._clock.monotonic_s() + self._busy_s

    def worker(self) -> ThreadPoolExecutor:
        """A thread of this process for the event loops' operations, in their order."""
        return self._mine().worker

    def close(self) -> None:
        """Finish what the worker has, and close the connection; the next operation opens one."""
        here = self._mine()
        worker, here.worker = here.worker, _new_worker()
        worker.shutdown(wait=True)
        with here.lock:
            here.disconnect()

    @contextmanager
    def transaction(self, until_s: float) -> Iterator[sqlite3.Connection]:
        """A transaction that has the file to itself, committed at the end.

        A transaction within one, of the same thread, becomes a part of it: a stream that is
        garbage-collected in the midst of an operation may settle.

        Raises:
            LedgerError: The file is kept locked, lost, damaged or cannot be read or written.
        """
        here = self._mine()
        lock, left_s = here.lock, max(0.0, until_s - self._clock.monotonic_s())
        if not lock.acquire(timeout=left_s):
            raise self._error(self._busy())
        try:
            with self._told(here):
                connection = here.connection or self._open(here)
                nested = connection.in_transaction
                begin, keep, drop = _NESTED if nested else _ALONE
                if not nested:
                    left_s = max(0.0, until_s - self._clock.monotonic_s())
                    connection.execute(f"PRAGMA busy_timeout = {int(left_s * 1000)}")
                connection.execute(begin)
                try:
                    self._check(here, connection)
                    yield connection
                    connection.execute(keep)
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):
                        for statement in drop:
                            connection.execute(statement)
                    raise
        finally:
            lock.release()

    # --- opening ---

    def _mine(self) -> _Here:
        """This process's part; a fork that ran none of Python's hooks is noticed here."""
        if self._here.pid != os.getpid():
            self._here.start_over()
        return self._here

    def _open(self, here: _Here) -> sqlite3.Connection:
        if self._identity is None and not self._path.exists():
            _make(self._path)
        seen = self._seen()
        if self._bytes == 0:
            raise self._error(_EMPTY)
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw",
            uri=True,
            timeout=self._busy_s,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            # FULL: a commit is on the disk before it is answered, as far as the disk's own
            # word goes, so a power cut loses no reservation of a call that was sent.
            connection.execute("PRAGMA synchronous = FULL")
            version = _brought_up(connection)
            (generation,) = connection.execute("SELECT generation FROM meta").fetchone() or ("",)
            self._expect(version, generation)
            connection.execute("PRAGMA journal_mode = WAL")
        except BaseException:
            connection.close()
            raise
        if here.connection is not None:  # opened within this very opening
            connection.close()
            return here.connection
        self._generation, self._identity, here.connection = generation, seen, connection
        return connection

    def _expect(self, version: int, generation: str) -> None:
        if version != VERSION:
            words = (
                f"has tables of version {version}, and this release reads {VERSION}; use the"
                " release that wrote it, or another file"
            )
            raise self._error(words, LedgerLostError)
        if self._generation not in {None, generation}:
            raise self._error(_LOST)

    # --- watching ---

    def _seen(self) -> _Identity:
        """The file that is at the path now; it must be the one that was, and no shorter."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            raise self._error(_LOST) from None
        identity = (stat.st_dev, stat.st_ino)
        if self._identity not in {None, identity} or stat.st_size < self._bytes:
            raise self._error(_LOST)
        self._bytes = stat.st_size
        return identity

    def _check(self, here: _Here, connection: sqlite3.Connection) -> None:
        """Within a transaction, for then the write-ahead log exists."""
        self._seen()
        try:
            stat = self._log_path.stat()
        except FileNotFoundError:
            raise self._error(_LOST) from None
        log = (stat.st_dev, stat.st_ino)
        row = connection.execute("SELECT generation FROM meta").fetchone()
        if here.log not in {None, log} or row != (self._generation,):
            raise self._error(_LOST)
        here.log = log

    # --- saying what is wrong ---

    @contextmanager
    def _told(self, here: _Here) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                with contextlib.suppress(sqlite3.Error):
                    here.disconnect()
            raise self._error(self._words(code, error)) from error
        except OSError as error:
            words = f"cannot be reached ({error.strerror}); check its path"
            raise self._error(words) from error

    def _words(self, code: int, error: sqlite3.Error) -> str:
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return self._busy()
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return _DAMAGED
        if "no such" in str(error):
            return f"has lost its tables, or never had them: it {_DAMAGED}"
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        return f"cannot be read or written ({name}); check its disk and its permissions"

    def _busy(self) -> str:
        return (
            f"was kept locked by others for {self._busy_s:g} s; look for a process that holds"
            " a transaction open, or move to Redis if there are too many"
        )

    def _error(self, words: str, kind: type[LedgerError] = LedgerError) -> LedgerError:
        if any(loss in words for loss in (_LOST, _EMPTY, _DAMAGED)):
            kind = LedgerLostError
        return kind(f"the budgets' file {self._path.name!r} {words}")

    # --- forks ---

    def hold(self) -> None:
        """Before a fork: let what runs end, and close: SQLite's locks do not survive one."""
        here = self._mine()
        here.lock.acquire()
        if here.connection is not None and not here.connection.in_transaction:
            here.disconnect()

    def let_go(self) -> None:
        """After a fork, in the parent."""
        self._here.lock.release()

    def start_over(self) -> None:
        """After a fork, in the child."""
        self._here.start_over()


_ALONE = ("BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",))
_NESTED = ("SAVEPOINT within", "RELEASE within", ("ROLLBACK TO within", "RELEASE within"))


def _make(path: Path) -> None:
    """Make the file whole beside its path and link it there, unless another process has."""
    _make_directory(path.parent)
    fresh = path.with_name(f".{secrets.token_hex(8)}.new")
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        connection = sqlite3.connect(fresh, isolation_level=None)
        with contextlib.closing(connection):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_TABLES)
            connection.execute("INSERT INTO meta VALUES (?)", (secrets.token_hex(16),))
            connection.execute(f"PRAGMA user_version = {VERSION}")
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()
    _keep_entry(path.parent)


def _brought_up(connection: sqlite3.Connection) -> int:
    """The version of the tables, the first one's brought up; who has it open may go on with it."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != 1:
        return int(version)
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()  # another may have been first
    if version == 1:
        connection.execute("ALTER TABLE leases ADD COLUMN releases INTEGER NOT NULL DEFAULT 0")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")
    return VERSION


def _make_directory(path: Path) -> None:
    """Make what is missing of a directory, for its owner alone."""
    if not path.exists():
        _make_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def _keep_entry(directory: Path) -> None:
    """Have the directory on the disk, where the system lets one ask for that."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _before_fork() -> None:
    held = _HELD[threading.get_ident()] = list(_FILES)
    for file in held:
        file.hold()


def _after_fork_in_parent() -> None:
    for file in _HELD.pop(threading.get_ident(), ()):
        file.let_go()


def _after_fork_in_child() -> None:
    _HELD.clear()
    for file in list(_FILES):
        file.start_over()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
