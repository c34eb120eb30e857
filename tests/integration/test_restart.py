"""A stream that breaks off and begins anew: what came before is void, and said to be."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tools import tool

from tiered_llm import (
    AllTiersFailedError,
    StreamInterruptedError,
    TieredChatModel,
    UnsupportedArgumentError,
    get_settings,
)
from tiered_llm.testing import Answer, Fault

BROKEN = Answer(text="one two three four five six seven eight")


async def collect(chunks, seen):
    async for chunk in chunks:
        seen.append(chunk)


class Runs(BaseCallbackHandler):
    def __init__(self):
        self.roots = []

    def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, **kwargs):
        self.roots.append(run_id)


def read(model, door, seen, **config):
    if door == "stream":
        seen.extend(model.stream("hello", config or None))
    else:
        asyncio.run(collect(model.astream("hello", config or None), seen))
    return seen


@pytest.fixture(params=["stream", "astream"])
def door(request):
    return request.param


@pytest.fixture
def restarting(wired):
    return wired(on_interrupt="restart")


def kept(chunks):
    """The answer as a consumer has it who drops what is void."""
    text = ""
    for chunk in chunks:
        text = "" if chunk.response_metadata.get("restarts") else text + chunk.text
    return text


def test_the_answer_begins_anew_on_the_next_tier(restarting, at, door):
    light, standard = at("light"), at("standard")
    light[0].script(light[1], Fault.cut(at="content", after=3, answer=BROKEN))
    standard[0].script(standard[1], Answer(text="a whole answer"))
    chunks = read(restarting, door, [])
    marks = [chunk for chunk in chunks if "restarts" in chunk.response_metadata]
    assert [mark.response_metadata["restarts"] for mark in marks] == [
        [{"tier": "light", "fault": "interrupted", "void_characters": len("one two three")}]
    ]
    assert marks[0].content == ""
    assert kept(chunks) == "a whole answer"
    assert "".join(c.text for c in chunks) == "one two threea whole answer"
    routing = chunks[-1].response_metadata["routing"]
    assert routing["tier"] == "standard"
    assert [(a["tier"], a["outcome"], a["fault"]) for a in routing["attempts"]] == [
        ("light", "failed", "interrupted"),
        ("standard", "answered", None),
    ]
    assert len({chunk.id for chunk in chunks if chunk.text}) == 2, "a message of its own"


def test_usage_is_the_answering_tiers_alone(restarting, at, door):
    light, standard = at("light"), at("standard")
    light[0].script(light[1], Fault.cut(at="content", after=3, answer=BROKEN))
    chunks = read(restarting, door, [])
    usages = [c.usage_metadata for c in chunks if c.usage_metadata]
    record = standard[0].requests[-1]
    assert [(u["input_tokens"], u["output_tokens"]) for u in usages] == [
        (record.input_tokens, record.output_tokens)
    ]


def test_where_no_other_tier_is_left_the_same_one_begins_anew(wired, at, door):
    server, name = at("light")
    server.script(name, Fault.early_end(after=2, answer=BROKEN), Answer(text="whole"))
    model = wired(on_interrupt="restart", standard=None, heavy=None)
    assert kept(read(model, door, [])) == "whole"


def test_a_run_id_of_the_callers_is_used_once(restarting, at, door):
    server, name = at("light")
    server.script(name, Fault.cut(at="content", after=3, answer=BROKEN))
    runs, run_id = Runs(), uuid4()
    read(restarting, door, [], callbacks=[runs], run_id=run_id)
    assert runs.roots[0] == run_id
    assert len(set(runs.roots)) == 2


def test_three_broken_streams_are_one_error(restarting, at, door):
    for tier in ("light", "standard", "heavy"):
        server, name = at(tier)
        server.script(name, Fault.cut(at="content", after=3, answer=BROKEN))
    seen = []
    with pytest.raises(StreamInterruptedError) as caught:
        read(restarting, door, seen)
    assert caught.value.tier == "heavy"
    assert sum("restarts" in chunk.response_metadata for chunk in seen) == 2


def test_where_the_others_fail_too_every_attempt_is_told(restarting, at, door):
    server, name = at("light")
    server.script(name, Fault.cut(at="content", after=3, answer=BROKEN))
    for tier in ("standard", "heavy"):
        other, other_name = at(tier)
        other.script(other_name, Fault.status(404))
    with pytest.raises(AllTiersFailedError) as caught:
        read(restarting, door, [])
    assert [a.fault for a in caught.value.attempts] == [
        "interrupted",
        "configuration",
        "configuration",
    ]
    assert caught.value.attempts[0].__cause__.partial_text == "one two three"


async def read_events(model):
    stream = await model.astream_events("hello", version="v3")
    return [piece async for piece in stream.text]


EVENTS = {
    "stream_events": lambda m: list(m.stream_events("hello", version="v3").text),
    "astream_events": lambda m: asyncio.run(read_events(m)),
}


@pytest.mark.parametrize("events", EVENTS)
def test_an_event_stream_has_no_word_for_it_and_raises(restarting, at, events):
    server, name = at("light")
    server.script(name, Fault.cut(at="content", after=3, answer=BROKEN))
    with pytest.raises(StreamInterruptedError):
        EVENTS[events](restarting)


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return word


def test_it_is_refused_with_tools(restarting):
    with pytest.raises(UnsupportedArgumentError, match="give this model on_interrupt='raise'"):
        restarting.bind_tools([look_up])
    raw = {"type": "function", "function": {"name": "f", "parameters": {}}}
    with pytest.raises(UnsupportedArgumentError, match="may have been acted on"):
        list(restarting.stream("hello", tools=[raw]))
    assert restarting.bind_tools([]).invoke("hello").text


def test_the_settings_may_ask_for_it_and_a_model_for_itself_not(
    clean_environment, simulated_tiers, at
):
    settings = get_settings(fallback={"on_interrupt": "restart"})
    tiers = {tier.value: spec for tier, spec in simulated_tiers.specs.items()}
    server, name = at("light")
    server.script(name, *[Fault.cut(at="content", after=3, answer=BROKEN)] * 2)
    assert kept(TieredChatModel(settings=settings, **tiers).stream("hello"))
    careful = TieredChatModel(settings=settings, on_interrupt="raise", **tiers)
    with pytest.raises(StreamInterruptedError):
        list(careful.stream("hello"))
    assert careful.bind_tools([look_up])


def test_a_structured_stream_raises(restarting, at):
    schema = {"title": "A", "type": "object", "properties": {"a": {"type": "string"}}}
    server, name = at("light")
    long = Answer(text='{"a": "one two three four five six seven eight"}')
    server.script(name, Fault.cut(at="content", after=8, answer=long))
    structured = restarting.with_structured_output(schema, method="json_schema")
    with pytest.raises(StreamInterruptedError):
        list(structured.stream("hello"))
