"""A decision log in a SQLite file, shared by all processes of one machine.

A batch is one transaction. Hours lie in the file in the order of time, each with its tenants:
a report over everybody reads one small row for each hour, one over a tenant looks up one for
each hour, and what is too old goes from one end. Over a network's file system no promise is
made: SQLite's own locks are not safe there.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiered_llm.clock import SYSTEM_CLOCK, Clock
from tiered_llm.errors import ConfigurationError, Problem
from tiered_llm.metrics.errors import DecisionLogError
from tiered_llm.metrics.log import FORGOTTEN_S, Entry, Feedback, Retention
from tiered_llm.metrics.logs.sqlite_file import LogFile
from tiered_llm.metrics.packing import (
    pack,
    record_from_json,
    record_to_json,
    run_key,
    unpack,
)
from tiered_llm.metrics.tally import (
    MILLION,
    Counters,
    band_of,
    deltas,
    hour_of,
    lost_records,
    merge,
    merge_total,
    tally_feedback,
    totals_by,
)
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence

    from tiered_llm.records import CallRecord

_URL = "sqlite:///"
_LONGEST = 64
_EVERYBODY = b""


class SqliteLog:
    """The log behind `sqlite:///path`.

    The file is made when it is first needed, for its owner alone (0600). Threads and forks may
    share the log; each process has its own connection.
    """

    def __init__(
        self,
        path_or_url: str | Path,
        clock: Clock = SYSTEM_CLOCK,
        retention: Retention | None = None,
        *,
        busy_s: float = 5.0,
    ) -> None:
        """Remember where; nothing is opened yet.

        Args:
            path_or_url: `sqlite:///relative/path`, `sqlite:////absolute/path` or a path.
            clock: What tells how old an hour is.
            retention: How much is kept.
            busy_s: Longest wait for other processes, in seconds; then `DecisionLogError`.

        Raises:
            ConfigurationError: No file is named.
        """
        self._clock, self._retention = clock, retention or Retention()
        self._file = LogFile(_path(path_or_url), SYSTEM_CLOCK, busy_s)
        self._swept = 0

    def write(self, records: Sequence[CallRecord]) -> int:
        """Count all that were not counted yet."""
        lines = [_Line(record) for record in records]
        return self._file.run(lambda rows: self._write(rows, lines), writes=True)

    def hours(self, tenant: str | None, first: int, last: int) -> dict[int, Counters]:
        """The counters of each hour from the first to the last."""
        first = max(first, self._oldest())
        found = self._file.run(
            lambda rows: rows.execute(_HOURS, (first, last, _tenant_key(tenant))).fetchall(),
            writes=False,
        )
        return {hour: _unpacked(data) for hour, data in found}

    def totals(self, tenants: Sequence[str | None]) -> tuple[Counters, ...]:
        """The sums of all that was ever counted, of one moment."""
        keys = [_tenant_key(tenant) for tenant in tenants]
        return self._file.run(
            lambda rows: tuple(_total(rows, key) or {} for key in keys), writes=False
        )

    def recent(
        self, most: int = 100, *, after: int = 0, tenant: str | None = None
    ) -> tuple[Entry, ...]:
        """The newest calls, oldest of them first."""
        whose = None if tenant is None else _tenant_key(tenant)
        found = self._file.run(
            lambda rows: rows.execute(_RECENT, (after, whose, whose, most)).fetchall(),
            writes=False,
        )
        return tuple(_entry(row) for row in reversed(found))

    def find(self, run_id: str) -> Entry | None:
        """One call, if it is still among the recent ones."""
        row = self._file.run(
            lambda rows: rows.execute(_FIND, (run_key(run_id),)).fetchone(), writes=False
        )
        return None if row is None else _entry(row)

    def feedback(self, run_id: str, feedback: Feedback) -> bool:
        """Count a feedback in the call's own hour; the last one counts."""
        key, oldest = run_key(run_id), self._oldest()
        return self._file.run(lambda rows: _take_feedback(rows, key, feedback, oldest), writes=True)

    def publish(
        self, process: str, told: Mapping[str, Any], at_s: float, lost: Mapping[str, int]
    ) -> None:
        """What one process alone knows, and what it lost."""
        row, added = (process, at_s, json.dumps(told)), lost_records(lost)

        def work(rows: sqlite3.Connection) -> None:
            rows.execute("INSERT OR REPLACE INTO processes VALUES (?, ?, ?)", row)
            rows.execute("DELETE FROM processes WHERE at < ?", (at_s - FORGOTTEN_S,))
            if added:
                _add_total(rows, _EVERYBODY, added)

        self._file.run(work, writes=True)

    def published(self, since_s: float) -> tuple[Mapping[str, Any], ...]:
        """What each process told last, if it did so since then."""
        wanted = "SELECT told FROM processes WHERE at >= ?"
        found = self._file.run(
            lambda rows: rows.execute(wanted, (since_s,)).fetchall(), writes=False
        )
        return tuple(json.loads(told) for (told,) in found)

    def withdraw(self, process: str) -> None:
        """The process has nothing to tell any more."""
        gone = "DELETE FROM processes WHERE process = ?"
        self._file.run(lambda rows: rows.execute(gone, (process,)), writes=True)

    def close(self) -> None:
        """Close the file; a later operation opens it again."""
        self._file.close()

    # --- inside ---

    def _write(self, rows: sqlite3.Connection, lines: Sequence[_Line]) -> int:
        fresh = [line for line in lines if _is_new(rows, line)]
        oldest = self._oldest()
        added = deltas(line.record for line in fresh)
        for (hour, tenant), counters in added.items():
            if hour >= oldest:
                _add(rows, hour, _tenant_key(tenant), counters)
        for whose, counters in totals_by(added, self._retention.totals_of).items():
            _add_total(rows, _tenant_key(whose), counters)
        if fresh:
            self._forget(rows)
        return len(fresh)

    def _forget(self, rows: sqlite3.Connection) -> None:
        (last,) = rows.execute("SELECT MAX(serial) FROM runs").fetchone()
        rows.execute("DELETE FROM ring WHERE serial <= ?", (last - self._retention.recent,))
        rows.execute("DELETE FROM runs WHERE serial <= ?", (last - self._retention.runs,))
        oldest = self._oldest()
        if oldest != self._swept:
            rows.execute("DELETE FROM hours WHERE hour < ?", (oldest,))
            self._swept = oldest

    def _oldest(self) -> int:
        return hour_of(self._clock.now()) - self._retention.days * 24


