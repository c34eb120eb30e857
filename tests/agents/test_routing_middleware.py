"""`TieredRoutingMiddleware` in real agents over the simulator."""

from __future__ import annotations

import json

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    SummarizationMiddleware,
    ToolCallLimitMiddleware,
)
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel, SecretStr

from tiered_llm import (
    BudgetManager,
    ConfigurationError,
    ModelMetricsCollector,
    TieredChatModel,
    get_settings,
)
from tiered_llm.agents import TieredRoutingMiddleware
from tiered_llm.fallback import Health
from tiered_llm.testing import Answer, FakeChatModel, Fault

NAMES = {"light": "qwen2.5:7b", "standard": "qwen2.5:32b", "heavy": "qwen2.5:72b"}
LOOK = {"name": "look", "args": {"what": "sky"}}
HARD = (
    "Assess the security of a zero-trust architecture with mutual TLS, step by step, and compare "
    "the trade-offs of its design."
)


class Person(BaseModel):
    """Somebody."""

    name: str


@tool
def look(what: str) -> str:
    """Look at something."""
    return f"{what} is blue"


@tool
def fail(what: str) -> str:
    """Look at something that is not there."""
    msg = f"no {what}"
    raise ValueError(msg)


@pytest.fixture
def make(simulated_tiers, clean_environment):
    specs = {tier.value: spec for tier, spec in simulated_tiers.specs.items()}

    def make(**fields):
        return TieredChatModel(**{**specs, "health": Health(), **fields})

    return make


@pytest.fixture
def script(simulated_tiers):
    def script(tier, *steps):
        getattr(simulated_tiers, tier).script(NAMES[tier], *steps)

    return script


def calls(*names):
    return Answer(tool_calls=[{**LOOK, "name": name} for name in names])


async def run(agent, how, words="hello", config=None):
    """The state after one turn, by either door."""
    given = {"messages": [("user", words)]}
    if how == "sync":
        return agent.invoke(given, config)
    return await agent.ainvoke(given, config)


def tiers(state):
    return [
        message.response_metadata["routing"]["tier"]
        for message in state["messages"]
        if isinstance(message, AIMessage)
    ]


class ToolErrorsTold(AgentMiddleware):
    """Errors of tools become messages for the model."""

    def wrap_tool_call(self, request, handler):
        try:
            return handler(request)
        except ValueError as error:
            return self._told(request, error)

    async def awrap_tool_call(self, request, handler):
        try:
            return await handler(request)
        except ValueError as error:
            return self._told(request, error)

    @staticmethod
    def _told(request, error):
        return ToolMessage(str(error), tool_call_id=request.tool_call["id"], status="error")


both = pytest.mark.parametrize("how", ["sync", "async"])


@both
async def test_the_decision_is_in_the_state_as_plain_values(make, script, how):
    agent = create_agent(make(), [look], middleware=[TieredRoutingMiddleware()])
    script("light", calls("look"), Answer(text="It is blue."))
    state = await run(agent, how)
    assert state["routing"]["tier"] == "light"
    assert state["routing"] == state["messages"][-1].response_metadata["routing"]
    assert json.loads(json.dumps(state["routing"])) == state["routing"]


@both
async def test_a_turn_is_held_and_a_step_is_not(make, how, script):
    settings = get_settings(routing={"long_result_tokens": 10})
    for hold, wanted in (("turn", ["heavy", "heavy"]), ("step", ["heavy", "light"])):
        model = make(settings=settings, task_type=None)
        tiered = TieredRoutingMiddleware(model, hold=hold)
        agent = create_agent(model, [look], middleware=[tiered])
        script("heavy", calls("look"), Answer(text="done"))
        first = {"configurable": {"tier": None}}
        given = {"messages": [("user", "hello")]}
        held = AIMessage(
            content="",
            tool_calls=[{**LOOK, "id": "1", "type": "tool_call"}],
            response_metadata={"routing": {"tier": "heavy"}},
        )
        given["messages"] += [held, ToolMessage("the sky is blue", tool_call_id="1")]
        state = agent.invoke(given, first) if how == "sync" else await agent.ainvoke(given, first)
        assert tiers(state)[:2] == wanted


@both
async def test_the_decided_tier_falls_back_and_the_state_says_so(make, script, how):
    agent = create_agent(make(), [look], middleware=[TieredRoutingMiddleware()])
    script("light", Fault.status(503))
    state = await run(agent, how)
    assert (state["routing"]["decided_tier"], state["routing"]["tier"]) == ("light", "standard")


@both
@pytest.mark.parametrize("strategy", [ToolStrategy, ProviderStrategy])
async def test_a_structured_answer_comes_by_the_decided_tier(make, script, how, strategy):
    agent = create_agent(
        make(), [], middleware=[TieredRoutingMiddleware()], response_format=strategy(Person)
    )
    person = {"name": "Ada"}
    by_tool = Answer(tool_calls=[{"name": "Person", "args": person}])
    script("light", by_tool if strategy is ToolStrategy else Answer(text=json.dumps(person)))
    state = await run(agent, how)
    assert state["structured_response"] == Person(name="Ada")
    assert state["routing"]["tier"] == "light"


