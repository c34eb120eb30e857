from __future__ import annotations

import pytest
from hand_clock import HandClock
from redis_server import RedisServer

from tiered_llm.budgets.ledgers.redis import RedisLedger


@pytest.fixture(scope="session")
def running():
    """One server for all tests that leave it as it was."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(running):
    """That server, empty."""
    with running.client() as client:
        client.flushall()
    return running


@pytest.fixture
def hand_clock():
    return HandClock(0.0)


@pytest.fixture
def make(server):
    """Ledgers on the server, closed at the test's end."""
    made = []

    def make(url=server.url, clock=None, **more):
        made.append(RedisLedger(url, clock, **more))
        return made[-1]

    yield make
    for ledger in made:
        ledger.close()
