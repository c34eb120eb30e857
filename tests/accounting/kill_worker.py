"""A program that forks workers on demand: processes that make calls until they are killed.

It reads orders from its input, one JSON line each, and answers each with the worker's pid. The
imports are made once, so that a killed worker is followed by the next one in milliseconds. The
workers end with the program, and the program with its input.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import langchain_ollama  # noqa: F401  # what each worker's first call would import
from accounting.payers import NAME, settings

from tiered_llm import BudgetRule, TieredChatModel, TierSpec
from tiered_llm.budgets import BudgetExceededError, BudgetManager
from tiered_llm.budgets.errors import LedgerError

if TYPE_CHECKING:
    from tiered_llm.budgets.ledger import Ledger

LEASE_S = 2.0
LIMIT = 2_000
"""Tokens of one tenant: some six reservations, and some forty answers."""
PLENTY = 10**12
MOST_TOKENS = 40


def manager_of(store: str | Ledger) -> BudgetManager:
    """By the month: a day ends too often. A tenant's account, and one for each call."""
    rules = [
        BudgetRule(name="tenant", monthly=LIMIT),
        BudgetRule(name="call", by=("user",), monthly=PLENTY),
    ]
    return BudgetManager(rules=rules, store=store, lease_s=LEASE_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a worker is to do.

    Attributes:
        url: The server.
        store: The budget's store.
        journal: Where it writes down what it begins and what it ends; it alone writes there.
        stop: A file that tells it to end once it is there.
        first: Its first call's number.
        tenant: The tenant to begin with; the next one when this one's budget refuses.
    """

    url: str
    store: str
    journal: str
    stop: str
    first: int
    tenant: int


class Worker:
    """Makes calls and writes them down."""

    def __init__(self, orders: Orders) -> None:
        spec = TierSpec(tier="light", model_id=f"ollama/{NAME}", base_url=orders.url)
        self._orders, self._rng = orders, random.Random(orders.first)  # noqa: S311  # any will do
        self._model = TieredChatModel(
            light=spec, settings=settings(1), budget=manager_of(orders.store)
        )
        self._ways = (self._invoke, self._stream, self._leave, self._ainvoke)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._journal = os.open(orders.journal, flags, 0o600)

    def run(self) -> None:
        number, tenant, parent = self._orders.first, self._orders.tenant, os.getppid()
        stop = Path(self._orders.stop)
        while os.getppid() == parent and not stop.exists():
            self._write("begun", number, tenant)
            try:
                end = self._rng.choice(self._ways)(number, tenant)
            except BudgetExceededError:
                end, tenant = "refused", tenant + 1
            except LedgerError:
                end = "trouble"
            self._write(end, number)
            number += 1

    def _write(self, *words: str | int) -> None:
        """A line in the file is there when this returns, whoever is killed then."""
        os.write(self._journal, f"{' '.join(map(str, words))}\n".encode())

    def _invoke(self, *call: int) -> str:
        self._model.invoke(*_said(*call), max_tokens=MOST_TOKENS)
        return "answered"

    def _stream(self, *call: int) -> str:
        list(self._model.stream(*_said(*call), max_tokens=MOST_TOKENS))
        return "answered"

    def _leave(self, *call: int) -> str:
        stream = self._model.stream(*_said(*call), max_tokens=MOST_TOKENS)
        for _ in range(self._rng.randrange(5)):
            next(stream, None)
        stream.close()
        return "left"

    def _ainvoke(self, *call: int) -> str:
        asyncio.run(self._model.ainvoke(*_said(*call), max_tokens=MOST_TOKENS))
        return "answered"


def _said(number: int, tenant: int) -> tuple[str, dict[str, dict[str, str]]]:
    who = {"tenant_id": tenant_name(tenant), "user_id": str(number)}
    return f"call {number} of many", {"configurable": who}


def tenant_name(tenant: int) -> str:
    return f"tenant-{tenant}"


def dump(orders: Orders) -> str:
    return json.dumps(asdict(orders))


def _fork(orders: Orders) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        Worker(orders).run()
    except BaseException:  # noqa: BLE001  # a child must not go on as its parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead need nobody who asks after them
    for line in sys.stdin:
        print(_fork(Orders(**json.loads(line))), flush=True)  # noqa: T201  # the answer


if __name__ == "__main__":
    main()