def test_a_tier_without_tools_is_not_decided_for_an_agent_with_them(make, simulated_tiers):
    light = simulated_tiers.specs["light"].model_copy(update={"tools": False})
    agent = create_agent(make(light=light), [look], middleware=[TieredRoutingMiddleware()])
    state = agent.invoke({"messages": [("user", "hello")]})
    assert state["routing"]["decided_tier"] == "standard"


async def test_messages_are_streamed_once(make, script):
    agent = create_agent(make(), [look], middleware=[TieredRoutingMiddleware()])
    given = {"messages": [("user", "hello")]}
    for door in ("stream", "astream"):
        script("light", Answer(text="one two three"))
        if door == "stream":
            chunks = [chunk for chunk, _ in agent.stream(given, stream_mode="messages")]
        else:
            stream = agent.astream(given, stream_mode="messages")
            chunks = [chunk async for chunk, _ in stream]
        assert "".join(chunk.text for chunk in chunks) == "one two three"


# --- verify and escalate ---


@both
async def test_two_failed_steps_take_the_third_to_the_tier_above_and_it_is_held_there(
    make, script, how
):
    agent = create_agent(
        make(), [look, fail], middleware=[TieredRoutingMiddleware(), ToolErrorsTold()]
    )
    script("light", calls("fail"), calls("fail"))
    script("standard", calls("look"), Answer(text="done"))
    state = await run(agent, how)
    assert tiers(state) == ["light", "light", "standard", "standard"]
    third = state["messages"][5].response_metadata["routing"]["reasons"]
    assert "escalation: raise standard: 2 steps failed on light, one after the other" in third


@both
async def test_step_by_step_escalates_too(make, script, how):
    agent = create_agent(
        make(), [look, fail], middleware=[TieredRoutingMiddleware(hold="step"), ToolErrorsTold()]
    )
    script("light", calls("fail"), calls("fail"))
    state = await run(agent, how)
    assert tiers(state) == ["light", "light", "standard"]


def test_a_success_between_is_no_escalation(make, script):
    agent = create_agent(
        make(), [look, fail], middleware=[TieredRoutingMiddleware(), ToolErrorsTold()]
    )
    script("light", calls("fail"), calls("look"), calls("fail"), Answer(text="done"))
    state = agent.invoke({"messages": [("user", "hello")]})
    assert set(tiers(state)) == {"light"}


def test_a_cap_stands_against_escalation(make, script):
    tiered = TieredRoutingMiddleware(spec={"name": "a", "highest_tier": "light"})
    agent = create_agent(make(), [fail], middleware=[tiered, ToolErrorsTold()])
    script("light", calls("fail"), calls("fail"), Answer(text="given up"))
    state = agent.invoke({"messages": [("user", "hello")]})
    assert set(tiers(state)) == {"light"}


def test_escalation_can_be_switched_off(make, script):
    settings = get_settings(routing={"escalate_after": 0})
    agent = create_agent(
        make(settings=settings), [fail], middleware=[TieredRoutingMiddleware(), ToolErrorsTold()]
    )
    script("light", calls("fail"), calls("fail"), calls("fail"), Answer(text="given up"))
    assert set(tiers(agent.invoke({"messages": [("user", "hello")]}))) == {"light"}


# --- agent specs ---


@both
async def test_the_agents_spec_bounds_its_steps(make, how):
    tiered = TieredRoutingMiddleware(spec={"name": "clerk", "highest_tier": "standard"})
    agent = create_agent(make(), [look], middleware=[tiered])
    config = {"configurable": {"task_type": "security_analysis"}}
    state = await run(agent, how, HARD, config)
    assert state["routing"]["tier"] == "standard"


@both
async def test_an_agent_called_as_a_tool_stays_within_its_callers_bounds(make, script, how):
    inner_spec = {"name": "auditor", "criticality": "critical", "highest_tier": "heavy"}
    inner = create_agent(make(), [], middleware=[TieredRoutingMiddleware(spec=inner_spec)])
    seen = []

    @tool
    def ask_auditor(what: str) -> str:
        """Ask the auditor."""
        state = inner.invoke({"messages": [("user", what)]})
        seen.append(state["routing"]["tier"])
        return state["messages"][-1].text

    outer = create_agent(
        make(),
        [ask_auditor],
        middleware=[TieredRoutingMiddleware(spec={"name": "clerk", "highest_tier": "standard"})],
    )
    call = {"name": "ask_auditor", "args": {"what": "is it safe?"}}
    script("light", Answer(tool_calls=[call]), Answer(text="It is."))
    await run(outer, how)
    assert seen == ["standard"]
    inner.invoke({"messages": [("user", "is it safe?")]})
    assert inner.invoke({"messages": [("user", "safe?")]})["routing"]["tier"] == "heavy"


