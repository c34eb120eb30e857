"""The breaker over the wire: who is left alone, for how long, and who never is."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing

import pytest
from hand_clock import HandClock
from langchain_ollama import ChatOllama
from pydantic import SecretStr
from wiring import to

from tiered_llm import AllTiersFailedError, StreamInterruptedError, TieredChatModel, TierSpec
from tiered_llm.fallback import PROCESS_HEALTH, Health
from tiered_llm.fallback.phases import Closed
from tiered_llm.settings import get_settings
from tiered_llm.testing import Answer, Fault

MIN_CALLS, OPEN_S, CROWD = 10, 5.0, 50
PATIENCE_S = 30.0
TASKS = {"light": "simple_qa", "standard": "agent_execution", "heavy": "thinking"}
WORDS = Answer(text="one two three four five six seven eight")


async def collect(chunks):
    return [chunk async for chunk in chunks]


def joined(chunks):
    return chunks[0] + chunks[1:] if len(chunks) > 1 else chunks[0]


DOORS = {
    "invoke": lambda m, c: m.invoke("hello", c),
    "ainvoke": lambda m, c: asyncio.run(m.ainvoke("hello", c)),
    "stream": lambda m, c: joined(list(m.stream("hello", c))),
    "astream": lambda m, c: joined(asyncio.run(collect(m.astream("hello", c)))),
    "batch": lambda m, c: m.batch(["hello"], c)[0],
    "abatch": lambda m, c: asyncio.run(m.abatch(["hello"], c))[0],
    "stream_events": lambda m, c: m.stream_events("hello", c, version="v3").output,
}
every_door = pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
both_protocols = pytest.mark.parametrize("tier", ["light", "heavy"])


def wanting(tier):
    """A config of a call that asks for a tier and takes others."""
    return {"configurable": {"task_type": TASKS[tier]}}


def routing(message):
    return message.response_metadata["routing"]


def asked(message):
    return [attempt["tier"] for attempt in routing(message)["attempts"]]


class Lab:
    """Models over the three simulators, with a health and a clock of their own."""

    def __init__(self, wired, at):
        self._wired, self.at = wired, at
        self.clock = HandClock()
        self.health = Health(self.clock, rng=lambda: 0.5)  # no jitter

    def model(self, **fields):
        return self._wired(**{"health": self.health, **fields})

    def spec(self, tier, **updates):
        return getattr(self.model(), tier).spec.model_copy(update=updates)

    def opened(self, tier, **fields):
        """A model, a tier of which has just failed so often that it is left alone."""
        server, name = self.at(tier)
        server.always(name, Fault.status(503))
        model = self.model(**fields)
        for _ in range(MIN_CALLS):
            assert asked(model.invoke("hello", wanting(tier)))[0] == tier
        server.clear(name)
        assert self.state(tier) == "open"
        return model

    def state(self, tier):
        """What the breaker of a tier does with calls."""
        return {seen.model: seen.state for seen in self.health.snapshot()}[self.at(tier)[1]]

    def counted(self, tier):
        """Whether a tier's breaker has counted a call, for or against."""
        phases = {address[2]: b._phase for (address, _), b in self.health._breakers.items()}
        return phases[self.at(tier)[1]] != Closed()


@pytest.fixture
def lab(wired, at):
    return Lab(wired, at)


# --- a dead tier ---


@every_door
@both_protocols
def test_a_dead_tier_is_left_alone_after_ten_failed_calls(lab, tier, door):
    server, name = lab.at(tier)
    server.always(name, Fault.status(503))
    model = lab.model()
    for _ in range(MIN_CALLS):
        assert asked(door(model, wanting(tier))) == [tier, "standard"]
    assert lab.state(tier) == "open"
    for _ in range(3):
        told = routing(door(model, wanting(tier)))
        assert told["decided_tier"] == told["tier"] == "standard"
        assert len(told["attempts"]) == 1
        assert [why for why in told["reasons"] if why.startswith("health: ")] == [
            f"health: avoid {tier}: its endpoint keeps failing or asked for a pause"
        ]
    assert len(server.requests) == MIN_CALLS


@pytest.mark.parametrize(
    "fault",
    [Fault.refuse(), Fault.status(500), Fault.cut("start"), Fault.cut("role"), Fault.early_end()],
    ids=["refused", "500", "cut", "cut after the role", "early end"],
)
@both_protocols
def test_whatever_a_server_dies_of_counts(lab, tier, fault):
    server, name = lab.at(tier)
    server.always(name, fault)
    model = lab.model()
    for _ in range(MIN_CALLS):
        model.invoke("hello", wanting(tier))
    assert lab.state(tier) == "open"
    server.clear(name)
    seen = len(server.requests)
    assert asked(model.invoke("hello", wanting(tier))) == ["standard"]
    assert len(server.requests) == seen


