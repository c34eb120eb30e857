"""What a manager does while its store is away: a real file that cannot be read for a while."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import pytest
from hand_clock import HandClock
from langchain_core.callbacks import BaseCallbackHandler

from tiered_llm import TieredChatModel
from tiered_llm.budgets import BudgetCallbackHandler
from tiered_llm.budgets.errors import LedgerError, LedgerLostError
from tiered_llm.budgets.ledgers.sqlite import SqliteLedger
from tiered_llm.budgets.manager import BudgetManager
from tiered_llm.budgets.outage import AWAY_S
from tiered_llm.budgets.plan import Payer
from tiered_llm.budgets.rules import BudgetRule
from tiered_llm.errors import ConfigurationError
from tiered_llm.testing import FakeChatModel


@pytest.fixture
def clock():
    return HandClock(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp())


class Store:
    """A ledger in a file that another connection can keep locked, so that it is away."""

    def __init__(self, path, clock):
        self.ledger = SqliteLedger(str(path), clock, busy_s=0.01)
        self.ledger.now_s(), self.ledger.limits("")  # makes the file
        self._path, self._other = path, None

    def go(self):
        import sqlite3

        self._other = sqlite3.connect(self._path, isolation_level=None)
        self._other.execute("BEGIN EXCLUSIVE")

    def come_back(self):
        self._other.rollback()
        self._other.close()
        self._other = None

    def close(self):
        if self._other is not None:
            self.come_back()
        self.ledger.close()


@pytest.fixture
def store(tmp_path, clock):
    store = Store(tmp_path / "budgets.db", clock)
    yield store
    store.close()


@pytest.fixture
def allowing(store, clock):
    return BudgetManager(
        10_000,
        store=store.ledger,
        clock=clock,
        on_store_error="allow",
        store_error_allowance=1_500,
    )


def used(manager, tenant="acme"):
    day = manager.usage(tenant)["daily"]
    return int(day.used), int(day.reserved), int(day.orphaned)


def test_by_default_nothing_goes_on_without_the_store(store, clock):
    manager = BudgetManager(10_000, store=store.ledger, clock=clock)
    store.go()
    with pytest.raises(LedgerError):
        manager.reserve("acme", "light", 600, 400)
    store.come_back()
    assert manager.reserve("acme", "light", 600, 400).granted == 400


def test_where_it_is_allowed_calls_go_on_within_the_allowance_and_are_charged_later(
    allowing, store, clock, caplog
):
    store.go()
    first = allowing.reserve("SECRET-tenant", "light", 600, 400)
    assert first.granted == 400
    assert allowing.reserve("SECRET-tenant", "light", 400, 400).granted == 100  # clamped to it
    with pytest.raises(LedgerError, match="has used what it may"):
        allowing.reserve("SECRET-tenant", "light", 600, 400)
    first.settle(300, 50)  # 650 come back
    second = allowing.reserve("SECRET-tenant", "light", 250, 400)
    assert second.granted == 400
    assert allowing.owed_tokens == 350 + 500 + 650
    second.orphan()
    second.settle(1, 1)  # has ended
    store.come_back()
    with pytest.raises(LedgerError, match="has used what it may"):
        allowing.reserve("SECRET-tenant", "light", 600, 400)  # not asked again so soon
    clock.now_s += AWAY_S
    held = allowing.reserve("SECRET-tenant", "light", 100, 100)
    assert allowing.owed_tokens == 500  # of the one that is under way still
    assert used(allowing, "SECRET-tenant") == (350 + 650, 200, 0)
    held.void()
    assert caplog.text.count("the store of budgets is away") == 1
    assert "SECRET" not in caplog.text


async def test_the_twins_do_the_same(allowing, store, clock):
    store.go()
    held = await allowing.areserve("acme", "light", 600, 400)
    await held.asettle(500, 100)
    freed = await allowing.areserve("acme", "light", 100, 100)
    await freed.avoid()
    left = await allowing.areserve("acme", "light", 100, 100)
    await left.aorphan()
    assert await allowing.acap(Payer(tenant_id="acme")) is None
    store.come_back()
    clock.now_s += AWAY_S
    await (await allowing.areserve("acme", "light", 10, 10)).avoid()
    assert used(allowing) == (800, 0, 0)


def test_what_was_used_without_the_store_is_charged_once_and_where_it_was_used(
    allowing, store, clock
):
    store.go()
    for _ in range(3):
        allowing.reserve("acme", "light", 100, 100).settle(100, 100)
    allowing.reserve("other", "heavy", 100, 100).settle(60, 40)
    with pytest.raises(LedgerError):
        allowing.reconcile()
    clock.now_s += 86_400  # the next day
    store.come_back()
    assert allowing.reconcile() == 3  # two tenants, and the reservation that may have been made
    assert allowing.reconcile() == 0
    assert used(allowing) == (0, 0, 0)
    assert int(allowing.usage("acme")["monthly"].used) == 600
    assert allowing.get_savings_report("other")["tokens"]["heavy"] == 100


def test_the_allowance_is_whole_again_once_the_store_knows(allowing, store, clock):
    for _ in range(2):
        store.go()
        allowing.reserve("acme", "light", 1_000, 500).settle(1_000, 500)
        with pytest.raises(LedgerError):
            allowing.reserve("acme", "light", 1, 1)
        store.come_back()
        clock.now_s += AWAY_S
        allowing.reconcile()
    assert used(allowing) == (3_000, 0, 0)


@pytest.mark.parametrize("posture", ["deny", "allow"])
def test_an_end_that_the_store_could_not_be_told_is_told_later(posture, store, clock):
    manager = BudgetManager(
        10_000,
        store=store.ledger,
        clock=clock,
        on_store_error=posture,
        store_error_allowance=1_000 if posture == "allow" else None,
    )
    settled, voided = (manager.reserve("acme", "light", 600, 400) for _ in range(2))
    store.go()
    with pytest.raises(LedgerError):
        settled.settle(50, 50)
    with pytest.raises(LedgerError):
        voided.void()
    store.come_back()
    assert used(manager) == (0, 2_000, 0)
    manager.reserve("acme", "light", 1, 1).void()
    assert used(manager) == (100, 0, 0)


async def test_so_is_one_whose_caller_is_cancelled(allowing, monkeypatch):
    held = await allowing.areserve("acme", "light", 600, 400)
    begun = asyncio.Event()

    async def never(*_):
        begun.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(allowing.ledger, "asettle", never)
        task = asyncio.create_task(held.asettle(50, 50))
        await asyncio.wait_for(begun.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert used(allowing) == (0, 1_000, 0)
    await allowing.areconcile()
    assert used(allowing) == (100, 0, 0)


def test_a_store_that_lost_what_it_held_is_never_gone_without(tmp_path, clock):
    path = tmp_path / "budgets.db"
    with pytest.raises(LedgerLostError):  # noqa: PT012  # the file is made by the first call
        manager = BudgetManager(
            10_000,
            store=f"sqlite:///{path}",
            clock=clock,
            on_store_error="allow",
            store_error_allowance=1_000,
        )
        manager.reserve("acme", "light", 10, 10).settle(10, 10)
        path.unlink()
        manager.reserve("acme", "light", 10, 10)


def test_soft_budgets_alone_never_stop_a_call(store, clock):
    manager = BudgetManager(
        rules=[BudgetRule(name="seen", daily=100, mode="soft")], store=store.ledger, clock=clock
    )
    store.go()
    for _ in range(20):
        manager.reserve("acme", "light", 600, 400).settle(600, 400)
    store.come_back()
    manager.reconcile()
    assert used(manager) == (20_000, 0, 0)


def test_what_is_owed_is_bounded(allowing, store, monkeypatch, caplog):
    monkeypatch.setattr("tiered_llm.budgets.outage.MOST_ACCOUNTS", 2)
    store.go()
    with caplog.at_level(logging.ERROR):
        for tenant in ("a", "b", "c"):
            allowing.reserve(tenant, "light", 10, 10).settle(10, 10)
    assert "too much is owed" in caplog.text
    store.come_back()
    assert allowing.reconcile() == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"on_store_error": "maybe"},
        {"on_store_error": "allow"},
        {"on_store_error": "allow", "store_error_allowance": 0},
        {"on_store_error": "allow", "store_error_allowance": -5},
    ],
)
def test_a_posture_that_cannot_work_is_refused_at_once(wrong):
    with pytest.raises(ConfigurationError, match="store_error"):
        BudgetManager(1_000, **wrong)


class Going(BaseCallbackHandler):
    """Takes the store away once the model has been asked."""

    run_inline = True

    def __init__(self, store):
        self.store = store

    def on_chat_model_start(self, *_, **__):
        self.store.go()


@pytest.mark.parametrize("answer", [{"text": "one two three"}, {"error": ValueError("broken")}])
@pytest.mark.parametrize("tiered", [True, False])
def test_a_store_that_goes_in_mid_call_costs_no_answer(store, clock, caplog, answer, tiered):
    manager = BudgetManager(100_000, store=store.ledger, clock=clock)
    model = FakeChatModel(**{name: value for name, value in answer.items() if name == "text"})
    if "error" in answer:
        model = Broken(error=answer["error"])
    handlers = [Going(store)]
    if tiered:
        model = TieredChatModel(light=model, budget=manager, tenant_id="SECRET-tenant")
    else:
        handlers.insert(0, BudgetCallbackHandler(manager, tenant_id="SECRET-tenant"))
    if "error" in answer:
        with pytest.raises(Exception, match="broken"):
            model.invoke("hi", {"callbacks": handlers})
    else:
        assert model.invoke("hi", {"callbacks": handlers}).text == "one two three"
    assert "could not be recorded" in caplog.text
    assert "SECRET" not in caplog.text
    store.come_back()
    manager.reconcile()
    expected = (0, 8_192 + 274, 0) if "error" in answer else (10, 0, 0)  # open until its lease ends
    assert used(manager, "SECRET-tenant") == expected


class Broken(FakeChatModel):
    error: Exception

    def _generate(self, *_, **__):
        raise self.error


class Unheard(SqliteLedger):
    """Reserves, and its reply is lost."""

    def reserve(self, ask):
        super().reserve(ask)
        raise LedgerError("the reply was lost")

    async def areserve(self, ask):
        await super().areserve(ask)
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    "posture", [{}, {"on_store_error": "allow", "store_error_allowance": 9_999}]
)
def test_a_reservation_whose_reply_was_lost_is_freed(tmp_path, clock, posture):
    ledger = Unheard(str(tmp_path / "budgets.db"), clock)
    manager = BudgetManager(10_000, store=ledger, clock=clock, **posture)
    if posture:
        manager.reserve("acme", "light", 600, 400).settle(50, 50)
    else:
        with pytest.raises(LedgerError):
            manager.reserve("acme", "light", 600, 400)
    assert used(manager) == (0, 1_000, 0)
    manager.reconcile()
    assert used(manager) == (100 if posture else 0, 0, 0)
    ledger.close()


async def test_so_is_one_whose_caller_was_cancelled(tmp_path, clock):
    ledger = Unheard(str(tmp_path / "budgets.db"), clock)
    manager = BudgetManager(10_000, store=ledger, clock=clock)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await manager.areserve("acme", "light", 600, 400)
    assert used(manager) == (0, 1_000, 0)
    await manager.areconcile()
    assert used(manager) == (0, 0, 0)
    ledger.close()


def test_what_the_store_will_never_take_stops_nobody(allowing, monkeypatch, caplog):
    held = allowing.reserve("acme", "light", 600, 400)
    with monkeypatch.context() as patch:
        patch.setattr(allowing.ledger, "settle", lambda *_: (_ for _ in ()).throw(LedgerError("x")))
        with pytest.raises(LedgerError):
            held.settle(50, 50)
        patch.setattr(
            allowing.ledger, "settle", lambda *_: (_ for _ in ()).throw(OverflowError("x"))
        )
        assert allowing.reserve("acme", "light", 1, 1).granted == 1
    assert "refused what it was owed: OverflowError" in caplog.text
    assert allowing.reconcile() == 0


@pytest.mark.parametrize("usage", [(-1, 5), (5, -50_000), (10**20, 5)])
def test_what_nobody_can_have_used_is_no_usage(allowing, usage):
    held = allowing.reserve("acme", "light", 600, 400)
    with pytest.raises(ValueError, match="from 0 to"):
        held.settle(*usage)
    held.orphan()
    assert used(allowing) == (0, 0, 1_000)
