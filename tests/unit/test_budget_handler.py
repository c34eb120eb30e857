"""The budget handler on models that know nothing of budgets: every door, every ending."""

from __future__ import annotations

import asyncio

import ollama
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListLLM
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.prompts import ChatPromptTemplate

from tiered_llm.budgets import BudgetCallbackHandler, BudgetExceededError, BudgetManager
from tiered_llm.providers.billing import usage_of
from tiered_llm.settings import DEFAULT_SPECS
from tiered_llm.testing import FakeChatModel
from tiered_llm.tiers import Tier

MESSAGES = [HumanMessage("hi")]


async def read(chunks):
    return [chunk async for chunk in chunks]


DOORS = {
    "invoke": lambda m, c: m.invoke("hi", c),
    "ainvoke": lambda m, c: asyncio.run(m.ainvoke("hi", c)),
    "stream": lambda m, c: list(m.stream("hi", c)),
    "astream": lambda m, c: asyncio.run(read(m.astream("hi", c))),
    "batch": lambda m, c: m.batch(["hi"], c),
    "abatch": lambda m, c: asyncio.run(m.abatch(["hi"], c)),
    "generate": lambda m, c: m.generate([MESSAGES], callbacks=c["callbacks"]),
    "agenerate": lambda m, c: asyncio.run(m.agenerate([MESSAGES], callbacks=c["callbacks"])),
}


@pytest.fixture(params=DOORS)
def door(request):
    return DOORS[request.param]


@pytest.fixture
def budget():
    return BudgetManager(20_000)


@pytest.fixture
def config(budget):
    return {"callbacks": [BudgetCallbackHandler(budget, tenant_id="acme")]}


@pytest.fixture
def day(budget):
    return lambda: budget.usage("acme")["daily"]


def test_what_the_model_tells_is_charged(door, config, day):
    door(FakeChatModel(text="one two three"), config)
    assert (day().used, day().reserved, day().orphaned) == (10, 0, 0)


def test_without_room_the_model_is_not_asked(door, config, budget):
    budget.set_limit("acme", "daily", 100)
    model = FakeChatModel()
    with pytest.raises(BudgetExceededError):
        door(model, config)
    assert model.calls == []


def test_a_refused_call_costs_nothing_and_a_broken_one_stays_charged(door, config, day):
    with pytest.raises(ollama.ResponseError):
        door(FakeChatModel(error=ollama.ResponseError("busy", 429)), config)
    assert (day().used, day().reserved, day().orphaned) == (0, 0, 0)
    with pytest.raises(ConnectionResetError):
        door(FakeChatModel(error=ConnectionResetError()), config)
    assert day().reserved == 0
    assert day().orphaned > 8_192


def test_a_model_that_tells_nothing_is_charged_what_was_reserved(config, day):
    FakeListLLM(responses=["one"]).invoke("hi", config)
    assert day().used == 0
    assert day().orphaned > 8_192


def test_a_declared_length_is_what_is_reserved(config, budget, day):
    seen = []

    class Look(BaseCallbackHandler):
        def on_chat_model_start(self, *args, **kwargs):
            seen.append(day().reserved)

    model = FakeChatModel().bind(max_tokens=100)
    model.invoke("hi", {"callbacks": [*config["callbacks"], Look()]})
    assert 100 < seen[0] < 500


def test_a_chain_is_held_too(config, day):
    chain = ChatPromptTemplate([("user", "{q}")]) | FakeChatModel(text="a b").bind(max_tokens=9)
    chain.invoke({"q": "hi"}, config)
    assert (day().used, day().reserved) == (9, 0)


class Waiting(FakeChatModel):
    """Answers once it is let go."""

    go: asyncio.Event

    async def _agenerate(self, *args, **kwargs):
        await self.go.wait()
        return self._generate(*args, **kwargs)


async def test_twenty_at_once_on_a_budget_of_one_admit_one(budget, config):
    budget.set_limit("acme", "daily", 9_000)
    model = Waiting(go=asyncio.Event())
    calls = [asyncio.ensure_future(model.ainvoke("hi", config)) for _ in range(20)]
    while sum(call.done() for call in calls) < 19:
        under_way = [call for call in calls if not call.done()]
        await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
    model.go.set()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(end, BudgetExceededError) for end in ends) == 19
    assert len(model.calls) == 1
    assert budget.usage("acme")["daily"].reserved == 0


def test_what_the_caller_was_handling_frees_nothing(config, day):
    def handling():
        try:
            FakeChatModel(error=ollama.ResponseError("of another call", 429)).invoke("hi")
        except ollama.ResponseError:
            FakeChatModel(error=ConnectionResetError()).invoke("hi", config)

    with pytest.raises(ConnectionResetError):
        handling()
    assert day().orphaned > 8_192


def test_ends_that_nobody_began_are_ignored(budget):
    from uuid import uuid4

    from langchain_core.outputs import LLMResult

    handler = BudgetCallbackHandler(budget, tenant_id="acme")
    handler.on_llm_end(LLMResult(generations=[]), run_id=uuid4())
    handler.on_llm_error(KeyError(), run_id=uuid4())
    assert budget.usage("acme")["daily"].orphaned == 0


def test_a_foreign_model_is_not_counted_by_a_tiers_tokenizer(config):
    light = DEFAULT_SPECS[Tier.LIGHT]
    budget = BudgetManager(20_000, tokenizers={light.model_id: lambda messages, tools: 1})
    foreign = BudgetCallbackHandler(budget, tenant_id="acme")
    with pytest.raises(BudgetExceededError):
        FakeChatModel().invoke("x" * 15_000, {"callbacks": [foreign]})
    named = BudgetCallbackHandler(budget, tenant_id="acme", tier=light)
    FakeChatModel().invoke("x" * 15_000, {"callbacks": [named]})


def test_several_answers_carry_the_usage_of_the_request_once(budget):
    usage = {"input_tokens": 50, "output_tokens": 9_500, "total_tokens": 9_550}
    answers = [ChatGeneration(message=AIMessage("a", usage_metadata=usage)) for _ in range(5)]
    assert usage_of(LLMResult(generations=[answers])) == (50, 9_500)
    assert usage_of(LLMResult(generations=[answers, answers])) == (100, 19_000)


@pytest.mark.parametrize("wrong", [{"output_tokens": -5}, {"input_tokens": 10**20}])
def test_what_no_server_can_have_used_is_not_told(wrong):
    usage = {"input_tokens": 5, "output_tokens": 5, "total_tokens": 10, **wrong}
    answer = ChatGeneration(message=AIMessage("a", usage_metadata=usage))
    assert usage_of(LLMResult(generations=[[answer]])) is None
