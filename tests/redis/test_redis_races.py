"""Many processes, threads, event loops and forks on one limit."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from asks import ask, race

from tiered_llm.budgets.ledger import Granted

LIMIT = 10_000


def test_eight_processes_use_a_limit_to_the_last_part(server, make):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(8, mp_context=context) as pool:
        runs = list(pool.map(race, [server.url] * 8, range(8), [250] * 8, [LIMIT] * 8))
    ledger = make()
    balances = ledger.balances("payer", ("day", "month"))
    assert [balance.charged for balance in balances] == [LIMIT, LIMIT]
    assert sum(granted for granted, _ in runs) == LIMIT
    raised = [(name, threshold) for name in ("day", "month") for threshold in (80, 95)]
    assert sorted(alert for _, alerts in runs for alert in alerts) == raised
    assert len(ledger.alerts()) == 4


def test_threads_and_loops_share_a_ledger(make):
    ledger = make()

    async def crowd(of):
        answers = await asyncio.gather(*(ledger.areserve(ask(f"{of}-{n}")) for n in range(20)))
        return sum(answer.tokens for answer in answers if isinstance(answer, Granted))

    with ThreadPoolExecutor(4) as pool:
        granted = sum(pool.map(lambda of: asyncio.run(crowd(of)), range(4)))
    assert granted == ledger.balances("payer", ("day",))[0].reserved == 1_000


def test_a_forked_process_has_connections_of_its_own(make):
    ledger = make()
    ledger.reserve(ask("before"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests left threads behind
        child = os.fork()
    if child == 0:
        settled = [ledger.settle("payer", "before", (1,)).ended for _ in range(50)]
        os._exit(0 if settled == ["settled"] + ["already"] * 49 else 1)
    leases = [ledger.reserve(ask(f"{n}", limit=None)) for n in range(50)]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert leases == [Granted(tokens=100)] * 50


def test_a_pickled_ledger_is_another_on_the_same_store(make):
    ledger = make()
    ledger.reserve(ask("1"))
    again = pickle.loads(pickle.dumps(ledger))  # noqa: S301
    assert again.settle("payer", "1", (5,)).ended == "settled"
    again.close()


def test_a_cancelled_reserve_is_gone_at_its_ttl(make, hand_clock, server):
    ledger = make(clock=hand_clock)

    async def cancelled():
        await ledger.areserve(ask("first"))
        with server.client() as admin:
            admin.client_pause(100_000, all=False)
            task = asyncio.create_task(ledger.areserve(ask("lost")))
            sent = 0
            while sent == 0:  # until the server holds the command back
                await asyncio.sleep(0)
                sent = admin.info("clients")["blocked_clients"]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            admin.client_unpause()
        return [(await ledger.asettle("payer", "first", (n,))).ended for n in (7, 8)]

    assert asyncio.run(cancelled()) == ["settled", "already"]
    hand_clock.now_s = 60.0
    assert ledger.balances("payer", ("day",))[0].reserved == 0
    assert ledger.void("payer", "lost").ended in {"unknown", "already"}
