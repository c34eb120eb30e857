"""`TieredBudgetMiddleware` in real agents over the simulator."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
)
from langchain.agents.structured_output import ToolStrategy
from langchain_core.tools import tool
from langchain_ollama import ChatOllama
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel

from tiered_llm import (
    BudgetExceededError,
    BudgetManager,
    BudgetRule,
    ConfigurationError,
    TieredChatModel,
)
from tiered_llm.agents import TieredBudgetMiddleware, TieredRoutingMiddleware
from tiered_llm.fallback import Health
from tiered_llm.testing import Answer, FakeChatModel

ACME = {"configurable": {"tenant_id": "acme"}}
LIGHT = "qwen2.5:7b"


class Person(BaseModel):
    """Somebody."""

    name: str


@tool
def look(what: str) -> str:
    """Look at something."""
    return f"{what} is blue"


@pytest.fixture
def tiered(simulated_tiers, clean_environment):
    specs = {tier.value: spec for tier, spec in simulated_tiers.specs.items()}

    def make(**fields):
        return TieredChatModel(**{**specs, "health": Health(), **fields})

    return make


@pytest.fixture
def foreign(simulated_tiers):
    return ChatOllama(model=LIGHT, base_url=simulated_tiers.light.url)


async def run(agent, how, config=ACME, given=None):
    given = given or {"messages": [("user", "hello")]}
    return agent.invoke(given, config) if how == "sync" else await agent.ainvoke(given, config)


both = pytest.mark.parametrize("how", ["sync", "async"])
ends = {"on_exceeded": "end"}


@both
async def test_at_the_limit_the_agent_ends_with_words(tiered, how):
    budget = BudgetManager(default_daily_limit=10)
    agent = create_agent(tiered(), [look], middleware=[TieredBudgetMiddleware(budget, **ends)])
    state = await run(agent, how)
    last = state["messages"][-1]
    assert last.text.startswith("I have to stop here: the token budget is used up. It resets at 2")
    assert last.response_metadata["budget_exceeded"] == "tenant/daily"
    assert budget.usage("acme")["daily"].charged == 0


@both
async def test_in_mid_turn_too(tiered, how, simulated_tiers):
    budget = BudgetManager(default_daily_limit=3_000)
    model = tiered(max_tokens=2_000)
    agent = create_agent(model, [look], middleware=[TieredBudgetMiddleware(budget, **ends)])
    call = {"name": "look", "args": {"what": "word " * 900}}
    simulated_tiers.light.script(LIGHT, Answer(tool_calls=[call]))
    state = await run(agent, how)
    assert [m.type for m in state["messages"]] == ["human", "ai", "tool", "ai"]
    assert "budget is used up" in state["messages"][-1].text
    assert 0 < budget.usage("acme")["daily"].charged <= 3_000


@both
async def test_otherwise_it_is_an_error_that_nothing_retries(tiered, how, simulated_tiers):
    budget = BudgetManager(default_daily_limit=10)
    around = [ModelFallbackMiddleware(FakeChatModel(text="free")), ModelRetryMiddleware()]
    agent = create_agent(tiered(), [], middleware=[TieredBudgetMiddleware(budget)])
    with pytest.raises(BudgetExceededError):
        await run(agent, how)
    outside = create_agent(
        tiered(), [], middleware=[TieredBudgetMiddleware(budget, **ends), around[1]]
    )
    state = await run(outside, how)
    assert "budget is used up" in state["messages"][-1].text
    assert simulated_tiers.light.requests == []


@both
async def test_a_foreign_model_is_held_too(foreign, how, clean_environment):
    budget = BudgetManager(default_daily_limit=100_000)
    held = TieredBudgetMiddleware(budget, **ends)
    agent = create_agent(foreign, [look], middleware=[held])
    state = await run(agent, how)
    usage = state["messages"][-1].usage_metadata
    assert budget.usage("acme")["daily"].used == usage["total_tokens"]
    poor = TieredBudgetMiddleware(BudgetManager(default_daily_limit=10), **ends)
    state = await run(create_agent(foreign, [look], middleware=[poor]), how)
    assert "budget is used up" in state["messages"][-1].text


@both
@pytest.mark.parametrize("place", ["configurable", "metadata", "context"])
async def test_a_foreign_models_tenant_is_the_runs(foreign, how, place):
    budget = BudgetManager(default_daily_limit=100_000)
    agent = create_agent(
        foreign, [], middleware=[TieredBudgetMiddleware(budget)], context_schema=dict
    )
    given, who = {"messages": [("user", "hello")]}, {"tenant_id": "acme"}
    config, context = ({}, who) if place == "context" else ({place: who}, None)
    if how == "sync":
        agent.invoke(given, config, context=context)
    else:
        await agent.ainvoke(given, config, context=context)
    assert budget.usage("acme")["daily"].used > 0


def test_a_models_own_budget_is_left_to_it(tiered):
    own, other = BudgetManager(default_daily_limit=100_000), BudgetManager(default_daily_limit=10)
    agent = create_agent(tiered(budget=own), [], middleware=[TieredBudgetMiddleware(other)])
    agent.invoke({"messages": [("user", "hello")]}, ACME)
    assert own.usage("acme")["daily"].used > 0


@both
@pytest.mark.parametrize("routing_first", [True, False])
async def test_it_stands_beside_routing_in_either_order(tiered, how, routing_first):
    budget = BudgetManager(default_daily_limit=1_000_000)
    middleware = [TieredRoutingMiddleware(), TieredBudgetMiddleware(budget, **ends)]
    agent = create_agent(tiered(), [], middleware=middleware[:: 1 if routing_first else -1])
    state = await run(agent, how)
    usage = state["messages"][-1].usage_metadata
    assert budget.usage("acme")["daily"].used == usage["total_tokens"]
    assert state["routing"]["tier"] == "light"


@both
@pytest.mark.parametrize("agents_own", ["tiered", "foreign"])
async def test_routing_over_another_model_is_paid_by_the_agents_budget(
    tiered, foreign, how, agents_own
):
    budget = BudgetManager(default_daily_limit=100_000)
    held = [TieredBudgetMiddleware(budget), TieredRoutingMiddleware(tiered())]
    own = tiered() if agents_own == "tiered" else foreign
    state = await run(create_agent(own, [], middleware=held), how)
    usage = state["messages"][-1].usage_metadata
    assert budget.usage("acme")["daily"].used == usage["total_tokens"]
    poor = [TieredBudgetMiddleware(BudgetManager(default_daily_limit=10)), held[1]]
    with pytest.raises(BudgetExceededError):
        await run(create_agent(own, [], middleware=poor), how)


@pytest.mark.parametrize("routing_first", [True, False])
def test_the_model_that_pays_is_built_once(tiered, routing_first):
    asked = []

    class Looks(AgentMiddleware):
        """Looks at what is asked in the end."""

        def wrap_model_call(self, request, handler):
            asked.append(request.model)
            return handler(request)

    budget = BudgetManager(default_daily_limit=1_000_000)
    around = [TieredRoutingMiddleware(), TieredBudgetMiddleware(budget)]
    agent = create_agent(tiered(), [], middleware=[*around[:: 1 if routing_first else -1], Looks()])
    for task in ("simple_qa", "thinking", "simple_qa"):
        given = {"configurable": {"tenant_id": "acme", "task_type": task}}
        agent.invoke({"messages": [("user", "hello")]}, given)
    assert [model.decided.tier for model in asked] == ["light", "heavy", "light"]
    assert len({id(model.stages) for model in asked}) == 1


@both
async def test_words_end_an_agent_that_owes_a_structured_answer(tiered, how):
    budget = BudgetManager(default_daily_limit=10)
    agent = create_agent(
        tiered(),
        [],
        middleware=[TieredBudgetMiddleware(budget, **ends)],
        response_format=ToolStrategy(Person),
    )
    state = await run(agent, how)
    assert state["structured_response"] is None
    assert "budget is used up" in state["messages"][-1].text


@both
async def test_a_budget_that_asks_a_human_still_asks(tiered, how):
    rule = BudgetRule(name="tenant", daily=10, mode="interrupt")
    agent = create_agent(
        tiered(),
        [],
        middleware=[TieredBudgetMiddleware(BudgetManager(rules=[rule]), **ends)],
        checkpointer=InMemorySaver(),
    )
    config = {"configurable": {"tenant_id": "acme", "thread_id": "1"}}
    state = await run(agent, how, config)
    assert state["__interrupt__"]
    resumed = await run(agent, how, config, Command(resume=1_000_000))
    assert "budget is used up" not in resumed["messages"][-1].text


@pytest.mark.parametrize("wrong", [{"on_exceeded": "shrug"}, {"message": "{tenant} is poor"}])
def test_wrong_arguments_are_refused_at_the_start(wrong):
    with pytest.raises(ConfigurationError):
        TieredBudgetMiddleware(**wrong)


def test_the_last_words_can_be_ones_own(tiered):
    budget = BudgetManager(default_daily_limit=10)
    held = TieredBudgetMiddleware(budget, on_exceeded="end", message="No more today.")
    state = create_agent(tiered(), [], middleware=[held]).invoke(
        {"messages": [("user", "hi")]}, ACME
    )
    assert state["messages"][-1].text == "No more today."