class _Line:
    """A record with what is made of it before the file is locked."""

    __slots__ = ("key", "record", "text")

    def __init__(self, record: CallRecord) -> None:
        self.record, self.key = record, run_key(record.run_id)
        self.text = record_to_json(record)


_HOURS = """
    WITH RECURSIVE wanted (hour) AS (
        SELECT max(?1, (SELECT min(hour) FROM hours))
        UNION ALL
        SELECT hour + 1 FROM wanted WHERE hour < min(?2, (SELECT max(hour) FROM hours))
    )
    SELECT hours.hour, hours.counters FROM wanted
    CROSS JOIN hours ON hours.hour = wanted.hour AND hours.tenant = ?3
    WHERE hours.hour BETWEEN ?1 AND ?2
"""
"""One look-up for each hour: the file has no index by tenant, which would double its size."""

_ENTRY = "SELECT ring.serial, ring.record, ring.score, ring.comment FROM ring"
_RECENT = f"""
    {_ENTRY} WHERE ring.serial > ? AND (? IS NULL OR ring.tenant = ?)
    ORDER BY ring.serial DESC LIMIT ?
"""
_FIND = f"{_ENTRY} JOIN runs USING (serial) WHERE runs.run = ?"


def _is_new(rows: sqlite3.Connection, line: _Line) -> bool:
    """Whether a run was not counted yet; it is written down as counted."""
    # not by INSERT OR IGNORE: what is ignored uses up a serial, and the bounds count those
    if rows.execute("SELECT 1 FROM runs WHERE run = ?", (line.key,)).fetchone():
        return False
    record = line.record
    tenant = None if record.tenant_id is None else _tenant_key(record.tenant_id)
    tier = None if record.answered is None else record.answered.value
    done = rows.execute(
        "INSERT INTO runs (run, hour, tenant, tier, band) VALUES (?, ?, ?, ?, ?)",
        (line.key, hour_of(record.at), tenant, tier, band_of(record.score)),
    )
    ring = "INSERT INTO ring (serial, tenant, record) VALUES (?, ?, ?)"
    rows.execute(ring, (done.lastrowid, tenant, line.text))
    return True


