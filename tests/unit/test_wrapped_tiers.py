"""A tier inside `.bind`, `.with_config`, `.with_retry`: what is set on the whole reaches it."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_ollama import ChatOllama
from pydantic import BaseModel

from tiered_llm import ConfigurationError, TieredChatModel
from tiered_llm.providers import Endpoint
from tiered_llm.testing import FakeChatModel
from tiered_llm.tiers import TierSpec


class Answer(BaseModel):
    """An answer."""

    text: str


WRAPPERS = {
    "bind": lambda m: m.bind(stop=["~"]),
    "with_config": lambda m: m.with_config(tags=["x"]),
    "with_retry": lambda m: m.with_retry(),
    "all three": lambda m: m.bind(stop=["~"]).with_config(tags=["x"]).with_retry(),
}


@pytest.fixture(params=WRAPPERS)
def wrap(request):
    return WRAPPERS[request.param]


@pytest.fixture
def ollama(simulator):
    return ChatOllama(model="qwen2.5:7b", base_url=simulator.url, num_ctx=4096)


def test_parameters_reach_the_wire_through_wrappers(wrap, ollama, simulator):
    model = TieredChatModel(light=wrap(ollama))
    model.invoke("hello", temperature=0)
    list(model.stream("hello", temperature=0))
    model.generate([[HumanMessage("hello")]], temperature=0)
    assert [r.body["options"]["temperature"] for r in simulator.requests] == [0, 0, 0]
    assert [r.body["options"]["num_ctx"] for r in simulator.requests] == [4096] * 3
    assert model.light.spec.window_tokens == 4096


def test_what_is_bound_to_a_tier_stays_bound(ollama, simulator):
    model = TieredChatModel(light=ollama.bind(stop=["HALT"]))
    model.invoke("hello")
    model.generate([[HumanMessage("hello")]])
    asyncio.run(model.agenerate([[HumanMessage("hello")]]))
    assert [r.body["options"]["stop"] for r in simulator.requests] == [["HALT"]] * 3


def test_structured_output_and_tools_work_through_wrappers(wrap, ollama, simulator):
    model = TieredChatModel(light=wrap(ollama))
    assert isinstance(model.with_structured_output(Answer).invoke("hello"), Answer)
    model.bind_tools([Answer]).invoke("hello")
    assert simulator.requests[-1].body["tools"][0]["function"]["name"] == "Answer"


def test_a_cache_keeps_wrapped_tiers_apart(wrap):
    set_llm_cache(InMemoryCache())
    try:
        tiers = {t: wrap(FakeChatModel(text=t)) for t in ("light", "heavy")}
        model = TieredChatModel(**tiers)
        texts = [model.invoke("hi", {"configurable": {"tier": tier}}).content for tier in tiers]
    finally:
        set_llm_cache(None)
    assert texts == ["light", "heavy"]


def test_fields_of_the_whole_act_inside_the_wrappers(wrap):
    light = FakeChatModel(text="a b c")
    model = TieredChatModel(light=wrap(light), disable_streaming=True, cache=InMemoryCache())
    assert len(list(model.stream("hi"))) == 1
    model.invoke("hi")
    calls = len(light.calls)
    model.invoke("hi")
    assert len(light.calls) == calls


@pytest.mark.parametrize(
    "tier",
    [
        FakeChatModel().with_retry(),
        FakeChatModel() | RunnableLambda(lambda message: message),
        RunnableLambda(lambda messages: FakeChatModel().invoke(messages)),
        FakeChatModel().with_fallbacks([FakeChatModel()]),
    ],
)
async def test_generate_works_for_a_tier_that_has_none(tier):
    model = TieredChatModel(light=tier)
    for result in (
        model.generate([[HumanMessage("hi")]]),
        await model.agenerate([[HumanMessage("hi")]]),
    ):
        (generation,) = result.generations[0]
        assert generation.text == "hello there"
        assert generation.message.response_metadata["routing"]["tier"] == "light"


@pytest.mark.parametrize(
    "field", [{"cache": True}, {"disable_streaming": True}, {"output_version": "v1"}]
)
def test_what_a_tier_cannot_honour_is_refused_at_the_start(field):
    with pytest.raises(ConfigurationError, match="light is a RunnableLambda"):
        TieredChatModel(light=RunnableLambda(lambda messages: messages[-1]), **field)


def test_a_runnable_without_structured_output_is_never_asked_for_it():
    heavy = ChatOllama(model="m", base_url="http://localhost:1")
    model = TieredChatModel(light=RunnableLambda(lambda m: m[-1]), heavy=heavy)
    assert not model.light.spec.structured_output
    assert model.heavy.spec.structured_output


def test_event_loops_that_are_closed_are_let_go():
    endpoint = Endpoint(TierSpec(tier="light", model_id="ollama/m", base_url="http://localhost:1"))

    async def use():
        assert endpoint.async_model() is endpoint.async_model()
        return weakref.ref(asyncio.get_running_loop())

    loops = [asyncio.run(use()) for _ in range(5)]
    gc.collect()
    assert sum(loop() is not None for loop in loops) <= 1


def test_a_subclass_keeps_its_private_state_on_another_loop():
    class Own(ChatOllama):
        _note: str = ""

    model = Own(model="m", base_url="http://localhost:1")
    model._note = "kept"
    endpoint = Endpoint(TierSpec(tier="light", model_id="ollama/m"), model)

    async def use():
        return endpoint.async_model()

    other = asyncio.run(use())
    assert (type(other), other._note) == (Own, "kept")
    assert other._async_client is not model._async_client
