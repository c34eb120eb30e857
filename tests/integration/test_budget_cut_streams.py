"""Streams that are left or break off, over the wire: what their tenant is charged."""

from __future__ import annotations

import asyncio

import pytest
from wiring import to

from tiered_llm import StreamInterruptedError
from tiered_llm.budgets import BudgetManager
from tiered_llm.testing import Answer, Fault

LONG = Answer(text="one twö three four five six seven eight nine ten")
MARGIN = 60
TIERS = ("light", "heavy")


class Paying:
    """A model whose tenant's day is looked at."""

    def __init__(self, wired, **posture):
        self.budget = BudgetManager(100_000, **posture)
        self.model = wired(budget=self.budget, tenant_id="acme", max_tokens=500)

    @property
    def day(self):
        return self.budget.usage("acme")["daily"]

    @property
    def under_way(self):
        """What the input's bound of the call that is under way is."""
        return self.day.reserved - 500


def closed(paying, tier):
    stream = paying.model.stream("hello", to(tier))
    seen = [next(stream).text for _ in range(4)]
    bound = paying.under_way
    stream.close()
    return bound, "".join(seen)


async def aclosed(paying, tier):
    stream = paying.model.astream("hello", to(tier))
    seen = [(await anext(stream)).text for _ in range(4)]
    bound = paying.under_way
    await stream.aclose()
    return bound, "".join(seen)


async def cancelled(paying, tier):
    seen, four = [], asyncio.Event()

    async def read():
        async for chunk in paying.model.astream("hello", to(tier)):
            seen.append(chunk.text)
            if len(seen) == 4:
                four.set()

    task = asyncio.create_task(read())
    await four.wait()
    bound = paying.under_way
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return bound, "".join(seen)


def broken(paying, tier):
    stream = paying.model.stream("hello", to(tier))
    next(stream)
    bound = paying.under_way
    with pytest.raises(StreamInterruptedError) as caught:
        list(stream)
    return bound, caught.value.partial_text


async def abroken(paying, tier):
    stream = paying.model.astream("hello", to(tier))
    await anext(stream)
    bound = paying.under_way
    with pytest.raises(StreamInterruptedError) as caught:
        await drained(stream)
    return bound, caught.value.partial_text


async def drained(stream):
    async for _ in stream:
        pass


LEAVE = {"close": closed, "aclose": aclosed, "cancel": cancelled}
BREAK = {"stream": broken, "astream": abroken}
WAYS = {**LEAVE, **BREAK}


@pytest.fixture(params=WAYS)
def cut_short(request, at):
    """Cuts a stream in the midst of its answer: its input's bound, and the bytes that were seen."""

    def cut(paying, tier):
        server, name = at(tier)
        # one that is left stalls: nothing is known of its use
        kind = Fault.stall if request.param in LEAVE else Fault.cut
        server.script(name, kind(at="content", after=6, answer=LONG))
        ended = WAYS[request.param](paying, tier)
        bound, seen = asyncio.run(ended) if asyncio.iscoroutine(ended) else ended
        server.wait_for(lambda: all(record.outcome for record in server.requests))
        return bound, len(seen.encode())

    return cut


@pytest.mark.parametrize("tier", TIERS)
def test_with_a_margin_it_is_charged_by_what_was_seen(wired, at, cut_short, tier):
    paying = Paying(wired, cut_margin=MARGIN)
    bound, seen = cut_short(paying, tier)
    assert seen > 0
    day = paying.day
    assert (day.used, day.reserved, day.orphaned) == (0, 0, bound + seen + MARGIN)
    assert day.orphaned >= sum(at(tier)[0].billed()) > 0


@pytest.mark.parametrize("tier", TIERS)
def test_without_one_it_is_charged_all_that_was_reserved(wired, cut_short, tier):
    paying = Paying(wired)
    bound, _ = cut_short(paying, tier)
    day = paying.day
    assert (day.used, day.reserved, day.orphaned) == (0, 0, bound + 500)
