"""One deadline for a whole call, held on the wire: a tier that stalls is left in time.

The tiers' own timeout is two minutes, so only the deadline can end these calls.
"""

from __future__ import annotations

import asyncio

import pytest

from tiered_llm import AllTiersFailedError, StreamInterruptedError, TieredChatModel
from tiered_llm.providers import Endpoint
from tiered_llm.testing import Answer, Fault
from tiered_llm.tiers import Tier

LONG = Answer(text="one two three four five six seven eight")


async def collect(chunks, seen):
    async for chunk in chunks:
        seen.append(chunk)


DOORS = {
    "invoke": lambda m, seen: m.invoke("hello"),
    "ainvoke": lambda m, seen: asyncio.run(m.ainvoke("hello")),
    "stream": lambda m, seen: seen.extend(m.stream("hello")),
    "astream": lambda m, seen: asyncio.run(collect(m.astream("hello"), seen)),
    "stream_events": lambda m, seen: list(m.stream_events("hello", version="v3")),
}


@pytest.fixture
def first(simulated_tiers, at, request):
    """The first tier's server and model, and a model whose light tier speaks its protocol."""

    def make(protocol, **fields):
        specs = simulated_tiers.specs
        order = ["light", "heavy"] if protocol == "ollama" else ["heavy", "light"]
        light, heavy = (
            specs[name].model_copy(update={"tier": tier})
            for name, tier in zip(order, (Tier.LIGHT, Tier.HEAVY), strict=True)
        )
        return TieredChatModel(light=light, heavy=heavy, **fields), *at(order[0])

    return make


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("protocol", ["ollama", "vllm"])
def test_a_stalled_tier_is_left_at_the_deadline(first, protocol, door):
    model, server, name = first(protocol, deadline_s=0.3)
    server.script(name, Fault.stall(at="start"))
    with pytest.raises(AllTiersFailedError) as caught:
        DOORS[door](model, [])
    assert [(a.tier, a.fault) for a in caught.value.attempts] == [("light", "timeout")]
    assert caught.value.skipped == ((Tier.HEAVY, "the call's deadline has passed"),)
    server.wait_for(lambda: server.requests[0].disconnected)


@pytest.mark.parametrize("door", ["stream", "astream"])
@pytest.mark.parametrize("protocol", ["ollama", "vllm"])
def test_a_stream_that_stalls_after_content_breaks_off_at_the_deadline(first, protocol, door):
    model, server, name = first(protocol, deadline_s=0.4)
    server.script(name, Fault.stall(at="content", after=3, answer=LONG))
    seen = []
    with pytest.raises(StreamInterruptedError) as caught:
        DOORS[door](model, seen)
    assert caught.value.fault == "timeout"
    assert caught.value.partial_text == "".join(chunk.text for chunk in seen) == "one two three"
    server.wait_for(lambda: server.requests[0].disconnected)


def test_a_thread_that_reads_a_stream_looks_at_the_clock_between_pieces(first):
    model, server, name = first("ollama", deadline_s=0.2)
    server.script(name, LONG)
    chunks = model.stream("hello")
    assert next(chunks).text == "one"
    until_s = model.stages.fallback.policy.clock.monotonic_s() + 0.2
    while model.stages.fallback.policy.clock.monotonic_s() < until_s:
        pass  # the reader's own time counts too
    with pytest.raises(StreamInterruptedError):
        list(chunks)


@pytest.mark.parametrize("door", ["invoke", "ainvoke"])
def test_who_waits_for_a_place_waits_no_longer_than_the_deadline(first, door):
    model, server, name = first("ollama", deadline_s=0.2)
    spec = model.light.spec.model_copy(update={"max_concurrency": 1})
    busy = TieredChatModel(light=Endpoint(spec), deadline_s=0.2)
    server.script(name, Fault.stall(at="content", after=1, answer=LONG))
    chunks = busy.stream("hello", {"configurable": {"deadline_s": 60}})
    next(chunks)
    with pytest.raises(AllTiersFailedError) as caught:
        DOORS[door](busy, [])
    assert caught.value.attempts[0].fault == "timeout"
    chunks.close()
    assert len(server.requests) == 1


@pytest.mark.parametrize("door", DOORS)
def test_within_its_deadline_a_call_goes_on_as_ever(first, door):
    for protocol in ("ollama", "vllm"):
        model, server, name = first(protocol, deadline_s=60)
        server.script(name, LONG)
        seen = []
        DOORS[door](model, seen)
        assert server.requests[-1].outcome == "answered"


def test_a_ready_model_of_openai_is_told_the_deadline_too(first):
    built, server, name = first("vllm")
    model = TieredChatModel(light=built.light.model, deadline_s=0.3)
    server.script(name, Fault.stall(at="start"))
    with pytest.raises(AllTiersFailedError):
        model.invoke("hello")