@both_protocols
async def test_a_server_that_never_answers_counts(lab, tier):
    server, name = lab.at(tier)
    server.always(name, Fault.stall("start"))
    model = lab.model(**{tier: lab.spec(tier, timeout_s=0.2)})
    answers = await model.abatch(["hello"] * MIN_CALLS, wanting(tier))
    assert [asked(answer) for answer in answers] == [[tier, "standard"]] * MIN_CALLS
    assert lab.state(tier) == "open"


# --- probes ---


def by_threads(model, config):
    """Fifty callers in threads, and their answers as they come."""
    start = threading.Barrier(CROWD)

    def call(_):
        start.wait(PATIENCE_S)
        return model.invoke("hello", config)

    with ThreadPoolExecutor(CROWD) as pool:
        calls = [pool.submit(call, number) for number in range(CROWD)]
        for call in as_completed(calls, timeout=PATIENCE_S):
            yield call.result()


def by_coroutines(model, config):
    """Fifty callers on one event loop, and their answers as they come."""
    with asyncio.Runner() as runner:

        async def start():
            return [asyncio.create_task(model.ainvoke("hello", config)) for _ in range(CROWD)]

        async def some(calls):
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_S)
            return [call for call in calls if call.done()]

        calls = runner.run(start())
        while calls:
            done = runner.run(some(calls))
            assert done, "nobody is answered any more"
            calls = [call for call in calls if call not in done]
            yield from (call.result() for call in done)


@pytest.mark.parametrize("crowd", [by_threads, by_coroutines])
@pytest.mark.parametrize("probes", [None, 1, 3])
@both_protocols
def test_of_fifty_callers_only_the_probes_ask_a_tier_that_is_tried_again(lab, tier, probes, crowd):
    given = {} if probes is None else {"settings": get_settings(breaker={"probes": probes})}
    probes = probes or 2
    model = lab.opened(tier, **given)
    server, name = lab.at(tier)
    server.always(name, Fault.stall("start", answer=Answer(text="back again")))
    lab.clock.now_s += OPEN_S
    with closing(crowd(model, wanting(tier))) as answers:
        others = [next(answers) for _ in range(CROWD - probes)]  # while the probes are held
        server.wait_for(lambda: held(server) == probes)
        assert len(server.requests) == MIN_CALLS + probes
        assert lab.state(tier) == "half_open"
        server.release()
        good = list(answers)
    assert {routing(answer)["tier"] for answer in others} == {"standard"}
    assert all(len(asked(answer)) == 1 for answer in others), "to be passed by costs no attempt"
    assert [answer.text for answer in good] == ["back again"] * probes
    assert lab.state(tier) == "closed"
    server.clear(name)
    answers = list(crowd(model, wanting(tier)))
    assert {routing(answer)["tier"] for answer in answers} == {tier}


def held(server):
    return sum(record.outcome == "stalled" for record in server.requests)


@every_door
def test_a_bad_probe_leaves_the_tier_alone_for_twice_as_long(lab, door):
    model = lab.opened("light")
    server, name = lab.at("light")
    server.script(name, Fault.status(503))
    lab.clock.now_s += OPEN_S
    assert asked(door(model, wanting("light"))) == ["light", "standard"]
    lab.clock.now_s += 2 * OPEN_S - 0.1
    assert asked(door(model, wanting("light"))) == ["standard"]
    lab.clock.now_s += 0.1
    assert asked(door(model, wanting("light"))) == ["light"]
    assert lab.state("light") == "half_open"
    assert asked(door(model, wanting("light"))) == ["light"]
    assert lab.state("light") == "closed"


# --- 429 ---


@every_door
@both_protocols
def test_a_429_is_a_pause_as_long_as_it_asks(lab, tier, door):
    server, name = lab.at(tier)
    server.script(name, Fault.status(429, retry_after_s=7))
    model = lab.model()
    assert asked(door(model, wanting(tier))) == [tier, "standard"]
    assert lab.state(tier) == "cooldown"
    lab.clock.now_s += 6.9
    assert asked(door(model, wanting(tier))) == ["standard"]
    assert len(server.requests) == 1
    lab.clock.now_s += 0.1
    assert asked(door(model, wanting(tier))) == [tier]
    assert lab.state(tier) == "closed"


