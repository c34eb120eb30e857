"""`TieredRoutingMiddleware` where an agent owes an answer in a schema, or a step has settings."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ToolCallLimitMiddleware,
)
from langchain.agents.structured_output import AutoStrategy, ToolStrategy
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel

from tiered_llm import TieredChatModel
from tiered_llm.agents import TieredRoutingMiddleware
from tiered_llm.fallback import Health
from tiered_llm.testing import Answer

NAMES = {"light": "qwen2.5:7b", "standard": "qwen2.5:32b", "heavy": "qwen2.5:72b"}
ASK = {"messages": [("user", "hello")]}


class Person(BaseModel):
    """Somebody."""

    name: str


@tool
def look(what: str) -> str:
    """Look at something."""
    return f"{what} is blue"


@pytest.fixture
def make(simulated_tiers, clean_environment):
    specs = {tier.value: spec for tier, spec in simulated_tiers.specs.items()}

    def make(without=(), **fields):
        for tier in without:
            fields[tier] = specs[tier].model_copy(update={"structured_output": False})
        return TieredChatModel(**{**specs, "health": Health(), **fields})

    return make


@pytest.fixture
def script(simulated_tiers):
    def script(tier, *steps):
        getattr(simulated_tiers, tier).script(NAMES[tier], *steps)

    return script


def person(**args):
    return Answer(tool_calls=[{"name": "Person", "args": args}])


def routings(state):
    answers = [m for m in state["messages"] if isinstance(m, AIMessage)]
    return [answer.response_metadata["routing"] for answer in answers]


async def run(agent, how, given=ASK, config=None):
    return agent.invoke(given, config) if how == "sync" else await agent.ainvoke(given, config)


both = pytest.mark.parametrize("how", ["sync", "async"])
strategies = pytest.mark.parametrize("strategy", [ToolStrategy, AutoStrategy, lambda s: s])


@both
@strategies
async def test_an_answer_by_a_tool_needs_a_tier_with_tools_alone(make, script, how, strategy):
    """What LangChain leaves to the model's profile is a tool where one tier structures nothing."""
    agent = create_agent(
        make(without=["light"]),
        [],
        middleware=[TieredRoutingMiddleware()],
        response_format=strategy(Person),
    )
    script("light", person(name="Ada"))
    state = await run(agent, how)
    assert state["structured_response"] == Person(name="Ada")
    assert state["routing"]["decided_tier"] == "light"


@both
async def test_an_answer_left_to_the_models_own_means_needs_a_tier_that_has_them(make, script, how):
    agent = create_agent(make(), [], middleware=[TieredRoutingMiddleware()], response_format=Person)
    script("light", Answer(text='{"name": "Ada"}'))
    state = await run(agent, how)
    assert state["structured_response"] == Person(name="Ada")
    assert state["routing"]["tier"] == "light"


@both
@strategies
async def test_two_wrong_answers_take_the_third_to_the_tier_above(make, script, how, strategy):
    agent = create_agent(
        make(without=["light"]),
        [look],
        middleware=[TieredRoutingMiddleware()],
        response_format=strategy(Person),
    )
    script("light", person(nome="Ada"), person(name=7))
    script("standard", person(name="Ada"))
    state = await run(agent, how)
    assert state["structured_response"] == Person(name="Ada")
    told = routings(state)
    assert [each["tier"] for each in told] == ["light", "light", "standard"]
    why = "escalation: raise standard: 2 steps failed on light, one after the other"
    assert why in told[-1]["reasons"]
    results = [m for m in state["messages"] if isinstance(m, ToolMessage)]
    assert {m.status for m in results} == {"success"}  # as LangChain left them


@both
async def test_an_answer_of_an_earlier_turn_was_no_wrong_one(make, script, how):
    agent = create_agent(
        make(), [], middleware=[TieredRoutingMiddleware()], response_format=ToolStrategy(Person)
    )
    script("light", person(name="Ada"), person(name="Bob"), person(name="Cy"))
    state = await run(agent, how)
    for _ in range(2):
        more = {"messages": [*state["messages"], ("user", "and then?")]}
        state = await run(agent, how, more)
    assert {each["tier"] for each in routings(state)} == {"light"}


def calling():
    return Answer(tool_calls=[{"name": "look", "args": {"what": "sky"}}])


@both
async def test_what_a_human_rejects_twice_is_done_by_the_tier_above(make, script, how):
    agent = create_agent(
        make(),
        [look],
        middleware=[
            TieredRoutingMiddleware(),
            HumanInTheLoopMiddleware(interrupt_on={"look": True}),
        ],
        checkpointer=InMemorySaver(),
    )
    script("light", calling(), calling())
    script("standard", Answer(text="then not"))
    thread, no = {"configurable": {"thread_id": "1"}}, {"decisions": [{"type": "reject"}]}
    state = await run(agent, how, config=thread)
    for _ in range(2):
        state = await run(agent, how, Command(resume=no), thread)
    assert [each["tier"] for each in routings(state)] == ["light", "light", "standard"]


@both
async def test_who_calls_a_tool_beyond_its_limit_twice_gives_way_to_the_tier_above(
    make, script, how
):
    limit = ToolCallLimitMiddleware(run_limit=1, exit_behavior="continue")
    agent = create_agent(make(), [look], middleware=[TieredRoutingMiddleware(), limit])
    script("light", calling(), calling(), calling())
    script("standard", Answer(text="It is blue."))
    state = await run(agent, how)
    assert [each["tier"] for each in routings(state)] == ["light"] * 3 + ["standard"]


@both
async def test_settings_of_a_step_count_in_its_decision(make, how):
    class Longer(AgentMiddleware):
        """Asks for a longer answer than the light tier can hold."""

        def wrap_model_call(self, request, handler):
            return handler(request.override(model_settings={"max_tokens": 7_000}))

        async def awrap_model_call(self, request, handler):
            return await handler(request.override(model_settings={"max_tokens": 7_000}))

    narrow = {"context_window": 6_000, "num_ctx": None, "max_output_tokens": None}
    light = make().stages.endpoints["light"].spec.model_copy(update=narrow)
    agent = create_agent(
        make(light=light), [look], middleware=[Longer(), TieredRoutingMiddleware()]
    )
    state = await run(agent, how)
    assert state["routing"]["decided_tier"] == "standard"
