"""Routing and model nodes in real graphs over the simulator."""

from __future__ import annotations

import json
from operator import add
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, Send
from pydantic import BaseModel

from tiered_llm import (
    BudgetManager,
    ConfigurationError,
    ModelMetricsCollector,
    TieredChatModel,
    get_settings,
)
from tiered_llm.agents import create_model_node, create_routing_node, route_by_tier
from tiered_llm.agents.plain import decision_of
from tiered_llm.fallback import Health
from tiered_llm.testing import Fault

NAMES = {"light": "qwen2.5:7b", "standard": "qwen2.5:32b", "heavy": "qwen2.5:72b"}
HELLO = {"messages": [("user", "hello")]}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


class State(MessagesState):
    routing: dict[str, Any]


@pytest.fixture
def make(simulated_tiers, clean_environment):
    specs = {tier.value: spec for tier, spec in simulated_tiers.specs.items()}

    def make(**fields):
        return TieredChatModel(**{**specs, "health": Health(), **fields})

    return make


def task(name, **more):
    return {"configurable": {"task_type": name, **more}}


def line(model, schema=State, **keys):
    """route → call."""
    builder = StateGraph(schema)
    builder.add_node("route", create_routing_node(model, **keys))
    builder.add_node("call", create_model_node(model, **keys))
    builder.add_edge(START, "route")
    builder.add_edge("route", "call")
    builder.add_edge("call", END)
    return builder


async def run(graph, how, given=HELLO, config=None):
    return graph.invoke(given, config) if how == "sync" else await graph.ainvoke(given, config)


both = pytest.mark.parametrize("how", ["sync", "async"])


@both
async def test_what_one_node_decides_the_other_calls(make, how):
    graph = line(make()).compile()
    for name, tier in (("simple_qa", "light"), ("thinking", "heavy")):
        state = await run(graph, how, config=task(name))
        assert state["routing"]["tier"] == tier
        assert state["messages"][-1].response_metadata["routing"] == state["routing"]


@both
async def test_the_decision_is_plain_and_a_custom_event(make, how):
    graph = line(make()).compile()
    if how == "sync":
        events = list(graph.stream(HELLO, stream_mode="custom"))
    else:
        events = [event async for event in graph.astream(HELLO, stream_mode="custom")]
    (event,) = events
    assert json.loads(json.dumps(event)) == event
    assert event["tiered_llm.routing"]["tier"] == "light"


@both
async def test_the_decided_tier_falls_back_and_the_state_says_so(make, how, simulated_tiers):
    simulated_tiers.light.script(NAMES["light"], Fault.status(503))
    state = await run(line(make()).compile(), how)
    assert (state["routing"]["decided_tier"], state["routing"]["tier"]) == ("light", "standard")


@both
async def test_each_tier_can_have_a_branch(make, how):
    model = make()
    builder = StateGraph(State)
    builder.add_node("route", create_routing_node(model))
    names = {"light": "quick", "standard": "usual", "heavy": "careful"}
    for name in names.values():
        say = AIMessage(f"{name} branch")
        builder.add_node(name, lambda _, say=say: {"messages": [say]})
        builder.add_edge(name, END)
    builder.add_edge(START, "route")
    builder.add_conditional_edges("route", route_by_tier, names)
    graph = builder.compile()
    for name, said in (("simple_qa", "quick"), ("thinking", "careful")):
        state = await run(graph, how, config=task(name))
        assert state["messages"][-1].text == f"{said} branch"


@both
async def test_it_can_go_there_by_itself(make, how):
    model = make()
    names = {"light": "quick", "standard": "usual", "heavy": "careful"}
    builder = StateGraph(State)
    ends = tuple(names.values())
    builder.add_node("route", create_routing_node(model, goto=names), destinations=ends)
    for name in ends:
        builder.add_node(name, create_model_node(model))
    builder.add_edge(START, "route")
    graph = builder.compile()
    steps = []
    if how == "sync":
        steps = [list(step) for step in graph.stream(HELLO, task("thinking"))]
    else:
        steps = [list(step) async for step in graph.astream(HELLO, task("thinking"))]
    assert steps == [["route"], ["careful"]]
    assert "careful" in graph.get_graph().draw_mermaid()


class Asked(TypedDict):
    question: str
    said: Annotated[list[Any], add]
    plan: dict[str, Any]


class Modelled(BaseModel):
    messages: list[Any] = []
    routing: dict[str, Any] = {}


@both
async def test_any_state_will_do(make, how):
    model = make()
    builder = StateGraph(Asked)
    keys = {"messages_key": "question", "routing_key": "plan"}
    builder.add_node("route", create_routing_node(model, **keys))
    builder.add_edge(START, "route")
    state = await run(builder.compile(), how, {"question": "hello"})
    assert state["plan"]["tier"] == "light"
    state = await run(line(model, Modelled).compile(), how, {"messages": [("user", "hello")]})
    assert state["routing"]["tier"] == "light"