def test_a_429_that_asks_for_nothing_is_a_pause_of_the_first_open_time(lab):
    server, name = lab.at("light")
    server.script(name, Fault.status(429))
    model = lab.model()
    model.invoke("hello")
    assert lab.state("light") == "cooldown"
    lab.clock.now_s += OPEN_S
    assert asked(model.invoke("hello")) == ["light"]


@both_protocols
def test_however_many_429_there_are_they_open_nothing(lab, tier):
    server, name = lab.at(tier)
    server.always(name, Fault.status(429, retry_after_s=1))
    model = lab.model()
    for _ in range(2 * MIN_CALLS):
        assert asked(model.invoke("hello", wanting(tier))) == [tier, "standard"]
        lab.clock.now_s += 1
    assert lab.state(tier) == "closed"


# --- what says nothing of an endpoint ---


@both_protocols
async def test_a_cancelled_call_is_neutral(lab, tier):
    server, name = lab.at(tier)
    server.always(name, Fault.stall("start"))
    model = lab.model()
    calls = [asyncio.create_task(model.ainvoke("hello", wanting(tier))) for _ in range(2)]
    calls += [
        asyncio.create_task(collect(model.astream("hello", wanting(tier))))
        for _ in range(MIN_CALLS)
    ]
    await server.await_for(lambda: held(server) == len(calls))
    for call in calls:
        call.cancel()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(end) for end in ends} == {asyncio.CancelledError}
    assert not lab.counted(tier)


@both_protocols
async def test_a_stream_that_its_reader_closes_is_neutral(lab, tier):
    server, name = lab.at(tier)
    server.always(name, Fault.stall("content", answer=WORDS))
    model = lab.model()
    for number in range(1, MIN_CALLS + 1):
        chunks = model.astream("hello", wanting(tier))
        await anext(chunk async for chunk in chunks if chunk.content)
        await chunks.aclose()
        with closing(model.stream("hello", wanting(tier))) as sync:
            next(chunk for chunk in sync if chunk.content)
        await server.await_for(lambda gone=2 * number: left(server) == gone)
    assert not lab.counted(tier)


