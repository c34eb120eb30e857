"""A real cluster of three."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest
import redis
from asks import ask
from redis_server import RedisServer, free_port

from tiered_llm.budgets.errors import LedgerError, LedgerLostError
from tiered_llm.budgets.ledger import Granted
from tiered_llm.budgets.ledgers.redis.names import slot_keys, slot_of
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
        except LedgerLostError as error:
            assert "lost what it held" in str(error)  # noqa: PT017
            lost.append(f"{n}")
    assert 0 < len(lost) < 20
    ledger.accept_loss()
    for n in range(20):
        assert other.reserve(ask("3", group=f"{n}")).tokens == 100


def test_a_slot_that_moves_is_refused_on_its_way_and_followed_where_it_went(emptied, make):
    ledger = make(emptied[0].url.removesuffix("/0"))
    ledger.reserve(ask("1", group="first"))  # learns the map
    slot = slot_of(ledger._store._names.tag("second"))
    with ExitStack() as stack:
        clients = [stack.enter_context(node.client()) for node in emptied]
        at = _owner(clients, slot)
        source, target = clients[at], clients[at - 1]
        from_id, to_id = (one.execute_command("CLUSTER MYID").decode() for one in (source, target))
        target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", from_id)
        source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", to_id)
        with pytest.raises(LedgerError, match="not whole just now"):
            ledger.reserve(ask("1", group="second"))
        assert target.dbsize() > 0, "its generation was asked for there"
        for one in (target, source, clients[at - 2]):
            one.execute_command("CLUSTER SETSLOT", slot, "NODE", to_id)
        answers = [ledger.reserve(ask("1", group="second"))]
        answers.append(asyncio.run(ledger.areserve(ask("1", group="second"))))
        for one in (source, target, clients[at - 2]):  # back, for the other tests
            one.flushall()
            one.execute_command("CLUSTER SETSLOT", slot, "NODE", from_id)
    assert answers == [Granted(tokens=100)] * 2


def _owner(clients, slot):
    """Which node has the slot: the one that does not send elsewhere."""
    key = slot_keys()[slot]
    for number, client in enumerate(clients):
        try:
            client.execute_command("EXISTS", key)
        except redis.ResponseError:
            continue
        return number
    raise AssertionError
