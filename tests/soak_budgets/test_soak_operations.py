"""A million operations, each answered as the reference answers it."""

from __future__ import annotations

import shutil

import pytest
from conformance.ledger_reference import ledger_machine
from soak_budgets.operations import walk

from tiered_llm.budgets.ledgers.memory import MemoryLedger
from tiered_llm.budgets.ledgers.redis import RedisLedger
from tiered_llm.budgets.ledgers.sqlite import SqliteLedger

MEMORY, SQLITE, REDIS = 850_000, 50_000, 100_000


@pytest.fixture
def tell(capsys):
    """Says how far it is, whatever pytest captures."""

    def tell(line):
        with capsys.disabled():
            print(f"  {line}", flush=True)  # noqa: T201  # a soak says how far it is

    return tell


def test_memory(seed, tell):
    walk(ledger_machine(MemoryLedger), MEMORY, seed, tell)


def test_sqlite(seed, tell, tmp_path):
    place = tmp_path / "budgets"

    def make(clock):
        shutil.rmtree(place, ignore_errors=True)
        return SqliteLedger(place / "budgets.db", clock)

    walk(ledger_machine(make), SQLITE, seed, tell)


def test_redis(seed, tell, redis_server):
    with redis_server.client() as client:

        def make(clock):
            client.flushall()
            return RedisLedger(redis_server.url, clock)

        walk(ledger_machine(make), REDIS, seed, tell)