@both
async def test_a_fan_out_decides_each_part_for_itself(make, how):
    model = make()

    class Batch(TypedDict):
        questions: list[str]
        routed: Annotated[list[Any], add]

    node = create_routing_node(model)

    async def one(state, config):
        return {"routed": [(await node.ainvoke(state, config))["routing"]["tier"]]}

    def one_sync(state, config):
        return {"routed": [node.invoke(state, config)["routing"]["tier"]]}

    builder = StateGraph(Batch)
    builder.add_node("one", one_sync if how == "sync" else one)
    builder.add_conditional_edges(
        START, lambda state: [Send("one", {"messages": each}) for each in state["questions"]]
    )
    given = {"questions": ["hello"] * 8, "routed": []}
    assert (await run(builder.compile(), how, given))["routed"] == ["light"] * 8


@both
async def test_a_subgraph_is_a_node_like_any_other(make, how):
    inner = line(make()).compile()
    builder = StateGraph(State)
    builder.add_node("inner", inner)
    builder.add_edge(START, "inner")
    spec = {"name": "boss", "lowest_tier": "standard"}
    state = await run(builder.compile(), how, config={"configurable": {"agent_spec": spec}})
    assert state["routing"]["tier"] == "standard"


def test_context_of_the_graph_is_the_calls(make):
    class Context(TypedDict):
        task_type: str

    builder = StateGraph(State, context_schema=Context)
    model = make()
    builder.add_node("route", create_routing_node(model))
    builder.add_node("call", create_model_node(model))
    builder.add_edge(START, "route")
    builder.add_edge("route", "call")
    state = builder.compile().invoke(HELLO, context={"task_type": "thinking"})
    assert state["routing"]["tier"] == "heavy"


def test_tools_are_seen_by_the_decision_and_bound_for_the_call(make, simulated_tiers):
    light = simulated_tiers.specs["light"].model_copy(update={"tools": False})
    model = make(light=light)
    builder = StateGraph(State)
    builder.add_node("route", create_routing_node(model, tools=[TOOL]))
    builder.add_node("call", create_model_node(model, tools=[TOOL], tool_choice="auto"))
    builder.add_edge(START, "route")
    builder.add_edge("route", "call")
    state = builder.compile().invoke(HELLO)
    assert state["routing"]["decided_tier"] == "standard"
    assert simulated_tiers.standard.requests[-1].body["tools"]


def test_budget_and_records_are_the_models(make):
    metrics, budget = ModelMetricsCollector(), BudgetManager(default_daily_limit=1_000_000)
    model = make(metrics=metrics, budget=budget)
    line(model).compile().invoke(HELLO, task("simple_qa", tenant_id="acme"))
    (entry,) = metrics.recent()
    assert (entry.record.node, entry.record.asked) == ("call", "light")
    assert budget.usage("acme")["daily"].used > 0


# --- across checkpoints ---


def test_a_decision_survives_a_checkpoint_and_is_kept_to(make):
    model = make()
    graph = line(model).compile(checkpointer=InMemorySaver(), interrupt_before=["call"])
    config = task("thinking", thread_id="1")
    graph.invoke(HELLO, config)
    later = {"configurable": {"thread_id": "1"}}
    state = graph.invoke(None, later)  # who resumes does not know the task
    assert state["routing"]["tier"] == "heavy"


def test_a_decision_of_other_settings_is_made_anew(make):
    heavy = make().route("hello", task("thinking")).summary()
    other = make(settings=get_settings(complexity={"light_below": 0.2}))
    assert decision_of(heavy, make()).tier == "heavy"
    assert decision_of(heavy, other) is None
    state = line(other).compile().nodes["call"].invoke({**HELLO, "routing": heavy})
    assert state["routing"]["tier"] == "light"


@pytest.mark.parametrize(
    "told", [None, {}, {"tier": "x"}, {"tier": "light", "score": "?"}, "light"]
)
def test_what_is_no_decision_is_none(make, told):
    model = make()
    if isinstance(told, dict):
        told = {**told, "policy_version": model.stages.router.policy_version}
    assert decision_of(told, model) is None


# --- what cannot be ---


def test_wrong_arguments_are_refused_when_the_graph_is_built(make):
    with pytest.raises(ConfigurationError, match="hold"):
        create_routing_node(make(), hold="thread")
    with pytest.raises(ConfigurationError, match="names none for heavy"):
        create_routing_node(make(), goto={"light": "a", "standard": "b"})


def test_an_edge_without_a_decision_says_what_is_missing():
    with pytest.raises(KeyError, match="add create_routing_node before"):
        route_by_tier({"messages": []})
    assert route_by_tier({"plan": {"tier": "heavy"}}, "plan") == "heavy"


def test_a_state_without_messages_says_which_key_was_looked_for(make):
    with pytest.raises(KeyError, match="messages_key="):
        create_routing_node(make()).invoke({"question": "hello"})


def test_a_command_is_what_a_node_with_destinations_returns(make):
    names = {"light": "a", "standard": "b", "heavy": "c"}
    command = create_routing_node(make(), goto=names).invoke(HELLO)
    assert isinstance(command, Command)
    assert command.goto == "a"
