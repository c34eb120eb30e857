"""Callers that race for one budget of 10,000 tokens, by every door, in this process or another."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from tiered_llm import TieredChatModel
from tiered_llm.budgets import BudgetExceededError, BudgetManager
from tiered_llm.errors import AllTiersFailedError, StreamInterruptedError
from tiered_llm.fallback import PROCESS_HEALTH
from tiered_llm.testing import Answer
from tiered_llm.testing.simulator import tokens

LIMIT = 10_000
INPUT, OUTPUT = 600, 400
WHOLE = INPUT + OUTPUT

_ASKED = "Name the mean of these ratings:"
_COUNT = (INPUT - tokens.MESSAGE_OVERHEAD_TOKENS - tokens.count(_ASKED)) // 2
PROMPT = _ASKED + " " + ",".join(itertools.islice(itertools.cycle("42531"), _COUNT)) + "."
"""600 tokens with the frame, of little more than a byte each, as digits and signs are anywhere."""

ANSWER = Answer(text=" ".join(["word"] * OUTPUT))

TENANT = "acme"
FAILURES = (AllTiersFailedError, StreamInterruptedError)


def count_exactly(messages, _tools):
    """The input as the simulator bills it."""
    return sum(tokens.MESSAGE_OVERHEAD_TOKENS + tokens.count(m.content) for m in messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """Who races, and how.

    Attributes:
        specs: The tiers, as a model takes them.
        store: The ledger's URL.
        doors: The callers' ways to call, dealt out in turn.
        callers: How many start at once.
        loop: Whether each calls again until it is refused.
        exact: Whether the budget knows the models' tokenizers.
        max_tokens: What is asked for; None where nothing is.
        tier: Where the calls go; None leaves that to the router.
        tenant: Who pays.
    """

    specs: dict[str, Any]
    store: str = "memory://"
    doors: tuple[str, ...] = ("ainvoke",)
    callers: int = 50
    loop: bool = False
    exact: bool = False
    max_tokens: int | None = OUTPUT
    tier: str | None = "light"
    tenant: str = TENANT

    @property
    def config(self):
        return {"configurable": {"tier": self.tier} if self.tier else {}}

    @property
    def arguments(self):
        return {} if self.max_tokens is None else {"max_tokens": self.max_tokens}

    def budget(self):
        """A manager with its own connection to the store."""
        counted = {spec.model_id: count_exactly for spec in self.specs.values()}
        exact = {"tokenizers": counted} if self.exact else {}
        return BudgetManager(LIMIT, LIMIT, store=self.store, **exact)

    def model(self, budget):
        return TieredChatModel(**self.specs, budget=budget, tenant_id=self.tenant)


async def _ainvoke(model, race):
    await model.ainvoke(PROMPT, race.config, **race.arguments)


async def _astream(model, race):
    async for _ in model.astream(PROMPT, race.config, **race.arguments):
        pass


def _invoke(model, race):
    model.invoke(PROMPT, race.config, **race.arguments)


def _stream(model, race):
    for _ in model.stream(PROMPT, race.config, **race.arguments):
        pass


SYNC = {"invoke": _invoke, "stream": _stream}
ASYNC = {"ainvoke": _ainvoke, "astream": _astream}
DOORS = (*SYNC, *ASYNC)


def run(race, budget, ready=lambda: None):
    """Let them race; the number of calls that were answered, failed and refused.

    Sync callers have a thread each, async ones a task each on one event loop beside them.
    """
    PROCESS_HEALTH.reset()
    model = race.model(budget)
    dealt = Counter(itertools.islice(itertools.cycle(race.doors), race.callers))
    sync = [door for door in SYNC for _ in range(dealt[door])]
    start = threading.Barrier(len(sync) + 1)
    heard = Counter()
    threads = [
        threading.Thread(target=_sync_caller, args=(model, race, SYNC[door], start, heard))
        for door in sync
    ]
    for thread in threads:
        thread.start()
    ready()
    start.wait()
    calls = [ASYNC[door] for door in ASYNC for _ in range(dealt[door])]
    if calls:
        asyncio.run(_async_callers(model, race, calls, heard))
    for thread in threads:
        thread.join()
    return heard


def _sync_caller(model, race, call, start, heard):
    start.wait()
    while True:
        outcome = _outcome(lambda: call(model, race))
        heard.update([outcome])
        if outcome == "refused" or not race.loop:
            return


def _outcome(call):
    try:
        call()
    except BudgetExceededError:
        return "refused"
    except FAILURES:
        return "failed"
    return "answered"


async def _async_callers(model, race, calls, heard):
    await asyncio.gather(*(_async_caller(model, race, call, heard) for call in calls))


async def _async_caller(model, race, call, heard):
    while True:
        outcome = await _aoutcome(call(model, race))
        heard.update([outcome])
        if outcome == "refused" or not race.loop:
            return


async def _aoutcome(call):
    try:
        await call
    except BudgetExceededError:
        return "refused"
    except FAILURES:
        return "failed"
    return "answered"


def run_here(race, ready=lambda: None):
    """Race in this process, with a manager of its own."""
    budget = race.budget()
    with closing(budget.ledger):
        return run(race, budget, ready)
