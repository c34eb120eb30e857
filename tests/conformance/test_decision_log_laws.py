"""The decision logs, held to their laws and, step by step, to a plain reference."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conformance.decision_log_laws import DecisionLogLaws
from conformance.decision_log_redis import RedisServer
from conformance.decision_log_reference import log_machine
from conformance.decision_log_samples import HOUR_S, record
from hypothesis import settings

from tiered_llm.metrics import DecisionLogError, Feedback, ModelMetricsCollector
from tiered_llm.metrics.logs import memory
from tiered_llm.metrics.logs.memory import MemoryLog
from tiered_llm.metrics.logs.redis import RedisLog
from tiered_llm.metrics.logs.sqlite import SqliteLog
from tiered_llm.metrics.tally import total

_SERVER = RedisServer()


@pytest.fixture(scope="module", autouse=True)
def server():
    with _SERVER:
        yield _SERVER


class _Closing:
    """Makes logs, and closes them at the test's end."""

    @pytest.fixture
    def make(self, clock, new):
        made = []

        def make(retention=None):
            made.append(new(clock, retention))
            return made[-1]

        yield make
        for log in made:
            log.close()


class TestMemoryLog(_Closing, DecisionLogLaws):
    @pytest.fixture
    def new(self):
        return MemoryLog

    def test_what_is_too_old_takes_no_place(self, log, clock):
        fill_and_let_it_age(log, clock)
        assert (log._rows, [len(rows) for rows in log._hours.values()]) == (2, [2])

    def test_the_oldest_hours_of_tenants_go_first(self, log, monkeypatch):
        monkeypatch.setattr(memory, "MAX_ROWS", 8)
        for hour in range(4):
            log.write([record(f"{hour}/{each}", hour * HOUR_S, f"t{each}") for each in range(3)])
        assert sorted(log.hours(None, 0, 9)) == [0, 1, 2, 3]
        assert [sorted(log.hours(f"t{each}", 0, 9)) for each in range(3)] == [[3]] * 3
        assert log._rows == sum(len(rows) for rows in log._hours.values()) <= 8


class TestSqliteLog(_Closing, DecisionLogLaws):
    @pytest.fixture
    def new(self, tmp_path):
        return lambda clock, retention: SqliteLog(tmp_path / "log.db", clock, retention)

    def test_another_process_would_see_it(self, make):
        make().write([record("1")])
        other = make()
        assert total(other.hours("acme", 0, 0)[0], "c/") == 1
        assert other.write([record("1")]) == 0

    def test_what_is_too_old_takes_no_place(self, log, clock, tmp_path):
        fill_and_let_it_age(log, clock)
        with closing(sqlite3.connect(tmp_path / "log.db")) as rows:
            assert rows.execute("SELECT COUNT(*) FROM hours").fetchone() == (2,)


class TestRedisLog(_Closing, DecisionLogLaws):
    @pytest.fixture
    def new(self, server):
        with server.client() as client:
            client.flushall()
        return lambda clock, retention: RedisLog(server.url, clock, retention)

    def test_another_process_would_see_it(self, make):
        make().write([record("1")])
        other = make()
        assert total(other.hours("acme", 0, 0)[0], "c/") == 1
        assert other.write([record("1")]) == 0

    def test_what_is_too_old_goes_by_itself(self, log, clock, server):
        log.write([record("1", clock.now_s - 5 * HOUR_S)])
        with server.client(decode_responses=True) as client:
            lives = {client.ttl(key) for key in client.keys("*:hour:*")}
            assert len(client.keys("*:hour:*")) == 2
        assert lives <= set(range((90 * 24 - 5) * 3600, (90 * 24 - 4) * 3600 + 1))

    def test_no_key_names_a_tenant_and_all_have_one_tag(self, log, server):
        log.write([record("1", tenant="canary-tenant")])
        assert log.feedback("1", Feedback(score=1.0))
        with server.client(decode_responses=True) as client:
            keys = client.keys("*")
        assert len(keys) == 8
        assert all(key.startswith("{tiered_llm:metrics}:") for key in keys)
        assert not any("canary" in key for key in keys)


class TestRedisOutage:
    """A server that goes and comes back: what it missed is counted, and nobody waits for it."""

    def test_decisions_are_lost_and_counted_until_it_is_back(self):
        with RedisServer() as server, closing(ModelMetricsCollector(store=server.url)) as metrics:
            metrics.record(now("before"))
            assert metrics.get_tier_distribution()["calls"] == 1
            server.kill()
            metrics.record(now("meanwhile"))
            assert metrics.flush(60.0)
            assert metrics.dropped_by == {"queue_full": 0, "store": 1}
            with pytest.raises(DecisionLogError) as told:
                metrics.get_tier_distribution()
            assert str(server.port) not in str(told.value)
            server.start()
            metrics.record(now("after"))
            assert metrics.get_tier_distribution()["calls"] == 1
            assert metrics.dropped == 1

    def test_what_was_lost_is_told_when_it_is_back(self):
        with RedisServer() as server, closing(RedisLog(server.url)) as log:
            metrics = ModelMetricsCollector(store=server.url)
            server.kill()
            metrics.record(now("meanwhile"))
            assert metrics.flush(60.0)
            server.start()
            assert metrics.close()
            assert log.totals([None]) == ({"d/store": 1},)
            assert log.published(0.0) == ()

    def test_a_full_server_takes_all_of_a_batch_or_none(self):
        with RedisServer() as server, closing(ModelMetricsCollector(store=server.url)) as metrics:
            with server.client() as client:
                client.config_set("maxmemory", 1)
                metrics.record(now("1"))
                assert metrics.flush(60.0)
                assert metrics.dropped_by == {"queue_full": 0, "store": 1}
                client.config_set("maxmemory", 0)
                assert client.keys("*") == []
            metrics.record(now("1"))
            assert metrics.get_tier_distribution()["calls"] == 1


def now(run_id):
    return record(run_id, datetime.now(UTC).timestamp())


def fill_and_let_it_age(log, clock):
    log.write([record(str(hour), hour * HOUR_S) for hour in range(9)])
    clock.now_s += 91 * 24 * HOUR_S
    log.write([record("late", clock.now_s)])


class InDirectory(SqliteLog):
    """A log in a directory of its own, which goes with it."""

    def __init__(self, clock, retention):
        self.directory = tempfile.TemporaryDirectory()
        super().__init__(Path(self.directory.name) / "log.db", clock, retention)

    def close(self):
        super().close()
        self.directory.cleanup()


def _emptied(clock, retention):
    with _SERVER.client() as client:
        client.flushall()
    return RedisLog(_SERVER.url, clock, retention)


TestMemoryMachine = log_machine(MemoryLog).TestCase
TestMemoryMachine.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)

TestSqliteMachine = log_machine(InDirectory).TestCase
TestSqliteMachine.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)

TestRedisMachine = log_machine(_emptied).TestCase
TestRedisMachine.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
