"""Routing and model nodes in real graphs over the simulator."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from operator import add
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import CachePolicy, Command, RetryPolicy, Send
from pydantic import BaseModel

from tiered_llm import (
    AllTiersFailedError,
    BudgetExceededError,
    BudgetManager,
    ConfigurationError,
    ModelMetricsCollector,
    TieredChatModel,
    get_settings,
)
from tiered_llm.agents import (
    create_model_node,
    create_routing_node,
    create_tiered_graph,
    route_by_tier,
)
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
    said: Any
    plan: dict[str, Any]


class Modelled(BaseModel):
    question: str
    said: Any = None
    plan: dict[str, Any] = {}


@dataclass
class Plain:
    question: str
    said: Any = None
    plan: dict[str, Any] = field(default_factory=dict)


@both
@pytest.mark.parametrize("schema", [Asked, Modelled, Plain])
async def test_any_state_will_do(make, how, schema):
    model = make()
    keys = {"messages_key": "question", "routing_key": "plan"}
    builder = StateGraph(schema)
    builder.add_node("route", create_routing_node(model, **keys))
    builder.add_node("call", create_model_node(model, answer_key="said", **keys))
    builder.add_edge(START, "route")
    builder.add_edge("route", "call")
    state = await run(builder.compile(), how, {"question": "hello"}, task("thinking"))
    assert state["question"] == "hello"
    assert state["plan"]["tier"] == "heavy"
    assert state["said"].response_metadata["routing"] == state["plan"]


class Batch(TypedDict):
    questions: list[str]
    messages: Annotated[list[Any], add]


@both
async def test_a_fan_out_decides_each_part_for_itself(make, how, simulated_tiers):
    builder = StateGraph(Batch)
    builder.add_node("one", line(make()).compile())
    builder.add_conditional_edges(
        START,
        lambda state: [Send("one", {"messages": [("user", each)]}) for each in state["questions"]],
    )
    hard = (
        "Analyze the security implications of a zero-trust architecture with mutual TLS: compare "
        "the designs, explain the trade-offs step by step, and propose a migration plan."
    )
    given = {"questions": ["hello", hard] * 4, "messages": []}
    messages = (await run(builder.compile(), how, given))["messages"]
    answers = [message for message in messages if isinstance(message, AIMessage)]
    tiers = [each.response_metadata["routing"]["tier"] for each in answers]
    assert len(tiers) == 8
    assert set(tiers[::2]) == {"light"}
    assert len(set(tiers[1::2])) == 1
    assert tiers[1] != "light"
    asked = [request.body["messages"][-1]["content"] for request in simulated_tiers.light.requests]
    assert asked == ["hello"] * 4


@both
async def test_the_answer_is_streamed_once(make, how):
    for graph in (line(make()).compile(), create_tiered_graph(make())):
        if how == "sync":
            events = list(graph.stream(HELLO, stream_mode=["messages", "values"]))
        else:
            stream = graph.astream(HELLO, stream_mode=["messages", "values"])
            events = [event async for event in stream]
        chunks = [event[0] for mode, event in events if mode == "messages"]
        answer = events[-1][1]["messages"][-1]
        assert len(chunks) > 2
        assert "".join(chunk.text for chunk in chunks) == answer.text
        assert {chunk.id for chunk in chunks} == {answer.id}


@both
async def test_an_answer_out_of_langgraphs_cache_costs_nothing(make, how, simulated_tiers):
    budget = BudgetManager(default_daily_limit=1_000_000)
    model = make(budget=budget)
    policy = CachePolicy(key_func=lambda state: str(state["messages"]))
    builder = StateGraph(State)
    builder.add_node("route", create_routing_node(model), cache_policy=policy)
    builder.add_node("call", create_model_node(model), cache_policy=policy)
    builder.add_edge(START, "route")
    builder.add_edge("route", "call")
    graph = builder.compile(cache=InMemoryCache())
    who = {"configurable": {"tenant_id": "acme"}}
    given = {"messages": [HumanMessage("hello", id="1")]}
    first = await run(graph, how, given, who)
    used = budget.usage("acme")["daily"].used
    second = await run(graph, how, given, who)
    assert second["routing"] == first["routing"]
    assert len(simulated_tiers.light.requests) == 1
    assert (budget.usage("acme")["daily"].used, budget.usage("acme")["daily"].reserved) == (used, 0)


@both
async def test_a_policy_that_retries_a_node_keeps_to_the_decision(make, how, simulated_tiers):
    """All tiers fail once, so the call does; the node's second run asks the decided tier again."""
    for tier, name in NAMES.items():
        getattr(simulated_tiers, tier).script(name, Fault.status(503))
    budget = BudgetManager(default_daily_limit=1_000_000)
    settings = get_settings(breaker={"enabled": False})
    model = make(budget=budget, settings=settings)
    policy = RetryPolicy(initial_interval=0.0, jitter=False, retry_on=AllTiersFailedError)
    builder = StateGraph(State)
    builder.add_node("route", create_routing_node(model))
    builder.add_node("call", create_model_node(model), retry_policy=policy)
    builder.add_edge(START, "route")
    builder.add_edge("route", "call")
    state = await run(builder.compile(), how, config=task("simple_qa", tenant_id="acme"))
    assert state["routing"]["decided_tier"] == state["routing"]["tier"] == "light"
    asked = {tier: len(getattr(simulated_tiers, tier).requests) for tier in NAMES}
    assert asked == {"light": 2, "standard": 1, "heavy": 1}
    usage = budget.usage("acme")["daily"]
    used = state["messages"][-1].usage_metadata["total_tokens"]
    assert (usage.used, usage.reserved) == (used, 0)


@both
async def test_a_budget_that_is_reached_is_not_tried_again(make, how, simulated_tiers):
    model = make(budget=BudgetManager(default_daily_limit=1))
    builder = StateGraph(State)
    builder.add_node("call", create_model_node(model), retry_policy=RetryPolicy(max_attempts=3))
    builder.add_edge(START, "call")
    with pytest.raises(BudgetExceededError):
        await run(builder.compile(), how)
    assert not simulated_tiers.light.requests


def test_a_model_that_does_not_route_has_its_one_tier_decided(make):
    model = make(settings=get_settings(routing_enabled=False, fixed_tier="standard"))
    state = line(model).compile().invoke(HELLO, task("thinking"))
    assert state["routing"]["decided_tier"] == state["routing"]["tier"] == "standard"


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