def _add(rows: sqlite3.Connection, hour: int, tenant: bytes, counters: Counters) -> None:
    kept = rows.execute(
        "SELECT counters FROM hours WHERE hour = ? AND tenant = ?", (hour, tenant)
    ).fetchone()
    data = pack(counters if kept is None else merge(_unpacked(kept[0]), counters))
    rows.execute("INSERT OR REPLACE INTO hours VALUES (?, ?, ?)", (hour, tenant, data))


def _total(rows: sqlite3.Connection, tenant: bytes) -> Counters | None:
    row = rows.execute("SELECT counters FROM totals WHERE tenant = ?", (tenant,)).fetchone()
    return None if row is None else _unpacked(row[0])


def _add_total(rows: sqlite3.Connection, tenant: bytes, counters: Counters) -> None:
    data = pack(merge_total(_total(rows, tenant) or {}, counters))
    rows.execute("INSERT OR REPLACE INTO totals VALUES (?, ?)", (tenant, data))


def _take_feedback(rows: sqlite3.Connection, key: bytes, feedback: Feedback, oldest: int) -> bool:
    run = rows.execute(
        "SELECT serial, hour, tenant, tier, band, score FROM runs WHERE run = ?", (key,)
    ).fetchone()
    if run is None or run[3] is None:
        return False
    serial, hour, tenant, tier, band, old = run
    new = round(feedback.score * MILLION)
    change = tally_feedback(Tier(tier), band, new, old)
    for whose in _scopes(tenant) if hour >= oldest else ():
        _add(rows, hour, whose, change)
    for whose in _scopes(tenant):
        if _total(rows, whose) is not None:
            _add_total(rows, whose, change)
    rows.execute("UPDATE runs SET score = ? WHERE serial = ?", (new, serial))
    comment = None if feedback.comment is None else _text(feedback.comment)
    rows.execute(
        "UPDATE ring SET score = ?, comment = ? WHERE serial = ?",
        (feedback.score, comment, serial),
    )
    return True


def _scopes(tenant: bytes | None) -> Iterable[bytes]:
    return (_EVERYBODY,) if tenant is None else (_EVERYBODY, tenant)


def _entry(row: Any) -> Entry:
    serial, record, score, comment = row
    said = None if comment is None else comment.decode("utf-8", "surrogatepass")
    feedback = None if score is None else Feedback(score=score, comment=said)
    return Entry(serial=serial, record=record_from_json(record), feedback=feedback)


def _unpacked(data: bytes) -> Counters:
    try:
        return unpack(data)
    except ValueError as error:
        msg = f"the decisions' file holds {error}; move it aside"
        raise DecisionLogError(msg) from error


def _tenant_key(tenant: str | None) -> bytes:
    """A tenant as the file has it: itself, or its digest if it is long."""
    if tenant is None:
        return _EVERYBODY
    text = _text(tenant)
    if len(text) <= _LONGEST:
        return b"=" + text
    return b"#" + blake2b(text, digest_size=32).digest()


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _path(path_or_url: str | Path) -> Path:
    name = str(path_or_url).removeprefix(_URL)
    if name in {"", ".", ":memory:"} or "\0" in name or name.startswith("sqlite:"):
        right = "write sqlite:///relative/path or sqlite:////absolute/path"
        problem = Problem(source="arguments", key="store", wrong="names no file", right=right)
        raise ConfigurationError([problem])
    return Path(name)
