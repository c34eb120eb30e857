"""A cut answer is never a whole one: structured, unstreamed, or of a tier with fallbacks."""

from __future__ import annotations

import asyncio

import pytest

from tiered_llm import StreamInterruptedError, TieredChatModel
from tiered_llm.testing import Answer, Fault
from tiered_llm.tiers import Tier

SCHEMA = {
    "title": "Order",
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
}
LONG = Answer(text='{"text": "transfer to account 1234 5678"}')
WHOLE = {"text": "whole"}


async def read(chunks):
    return [chunk async for chunk in chunks]


def last(pieces):
    """The last of ever longer wholes, or with `include_raw` the last of each part."""
    if isinstance(pieces[-1], dict) and pieces[-1].keys() & {"raw", "parsed", "parsing_error"}:
        return {name: value for piece in pieces for name, value in piece.items()}
    return pieces[-1]


DOORS = {
    "invoke": lambda m: m.invoke("hello"),
    "ainvoke": lambda m: asyncio.run(m.ainvoke("hello")),
    "stream": lambda m: last(list(m.stream("hello"))),
    "astream": lambda m: last(asyncio.run(read(m.astream("hello")))),
}


@pytest.fixture(params=["ollama", "vllm"])
def cut(request, simulated_tiers, at):
    """Makes a model whose first tier, of either protocol, cuts its answer short."""

    def make(answer, **fields):
        order = ["light", "heavy"] if request.param == "ollama" else ["heavy", "light"]
        specs = simulated_tiers.specs
        light, heavy = (
            specs[name].model_copy(update={"tier": Tier(tier)})
            for name, tier in zip(order, ("light", "heavy"), strict=True)
        )
        (server, name), (other, other_name) = at(order[0]), at(order[1])
        server.script(name, Fault.early_end(after=8, answer=answer))
        other.script(other_name, Answer(text='{"text": "whole"}'))
        return TieredChatModel(light=light, heavy=heavy, **fields)

    return make


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # ChatOpenAI's own
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
def test_structured_output_is_whole_or_an_error(cut, door, raw, method):
    model = cut(LONG).with_structured_output(SCHEMA, method=method, include_raw=raw)
    try:
        answer = DOORS[door](model)
    except StreamInterruptedError:
        assert door in {"stream", "astream"}, "content had come before the cut"
    else:
        parsed = answer.get("parsed") if raw else answer
        assert parsed == WHOLE


@pytest.mark.parametrize("door", DOORS)
def test_an_answer_that_is_not_streamed_is_whole(cut, door):
    answer = DOORS[door](cut(LONG, disable_streaming=True))
    assert answer.text == '{"text": "whole"}'
    assert answer.response_metadata["routing"]["tier"] == "heavy"


def test_a_tier_with_fallbacks_of_its_own_tells_its_end_too(simulated_tiers, at):
    from langchain_ollama import ChatOllama

    server, name = at("light")
    server.script(name, Fault.early_end(after=3, answer=LONG))
    inner = ChatOllama(model=name, base_url=server.url)
    light = inner.with_fallbacks([inner], exceptions_to_handle=(KeyError,))
    model = TieredChatModel(light=light, heavy=simulated_tiers.specs["heavy"])
    assert model.invoke("hello").response_metadata["routing"]["tier"] == "heavy"
