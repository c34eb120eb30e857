"""A real cluster of three."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest
from asks import ask
from redis_server import RedisServer, free_port

from tiered_llm.budgets.errors import LedgerError
from tiered_llm.testing.laws.ledger import LedgerLaws

SLOTS = 16_384


@pytest.fixture(scope="module")
def nodes():
    with ExitStack() as stack:
        nodes = [_node(stack) for _ in range(3)]
        clients = [stack.enter_context(node.client()) for node in nodes]
        for number, client in enumerate(clients):
            share = SLOTS // 3 + 1
            last = min((number + 1) * share, SLOTS) - 1
            client.execute_command("CLUSTER ADDSLOTSRANGE", number * share, last)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        while not all(_knows_all(client) for client in clients):
            for node in nodes[:2]:  # again until they have told one another
                clients[2].execute_command("CLUSTER MEET", "127.0.0.1", node.port, node.bus)
        yield nodes


def _node(stack):
    bus = free_port()
    options = ("--cluster-enabled", "yes", "--cluster-port", str(bus), "--appendonly", "no")
    node = stack.enter_context(RedisServer(*options))
    node.bus = bus
    return node


def _knows_all(client):
    told = client.execute_command("CLUSTER INFO")
    return told["cluster_state"] == "ok" and told["cluster_known_nodes"] == "3"


@pytest.fixture
def emptied(nodes):
    for node in nodes:
        with node.client() as client:
            client.flushall()
    return nodes


class TestRedisClusterLaws(LedgerLaws):
    @pytest.fixture
    def ledger(self, emptied, make, clock):
        return make(emptied[0].url.removesuffix("/0"), clock=clock)


def test_groups_are_spread_and_each_is_whole(emptied, make):
    ledger = make(f"redis://127.0.0.1:{emptied[1].port}?cluster=true")
    for n in range(60):
        ledger.reserve(ask("1", "day", "month", group=f"tenant {n}"))
    held = []
    for node in emptied:
        with node.client() as client:
            held.append(len(list(client.scan_iter(match="*:a:*"))))
    assert sum(held) == 120
    assert min(held) > 0
    assert len(asyncio.run(ledger.aalerts())) == 0


def test_a_node_that_was_wiped_is_noticed(emptied, make):
    ledger, other = (make(emptied[0].url.removesuffix("/0")) for _ in range(2))
    for n in range(20):
        for each in (ledger, other):
            each.reserve(ask("1", group=f"{n}"))
    with emptied[2].client() as client:
        client.flushall()
    lost = []
    for n in range(20):
        try:
            ledger.reserve(ask("2", group=f"{n}"))
        except LedgerError as error:
            assert "lost what it held" in str(error)  # noqa: PT017
            lost.append(f"{n}")
    assert 0 < len(lost) < 20
    ledger.accept_loss()
    for n in range(20):
        assert other.reserve(ask("3", group=f"{n}")).tokens == 100