# --- beside LangChain's own ---


@both
async def test_retries_inside_go_to_the_decided_tier_again(make, script, how):
    model = make(settings=get_settings(fallback={"max_attempts": 1}))
    agent = create_agent(
        model, [], middleware=[TieredRoutingMiddleware(), ModelRetryMiddleware(initial_delay=0.0)]
    )
    script("light", Fault.status(503), Answer(text="at last"))
    state = await run(agent, how)
    assert (state["messages"][-1].text, state["routing"]["tier"]) == ("at last", "light")


@both
async def test_a_fallback_model_inside_answers_when_every_tier_fails(make, script, how):
    other = FakeChatModel(text="another model")
    agent = create_agent(
        make(), [], middleware=[TieredRoutingMiddleware(), ModelFallbackMiddleware(other)]
    )
    for tier in NAMES:
        script(tier, Fault.status(503))
    state = await run(agent, how)
    assert state["messages"][-1].text == "another model"
    routing = state["routing"]  # what was decided; nobody of ours answered
    assert (routing["tier"], routing["decided_tier"]) == ("light", "light")
    assert "attempts" not in routing


@both
async def test_limits_and_summaries_stand_beside_it(make, script, how):
    agent = create_agent(
        make(),
        [look],
        middleware=[
            SummarizationMiddleware(FakeChatModel(text="sum"), trigger=("messages", 100)),
            TieredRoutingMiddleware(),
            ToolCallLimitMiddleware(run_limit=1),
            ModelCallLimitMiddleware(run_limit=3, exit_behavior="end"),
        ],
    )
    script("light", calls("look"), calls("look"), Answer(text="done"))
    state = await run(agent, how)
    assert state["routing"]["tier"] == "light"
    assert sum("routing" in m.response_metadata for m in state["messages"]) <= 3


def test_checkpoints_hold_the_routing_and_neither_key_nor_model(make, simulated_tiers):
    light = simulated_tiers.specs["light"].model_copy(update={"api_key": SecretStr("sk-canary")})
    model, saver = make(light=light), InMemorySaver()
    tiered = TieredRoutingMiddleware(model, spec={"name": "clerk"})
    agent = create_agent(model, [look], middleware=[tiered], checkpointer=saver)
    config = {"configurable": {"thread_id": "1"}}
    agent.invoke({"messages": [("user", "hello")]}, config)
    assert agent.get_state(config).values["routing"]["tier"] == "light"
    written = repr([dict(saver.storage), dict(saver.blobs), dict(saver.writes)])
    assert "score_thresholds" in written
    assert "sk-canary" not in written
    assert "TieredChatModel" not in written


@both
async def test_a_human_in_the_loop_resumes_a_held_turn(make, script, how):
    asking = HumanInTheLoopMiddleware(interrupt_on={"look": True})
    agent = create_agent(
        make(),
        [look],
        middleware=[TieredRoutingMiddleware(), asking],
        checkpointer=InMemorySaver(),
    )
    config = {"configurable": {"thread_id": "1", "task_type": "agent_execution"}}
    script("standard", calls("look"), Answer(text="done"))
    await run(agent, how, config=config)
    go_on = Command(resume={"decisions": [{"type": "approve"}]})
    later = {"configurable": {"thread_id": "1"}}
    state = agent.invoke(go_on, later) if how == "sync" else await agent.ainvoke(go_on, later)
    assert tiers(state) == ["standard", "standard"]


def test_budget_and_records_are_the_models_own(make):
    metrics, budget = ModelMetricsCollector(), BudgetManager(default_daily_limit=1_000_000)
    model = make(metrics=metrics, budget=budget)
    tiered = TieredRoutingMiddleware(spec={"name": "clerk"})
    agent = create_agent(model, [], middleware=[tiered])
    agent.invoke({"messages": [("user", "hello")]}, {"configurable": {"tenant_id": "acme"}})
    (entry,) = metrics.recent()
    assert (entry.record.tenant_id, entry.record.node) == ("acme", "model")
    assert budget.usage("acme")["daily"].used > 0


# --- what cannot be ---


def test_an_agent_without_a_tiered_model_is_told(clean_environment):
    agent = create_agent(FakeChatModel(text="x"), [], middleware=[TieredRoutingMiddleware()])
    with pytest.raises(ConfigurationError, match="give create_agent a TieredChatModel"):
        agent.invoke({"messages": [("user", "hello")]})


@pytest.mark.parametrize(
    "wrong", [{"hold": "thread"}, {"spec": {"hat": "red"}}, {"spec": {"criticality": "huge"}}]
)
def test_wrong_arguments_are_refused_at_the_start(wrong):
    with pytest.raises(ConfigurationError):
        TieredRoutingMiddleware(**wrong)