@pytest.fixture
def no_collector():
    """What is dropped in a cycle stays: nobody else tidies up."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@both_protocols
def test_a_stream_that_is_closed_after_a_fallback_leaves_its_server(lab, tier, no_collector):
    lab.at("standard")[0].always(lab.at("standard")[1], Fault.status(503))
    server, name = lab.at(tier)
    server.always(name, Fault.stall("content", answer=WORDS))
    order = {"standard", tier}
    model = TieredChatModel(health=lab.health, **{each: lab.spec(each) for each in order})
    with closing(model.stream("hello", wanting("standard"))) as chunks:
        next(chunk for chunk in chunks if chunk.content)
    server.wait_for(lambda: left(server) == 1)


def left(server):
    return sum(record.disconnected for record in server.requests)


async def test_a_cancelled_probe_gives_its_place_back(lab):
    model = lab.opened("light")
    server, name = lab.at("light")
    server.script(name, *[Fault.stall("start")] * 2)
    lab.clock.now_s += OPEN_S
    calls = [asyncio.create_task(model.ainvoke("hello")) for _ in range(2)]
    await server.await_for(lambda: held(server) == 2)
    assert asked(await model.ainvoke("hello")) == ["standard"]
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert lab.state("light") == "half_open"
    assert [asked(await model.ainvoke("hello")) for _ in range(2)] == [["light"]] * 2
    assert lab.state("light") == "closed"


@every_door
@pytest.mark.parametrize("status", [401, 403, 404])
@both_protocols
def test_a_wrong_configuration_counts_for_nothing_and_is_said_once(lab, caplog, tier, status, door):
    server, name = lab.at(tier)
    server.always(name, Fault.status(status, "key sk-SECRET, prompt hello, tenant acme"))
    spec = lab.spec(tier, api_key=SecretStr("sk-SECRET"))
    config = {"configurable": {**wanting(tier)["configurable"], "tenant_id": "acme"}}
    model = lab.model(**{tier: spec})
    for _ in range(MIN_CALLS + 1):
        assert asked(door(model, config)) == [tier, "standard"]
    assert not lab.counted(tier)
    [record] = [record for record in caplog.records if record.name == "tiered_llm.fallback"]
    assert record.levelname == "WARNING"
    assert f"the {tier} tier is not set up right" in record.getMessage()
    assert str(status) in record.getMessage()
    for secret in ("SECRET", "hello", "acme"):
        assert secret not in caplog.text


# --- streams that break off ---


async def aevents(model, config):
    stream = await model.astream_events("hello", config, version="v3")
    return [piece async for piece in stream.text]


STREAMS = {
    "stream": lambda m, c: list(m.stream("hello", c)),
    "astream": lambda m, c: asyncio.run(collect(m.astream("hello", c))),
    "stream_events": lambda m, c: list(m.stream_events("hello", c, version="v3").text),
    "astream_events": lambda m, c: asyncio.run(aevents(m, c)),
}
BREAKS = {
    "cut": Fault.cut(after=3, answer=WORDS),
    "closed": Fault.cut(after=3, reset=False, answer=WORDS),
    "early end": Fault.early_end(after=3, answer=WORDS),
    "bad chunk": Fault.bad_chunk(after=3, answer=WORDS),
    "error event": Fault.error_event(after=3, answer=WORDS),
}


@pytest.mark.parametrize("door", STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("fault", BREAKS.values(), ids=BREAKS)
@both_protocols
def test_streams_that_break_off_count(lab, tier, fault, door):
    server, name = lab.at(tier)
    server.always(name, fault)
    model = lab.model()
    for _ in range(MIN_CALLS):
        with pytest.raises(StreamInterruptedError):
            door(model, wanting(tier))
    assert lab.state(tier) == "open"
    door(model, wanting(tier))
    assert len(server.requests) == MIN_CALLS


# --- who is never left alone ---


@every_door
@both_protocols
def test_a_tier_that_the_caller_forces_is_asked_though_its_breaker_is_open(lab, tier, door):
    model = lab.opened(tier)
    assert lab.state(tier) == "open"
    answer = door(model, to(tier))
    assert asked(answer) == [tier]
    assert len(lab.at(tier)[0].requests) == MIN_CALLS + 1


@every_door
def test_an_only_tier_is_asked_though_its_breaker_is_open(lab, door):
    server, name = lab.at("light")
    model = TieredChatModel(light=lab.spec("light"), health=lab.health)
    server.always(name, Fault.status(503))
    for calls in range(1, 2 * MIN_CALLS):
        with pytest.raises(AllTiersFailedError):
            door(model, None)
        assert len(server.requests) >= calls
    assert lab.state("light") == "open"
    server.clear(name)
    assert asked(door(model, None)) == ["light"]


@every_door
def test_where_all_tiers_are_open_one_is_asked_all_the_same(lab, door):
    tiers = ("light", "standard", "heavy")
    model = lab.model(settings=get_settings(fallback={"retry_reserve": 1_000}))
    for tier in tiers:
        lab.at(tier)[0].always(lab.at(tier)[1], Fault.status(503))
    for _ in range(MIN_CALLS):
        with pytest.raises(AllTiersFailedError):
            model.invoke("hello")
    assert [lab.state(tier) for tier in tiers] == ["open"] * 3
    for tier in tiers:
        lab.at(tier)[0].clear()
    assert len(asked(door(model, None))) == 1


# --- who shares a breaker ---


def test_models_over_one_endpoint_share_its_breaker(lab):
    lab.opened("light")
    assert asked(lab.model().invoke("hello")) == ["standard"]
    ready = ChatOllama(model=lab.at("light")[1], base_url=lab.at("light")[0].url)
    assert asked(lab.model(light=ready).invoke("hello")) == ["standard"]
    assert len(lab.at("light")[0].requests) == MIN_CALLS


def test_another_model_another_endpoint_and_another_health_have_their_own(lab):
    lab.opened("light")
    elsewhere, name = lab.at("standard")
    other = TierSpec(tier="light", model_id=f"ollama/{name}", base_url=elsewhere.url)
    assert asked(lab.model(light=other).invoke("hello")) == ["light"]
    assert asked(lab.model(health=Health()).invoke("hello")) == ["light"]


def test_models_share_the_process_health_unless_told_otherwise(wired, at):
    server, name = at("light")
    server.always(name, Fault.status(503))
    first, second = wired(), wired()
    for _ in range(MIN_CALLS // 2):
        assert asked(first.invoke("hello"))[0] == "light"
        assert asked(second.invoke("hello"))[0] == "light"
    assert asked(first.invoke("hello")) == asked(second.invoke("hello")) == ["standard"]
    assert "open" in {seen.state for seen in PROCESS_HEALTH.snapshot()}
