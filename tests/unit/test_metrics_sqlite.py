"""The decisions' file: several processes, its loss, its damage; the laws hold the rest."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from multiprocessing import get_context

import pytest

from tiered_llm.metrics import (
    AttemptRecord,
    CallRecord,
    DecisionLogError,
    Feedback,
    ModelMetricsCollector,
)
from tiered_llm.metrics.logs.sqlite import SqliteLog
from tiered_llm.metrics.tally import hour_of, total

PROCESSES, CALLS = 4, 400
AT = datetime.now(UTC)


def call(run_id, tenant="acme"):
    attempt = AttemptRecord(tier="light", input_tokens=7, output_tokens=3, latency_s=0.5)
    return CallRecord(
        run_id=run_id, at=AT, tenant_id=tenant, asked="light", answered="light", attempts=(attempt,)
    )


def count(log, tenant=None):
    hours = log.hours(tenant, hour_of(AT), hour_of(AT))
    return sum(total(counters, "c/") for counters in hours.values())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "private" / "metrics.db"


@pytest.fixture
def log(path):
    log = SqliteLog(path)
    yield log
    log.close()


def begin_together(barrier):
    global together  # noqa: PLW0603  # how a pool hands a barrier to its processes
    together = barrier


def work(path, number):
    """Record through a collector of one's own; every second call is the neighbour's as well."""
    metrics = ModelMetricsCollector(store=f"sqlite:///{path}")
    together.wait()
    for at in range(CALLS):
        owner = number if at % 2 else number // 2
        metrics.record(call(f"{'own' if at % 2 else 'shared'}/{owner}/{at}", f"tenant-{at % 3}"))
        if at % 100 == 0:
            assert metrics.flush(60.0)
    assert metrics.close(60.0)
    return metrics.dropped


def test_processes_write_to_one_file_and_every_run_counts_once(path):
    spawn = get_context("spawn")
    barrier = spawn.Manager().Barrier(PROCESSES)
    with ProcessPoolExecutor(
        PROCESSES, mp_context=spawn, initializer=begin_together, initargs=(barrier,)
    ) as pool:
        dropped = list(pool.map(work, [path] * PROCESSES, range(PROCESSES)))
    assert dropped == [0] * PROCESSES
    runs = PROCESSES * CALLS // 2 + PROCESSES // 2 * CALLS // 2
    with closing(ModelMetricsCollector(store=f"sqlite:///{path}")) as metrics:
        report = metrics.get_report()
        assert report["distribution"]["calls"] == runs
        assert report["savings"]["tokens"] == runs * 10
        tenants = [metrics.get_tier_distribution(f"tenant-{at}")["calls"] for at in range(3)]
        assert sum(tenants) == runs
        assert len(metrics.recent(10_000)) == runs


def test_the_file_is_its_owners_alone(log, path):
    log.write([call("1")])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_that_was_removed_is_made_anew(log, path):
    log.write([call("1")])
    for each in path.parent.iterdir():
        each.unlink()
    assert log.write([call("2"), call("3")]) == 2
    assert count(log) == 2
    with closing(SqliteLog(path)) as other:
        assert count(other) == 2


def test_a_reader_follows_to_the_file_that_took_its_place(log, path):
    log.write([call("1")])
    with closing(SqliteLog(path.with_name("other.db"))) as other:
        other.write([call("2"), call("3")])
    log.close()
    assert count(log) == 1
    path.with_name("other.db").rename(path)
    for each in path.parent.glob("metrics.db-*"):
        each.unlink()
    assert count(log) == 2


def test_damage_is_said_without_a_tenant(log, path):
    log.write([call("1", "canary")])
    log.close()
    with closing(sqlite3.connect(path)) as rows:
        rows.execute("UPDATE hours SET counters = X'0102'")
        rows.commit()
    with pytest.raises(DecisionLogError, match="damaged") as told:
        count(log, "canary")
    assert "canary" not in str(told.value)


def test_a_batch_that_meets_damage_leaves_nothing(log, path):
    log.write([call("1")])
    log.close()
    with closing(sqlite3.connect(path)) as rows:
        rows.execute("UPDATE hours SET counters = X'0102' WHERE tenant <> X''")
        rows.commit()
    before = count(log)
    with pytest.raises(DecisionLogError):
        log.write([call("2", "other"), call("3")])
    assert count(log) == before
    assert [entry.record.run_id for entry in log.recent()] == ["1"]
    assert log.write([call("2", "other")]) == 1


def test_a_file_that_is_none_is_refused_and_kept(path):
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 100)
    with closing(SqliteLog(path)) as log, pytest.raises(DecisionLogError, match="NOTADB"):
        log.write([call("1")])
    assert path.read_bytes() == b"no database at all" * 100


def test_tables_of_another_release_are_refused(log, path):
    log.write([call("1")])
    log.close()
    with closing(sqlite3.connect(path)) as rows:
        rows.execute("PRAGMA user_version = 99")
    with pytest.raises(DecisionLogError, match="another release"):
        log.write([call("2")])


def test_a_place_that_cannot_be_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        closing(SqliteLog(tmp_path / "file" / "metrics.db")) as log,
        pytest.raises(DecisionLogError, match="cannot be reached"),
    ):
        log.write([call("1")])


def test_a_locked_file_can_still_be_read(log, path):
    log.write([call("1")])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert count(log) == 1
        other.execute("ROLLBACK")


def test_a_killed_writer_leaves_whole_batches(path):
    program = """
import itertools, sys
from datetime import UTC, datetime
from tiered_llm.metrics import CallRecord
from tiered_llm.metrics.logs.sqlite import SqliteLog

log = SqliteLog(sys.argv[1])
for batch in itertools.count():
    at = datetime.now(UTC)
    done = {"at": at, "asked": "light", "answered": "light"}
    log.write([CallRecord(run_id=f"{batch}/{n}", **done) for n in range(7)])
    print(batch, flush=True)
"""
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for _ in range(40):
            child.stdout.readline()
        child.kill()
    with closing(SqliteLog(path)) as log:
        written = len(log.recent(10_000))
        hours = log.hours(None, hour_of(AT) - 1, hour_of(AT) + 1)
        assert sum(total(counters, "c/") for counters in hours.values()) == written
        assert written % 7 == 0
        assert written >= 40 * 7
        assert log.feedback("0/0", Feedback(score=1.0))
