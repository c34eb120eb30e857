"""The ledger in Redis, held to the laws and to the plain reference, on a real server."""

from __future__ import annotations

import pytest
from conformance.ledger_reference import ledger_machine
from hypothesis import settings
from redis_server import RedisServer

from tiered_llm.budgets.ledgers.redis import RedisLedger
from tiered_llm.testing.laws.ledger import LedgerLaws

_machine_server = RedisServer("--appendonly", "no")


@pytest.fixture(scope="module", autouse=True)
def machine_server():
    with _machine_server:
        yield


@pytest.fixture(scope="module")
def lasting():
    with RedisServer("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


class TestRedisLaws(LedgerLaws):
    @pytest.fixture
    def ledger(self, make, clock):
        return make(clock=clock)


class TestRedisSurvives(LedgerLaws):
    """With an append-only file, the server's own restart included."""

    survives_restart = True

    @pytest.fixture
    def ledger(self, lasting, make, clock):
        with lasting.client() as client:
            client.flushall()
        return make(lasting.url, clock=clock)

    @pytest.fixture
    def reopen(self, lasting, make, clock):
        def reopen():
            lasting.kill()
            lasting.start()
            return make(lasting.url, clock=clock)

        return reopen


def _emptied(clock):
    with _machine_server.client() as client:
        client.flushall()
    return RedisLedger(_machine_server.url, clock)


TestRedisMachine = ledger_machine(_emptied).TestCase
TestRedisMachine.settings = settings(max_examples=500, stateful_step_count=100, deadline=None)
