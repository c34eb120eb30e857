"""Bursts whose callers leave, and whose servers fail: what nobody could tell stays charged, so
that the servers never bill more than the limit."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections import Counter
from contextlib import closing
from dataclasses import replace

import pytest
from races.callers import ANSWER, DOORS, LIMIT, OUTPUT, PROMPT, WHOLE, run

from tiered_llm.budgets import BudgetExceededError
from tiered_llm.testing import Answer, Fault

CALLERS = 20
SHORT = 80
"""Tokens, and chunks, of the answers that are left after every one of them."""


@pytest.fixture
def charged(tiers, billed):
    """Holds a tenant's end to: billed ≤ settled + orphaned ≤ limit, and none reserved."""
    before = [0]

    def check(budget, tenant):
        for server in (tiers.light, tiers.standard, tiers.heavy):
            server.wait_for(lambda server=server: _all_ended(server))
        total = billed()
        day = budget.usage(tenant)["daily"]
        assert day.used <= total - before[0] <= day.used + day.orphaned <= LIMIT
        assert day.reserved == 0
        before[0] = total
        return day

    return check


def _all_ended(server):
    return not {record.outcome for record in server.requests} & {"open", "stalled"}


class Leavers:
    """Streams that their callers leave, each after a number of chunks of its own."""

    def __init__(self, race):
        self.budget, self._race = race.budget(), race
        self.places = list(range(1, SHORT + 1))
        self.left = Counter()

    def burst(self, model):
        if self._race.doors == ("stream",):
            threads = [threading.Thread(target=self._stream, args=(model,)) for _ in range(CALLERS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        else:
            asyncio.run(self._astreams(model))

    def _stream(self, model):
        chunks = model.stream(PROMPT, self._race.config, **self._race.arguments)
        try:
            next(chunks)
        except BudgetExceededError:
            return
        with closing(chunks):
            for place in self._place():
                for _ in range(place - 1):
                    next(chunks)
                self.left[place] += 1

    async def _astreams(self, model):
        await asyncio.gather(*(self._astream(model) for _ in range(CALLERS)))
        await _last_words()

    async def _astream(self, model):
        chunks = model.astream(PROMPT, self._race.config, **self._race.arguments)
        try:
            await anext(chunks)
        except BudgetExceededError:
            return
        for place in self._place():
            for _ in range(place - 1):
                await anext(chunks)
            self.left[place] += 1
        await chunks.aclose()

    def _place(self):
        """Where to leave: none is given twice; nobody leaves late once all are."""
        try:
            return [self.places.pop()]
        except IndexError:
            return []


async def _last_words():
    """Wait for what LangChain leaves to tasks of its own: to close the streams that were left."""
    gc.collect()
    async with asyncio.timeout(10):
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)


@pytest.mark.parametrize("tier", ["light", "heavy"])
@pytest.mark.parametrize("door", ["stream", "astream"])
def test_leaving_a_stream_after_every_chunk(race, tiers, charged, door, tier):
    server = getattr(tiers, tier)
    (name,) = server.models
    server.always(name, Answer(text=" ".join(["word"] * SHORT)))
    given = race(doors=(door,), tier=tier, exact=True, max_tokens=SHORT)
    leavers = Leavers(given)
    wanted = Counter(leavers.places)
    for number in itertools.count():
        if not leavers.places:
            break
        tenant = f"tenant-{number}"
        leavers.burst(race(tenant=tenant).model(leavers.budget))
        assert charged(leavers.budget, tenant).orphaned > 0
    assert leavers.left == wanted


@pytest.mark.parametrize(("tier", "first"), [("light", 0), ("heavy", 2)])
async def test_cancelling_ainvoke_while_the_answer_is_written(race, tiers, charged, tier, first):
    given = race(tier=tier, exact=True)
    budget, server = given.budget(), getattr(tiers, tier)
    (name,) = server.models
    places = iter(range(first, OUTPUT, 8))
    fitting = LIMIT // WHOLE
    for number in range(OUTPUT // 8 // fitting):
        tenant = f"tenant-{number}"
        model = race(tenant=tenant).model(budget)
        server.always(name, lambda _: Fault.stall("content", after=next(places), answer=ANSWER))
        calls = [
            asyncio.create_task(model.ainvoke(PROMPT, given.config, **given.arguments))
            for _ in range(CALLERS)
        ]
        await server.await_for(lambda: _stalled(server) == fitting)
        for call in calls:
            call.cancel()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        kinds = Counter(type(end) for end in ends)
        assert kinds[asyncio.CancelledError] >= fitting
        assert set(kinds) <= {asyncio.CancelledError, BudgetExceededError}
        assert charged(budget, tenant).orphaned == LIMIT
    assert next(places, None) is None


def _stalled(server):
    return sum(record.outcome == "stalled" for record in server.requests)


WEATHER = (
    Fault.status(429),
    ANSWER,
    Fault.status(503),
    Fault.overflow(),
    Fault.cut(after=3, answer=ANSWER),
    Fault.early_end(after=200, answer=ANSWER),
    ANSWER,
    Fault.error_event(after=100, answer=ANSWER),
    Fault.status(429),
    Fault.bad_chunk(after=399, answer=ANSWER),
    Fault.status(500),
    Fault.cut("start", reset=False),
)
"""What costs nothing, what costs something and what nobody can tell."""

BURSTS = (1, 1, 6, 48)
"""The first ones leave room for other tiers, the last does not."""


@pytest.fixture
def stormy(tiers):
    """Servers that fail more often than not, each in an order of its own."""
    for shift, server in enumerate((tiers.light, tiers.standard, tiers.heavy)):
        (name,) = server.models
        steps = itertools.cycle(WEATHER[4 * shift :] + WEATHER[: 4 * shift])
        server.always(name, lambda _, steps=steps: next(steps))
    return tiers


@pytest.mark.parametrize("asked", [{"exact": True}, {"max_tokens": None}], ids=["named", "unset"])
@pytest.mark.parametrize("door", DOORS)
def test_faults_and_fallbacks_by_every_door(race, stormy, charged, door, asked):
    given = race(doors=(door,), tier=None, **asked)
    budget, heard, orphaned = given.budget(), Counter(), 0
    for tenant in ("a", "b", "c"):
        for callers in BURSTS:
            burst = replace(given, tenant=tenant, callers=callers)
            heard += run(burst, budget)
        orphaned += charged(budget, tenant).orphaned
    assert min(heard["answered"], heard["refused"], orphaned) > 0
    assert stormy.standard.requests, "some fell back"


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_faults_and_fallbacks_in_many_processes(racing, stormy, charged, kind):
    crowd = {"callers": 200, "doors": DOORS, "tier": None, "exact": True}
    given, heard, _ = racing(kind, 4, one_before=True, **crowd)
    assert min(heard["answered"], heard["refused"]) > 0
    budget = given.budget()
    with closing(budget.ledger):
        assert charged(budget, given.tenant).orphaned > 0
    assert stormy.standard.requests, "some fell back"
