"""A tenant's budget over the wire: what is recorded is what the servers billed, and no more
than the limit, whatever the call's ending."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.tools import tool
from pydantic import BaseModel
from wiring import to

from tiered_llm import AllTiersFailedError, StreamInterruptedError
from tiered_llm.budgets import BudgetExceededError, BudgetManager
from tiered_llm.errors import ConfigurationError, UnsupportedArgumentError
from tiered_llm.testing import Answer, Fault

LONG = Answer(text="one two three four five six seven eight nine ten")


@pytest.fixture
def budget():
    return BudgetManager(100_000)


@pytest.fixture
def paying(wired, budget):
    """Makes a model that pays from the budget: `paying(on_interrupt="restart")`."""

    def make(**fields):
        return wired(budget=budget, tenant_id="acme", **fields)

    return make


@pytest.fixture
def billed(at):
    """Tokens that all servers have billed."""

    def read():
        return sum(sum(at(tier)[0].billed()) for tier in ("light", "standard", "heavy"))

    return read


@pytest.fixture
def day(budget):
    return lambda: budget.usage("acme")["daily"]


async def read(chunks):
    return [chunk async for chunk in chunks]


async def read_events(model, config):
    return (await (await model.astream_events("hello", config, version="v3"))).text


DOORS = {
    "invoke": lambda m, c: m.invoke("hello", c),
    "ainvoke": lambda m, c: asyncio.run(m.ainvoke("hello", c)),
    "stream": lambda m, c: list(m.stream("hello", c)),
    "astream": lambda m, c: asyncio.run(read(m.astream("hello", c))),
    "batch": lambda m, c: m.batch(["hello"], c),
    "stream_events": lambda m, c: m.stream_events("hello", c, version="v3").output,
    "astream_events": lambda m, c: asyncio.run(read_events(m, c)),
}
TIERS = ("light", "heavy")


@pytest.fixture(params=DOORS)
def door(request):
    return DOORS[request.param]


@pytest.mark.parametrize("tier", TIERS)
def test_what_is_recorded_is_what_was_billed(paying, billed, day, door, tier):
    for _ in range(3):
        door(paying(), to(tier))
    assert day().used == billed() > 0
    assert (day().reserved, day().orphaned) == (0, 0)


@pytest.mark.parametrize("tier", TIERS)
def test_the_grant_is_sent_as_the_longest_answer(paying, bodies, budget, door, tier):
    budget.set_limit("acme", "daily", 600)
    door(paying(max_tokens=5_000), to(tier))
    (body,) = bodies(tier)
    sent = body["options"]["num_predict"] if tier == "light" else body["max_completion_tokens"]
    assert 0 < sent < 600


def test_without_room_nothing_is_sent(paying, bodies, budget, door):
    budget.set_limit("acme", "daily", 10)
    with pytest.raises(BudgetExceededError):
        door(paying(), None)
    assert bodies("light") == bodies("standard") == bodies("heavy") == []


def test_an_attempt_that_was_refused_costs_nothing(paying, at, billed, day, door):
    server, name = at("light")
    server.script(name, Fault.status(429))
    door(paying(), None)
    assert day().used == billed()
    assert (day().reserved, day().orphaned) == (0, 0)


def test_an_attempt_that_may_have_cost_something_is_charged(paying, at, billed, day, door):
    server, name = at("light")
    server.script(name, Fault.status(500))
    door(paying(), None)
    assert day().used == at("standard")[0].billed()[0] + at("standard")[0].billed()[1]
    assert day().orphaned > 0
    assert day().reserved == 0


@pytest.mark.parametrize("tier", TIERS)
def test_a_stream_that_breaks_is_charged_at_least_what_was_billed(paying, at, billed, day, tier):
    server, name = at(tier)
    server.script(name, *[Fault.cut(at="content", after=3, answer=LONG)] * 2)
    with pytest.raises(StreamInterruptedError):
        list(paying().stream("hello", to(tier)))
    with pytest.raises(StreamInterruptedError):
        asyncio.run(read(paying().astream("hello", to(tier))))
    assert day().orphaned + day().used >= billed() > 0
    assert day().reserved == 0


@pytest.mark.parametrize(("tier", "chunks"), [(t, n) for t in TIERS for n in (0, 1, 3, 9)])
def test_a_stream_that_is_closed_holds_no_reservation(paying, at, billed, tier, chunks):
    server, name = at(tier)
    server.script(name, LONG, LONG)

    async def leave():
        stream = paying().astream("hello", to(tier))
        for _ in range(chunks):
            await anext(stream)
        await stream.aclose()

    asyncio.run(leave())
    stream = paying().stream("hello", to(tier))
    for _ in range(chunks):
        next(stream)
    stream.close()
    server.wait_for(lambda: all(r.outcome for r in server.requests))
    day = paying().budget.usage("acme")["daily"]
    assert day.orphaned + day.used >= billed()
    assert day.reserved == 0


async def test_a_cancelled_call_holds_no_reservation(paying, at, day):
    server, name = at("heavy")
    server.script(name, Fault.stall(at="start"))
    task = asyncio.create_task(paying().ainvoke("hello", to("heavy")))
    await server.await_for(lambda: len(server.requests) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert day().reserved == 0
    assert day().orphaned > 0, "the server may have worked on it"


def test_when_all_refuse_nothing_is_charged(paying, at, day, door):
    for tier in ("light", "standard", "heavy"):
        server, name = at(tier)
        server.script(name, Fault.status(404))
    with pytest.raises(AllTiersFailedError):
        door(paying(), None)
    assert (day().used, day().reserved, day().orphaned) == (0, 0, 0)


def test_a_server_that_cannot_be_reached_costs_nothing(paying, at, day):
    for tier in ("light", "standard", "heavy"):
        at(tier)[0].refuse()
    with pytest.raises(AllTiersFailedError):
        paying().invoke("hello")
    assert (day().used, day().reserved, day().orphaned) == (0, 0, 0)


def test_a_cached_answer_costs_nothing(paying, day):
    model = paying(cache=InMemoryCache())
    model.invoke("hello")
    once = day().used
    model.invoke("hello")
    assert day().used == once > 0


class Word(BaseModel):
    """A word."""

    word: str


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return word


@pytest.mark.parametrize("tier", TIERS)
def test_tools_and_structured_output_are_counted_too(paying, at, billed, day, tier):
    server, name = at(tier)
    server.script(name, Answer(text='{"word": "a"}'))
    model = paying()
    structured = model.with_structured_output(Word, method="json_schema")
    assert structured.invoke("hello", to(tier)) == Word(word="a")
    model.bind_tools([look_up]).invoke("hello", to(tier))
    assert day().used == billed() > 0
    assert (day().reserved, day().orphaned) == (0, 0)


@pytest.mark.parametrize("callers", [50, 200])
def test_a_burst_of_coroutines_does_not_pass_the_limit(paying, at, billed, callers):
    server, name = at("light")
    server.always(name, Answer(text=" ".join(["word"] * 400)))
    model = paying()
    model.budget.set_limit("acme", "daily", 10_000)

    async def call():
        with contextlib.suppress(BudgetExceededError):
            await model.ainvoke("hello " * 20, to("light"), max_tokens=400)

    async def burst():
        await asyncio.gather(*(call() for _ in range(callers)))

    asyncio.run(burst())
    day = model.budget.usage("acme")["daily"]
    assert 0 < billed() == day.used <= 10_000, "each call bills more than 400"
    assert day.reserved == 0


def test_a_burst_of_threads_does_not_pass_the_limit(paying, budget, billed, day):
    budget.set_limit("acme", "daily", 2_000)
    model = paying()

    def call(number):
        with contextlib.suppress(BudgetExceededError):
            if number % 2:
                model.invoke("hello", to("light"), max_tokens=50)
            else:
                list(model.stream("hello", to("light"), max_tokens=50))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(call, range(200)))
    assert 0 < billed() == day().used <= 2_000
    assert day().reserved == 0
    with pytest.raises(BudgetExceededError):
        model.batch(["hello"] * 200, {**to("light"), "max_concurrency": 1}, max_tokens=50)
    assert billed() == day().used >= 1_650, "all but one last call's bound"


def test_a_budget_is_each_tenants_own(wired, budget):
    model = wired(budget=budget)
    for tenant in ("a", "b"):
        model.invoke("hello", {"configurable": {"tenant_id": tenant}})
    model.invoke("hello")
    used = [budget.usage(tenant)["daily"].used for tenant in ("a", "b", None)]
    assert used[0] == used[1] == used[2] > 0


@pytest.mark.parametrize("tier", TIERS)
def test_a_caller_may_want_no_answer_rather_than_a_short_one(paying, budget, at, tier, door):
    budget.record_usage("acme", "light", 99_500, 0)  # 500 left: some 220 tokens of output
    with pytest.raises(BudgetExceededError):
        door(paying(tier=tier), to(tier, min_output_tokens=300))
    assert at(tier)[0].requests == []
    door(paying(tier=tier), to(tier, min_output_tokens=100))
    door(paying(tier=tier, max_tokens=50), to(tier, min_output_tokens=300))  # wants no more
    assert len(at(tier)[0].requests) == 2


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "many"])
def test_a_minimum_that_is_none_is_refused(paying, wrong):
    with pytest.raises(ConfigurationError, match=r"min_output_tokens.*whole tokens above 0"):
        paying().invoke("hello", to("light", min_output_tokens=wrong))


@pytest.mark.parametrize(
    "own", [{"n": 5}, {"extra_body": {"n": 4}}, {"extra_body": {"best_of": 3}}]
)
def test_several_answers_to_one_request_are_refused(paying, day, at, door, own):
    with pytest.raises(UnsupportedArgumentError, match="above 1 cannot be held to a budget"):
        door(paying(tier="heavy").bind(tier_kwargs={"heavy": own}), to("heavy"))
    assert at("heavy")[0].requests == []
    assert (day().used, day().reserved, day().orphaned) == (0, 0, 0)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_no_other_place_carries_a_longer_answer(paying, budget, at, name):
    budget.record_usage("acme", "light", 99_000, 0)
    own = {"extra_body": {name: 50_000, "top_k": 5}}
    paying().invoke("hello", to("heavy"), tier_kwargs={"heavy": own})
    body = at("heavy")[0].requests[-1].body
    assert max(body.get(each, 0) for each in ("max_tokens", "max_completion_tokens")) < 1_000
    assert body["top_k"] == 5


def test_what_one_tier_is_sent_counts_for_it(paying, budget, at):
    budget.record_usage("acme", "light", 95_000, 0)
    schema = {"name": "look", "description": "x" * 5_000, "parameters": {"type": "object"}}
    own = {"tools": [{"type": "function", "function": schema}]}
    with pytest.raises(BudgetExceededError):
        paying().invoke("hello", to("light"), tier_kwargs={"light": own})
    assert at("light")[0].requests == []
    paying().invoke("hello", to("heavy"), tier_kwargs={"light": own})
