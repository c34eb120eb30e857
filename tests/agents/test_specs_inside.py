"""Specs of agents inside one another: subgraphs, nested agents, agents called as tools."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from tiered_llm import AgentSpec, TieredChatModel
from tiered_llm.agents import TieredRoutingMiddleware
from tiered_llm.chat_model import read_context
from tiered_llm.fallback import Health
from tiered_llm.testing import Answer

ASK = {"messages": [("user", "hello")]}
LIGHT = "qwen2.5:7b"
CLERK = AgentSpec(name="clerk", highest_tier="standard")
AUDITOR = AgentSpec(name="auditor", lowest_tier="heavy")
CAREFUL = AgentSpec(name="careful", lowest_tier="standard")
OVERRULED = "agent_bounds: lower standard: the agent's own bound, heavy, lies outside of what"


class Context(TypedDict, total=False):
    """What a caller says of a run."""

    agent_spec: dict


@pytest.fixture
def model(simulated_tiers, clean_environment):
    specs = {tier.value: spec for tier, spec in simulated_tiers.specs.items()}
    return TieredChatModel(**specs, health=Health())


@pytest.fixture
def agent(model):
    def agent(spec=None, tools=(), **more):
        return create_agent(
            model, list(tools), middleware=[TieredRoutingMiddleware(spec=spec)], **more
        )

    return agent


def graph(node, metadata=None):
    """A graph of one node."""
    builder = StateGraph(MessagesState, context_schema=Context)
    builder.add_node("node", node, metadata=metadata)
    builder.add_edge(START, "node")
    return builder.compile()


def thinking(model):
    """A node that calls the model."""

    async def athink(state):
        return {"messages": [await model.ainvoke(state["messages"])]}

    def think(state):
        return {"messages": [model.invoke(state["messages"])]}

    return {"sync": think, "async": athink}


async def routing(runnable, how, config=None, **more):
    """The routing of the last answer, by either door."""
    if how == "sync":
        state = runnable.invoke(ASK, config, **more)
    else:
        state = await runnable.ainvoke(ASK, config, **more)
    return state["messages"][-1].response_metadata["routing"]


def overruled(told):
    return any(reason.startswith(OVERRULED) for reason in told["reasons"])


both = pytest.mark.parametrize("how", ["sync", "async"])


@both
async def test_a_subgraph_inherits_its_nodes_spec(model, how):
    inner = graph(thinking(model)[how])
    for metadata in ({"agent_spec": {"lowest_tier": "standard"}}, CAREFUL.as_metadata()):
        assert (await routing(graph(inner, metadata), how))["tier"] == "standard"


@both
async def test_a_subgraphs_node_narrows_and_never_widens(model, how):
    think = thinking(model)[how]
    for inner in (graph(think, AUDITOR.as_metadata()), graph(think, {"agent_spec": AUDITOR})):
        told = await routing(graph(inner, CLERK.as_metadata()), how)
        assert told["tier"] in {"light", "standard"}
        assert overruled(told)
        three_deep = graph(graph(inner, CAREFUL.as_metadata()), CLERK.as_metadata())
        assert (await routing(three_deep, how))["tier"] == "standard"


@both
async def test_a_graph_that_a_node_calls_with_a_config_of_its_own_does_not_widen(model, how):
    inner = graph(thinking(model)[how])
    own = {"metadata": AUDITOR.as_metadata()}

    def call(state):
        return inner.invoke(state, own)

    async def acall(state):
        return await inner.ainvoke(state, own)

    outer = graph(call if how == "sync" else acall, CLERK.as_metadata())
    told = await routing(outer, how)
    assert told["tier"] in {"light", "standard"}


@both
async def test_a_call_with_metadata_of_its_own_keeps_its_nodes_spec(model, how):
    """LangChain would replace the node's metadata by the call's."""
    own = {"metadata": {"ticket": 7}}

    def think(state):
        return {"messages": [model.invoke(state["messages"], own)]}

    async def athink(state):
        return {"messages": [await model.ainvoke(state["messages"], own)]}

    careful = {"agent_spec": {"lowest_tier": "standard"}}
    told = await routing(graph(think if how == "sync" else athink, careful), how)
    assert told["tier"] == "standard"


@both
@pytest.mark.parametrize("place", ["node", "context", "run"])
async def test_an_agent_as_a_node_stays_within_what_surrounds_it(agent, how, place):
    inner, spec = agent(AUDITOR), {"agent_spec": {"highest_tier": "standard"}}
    outer = graph(inner, spec if place == "node" else None)
    more = {"context": spec} if place == "context" else {}
    told = await routing(outer, how, {"configurable": spec} if place == "run" else None, **more)
    assert told["tier"] in {"light", "standard"}
    assert overruled(told)
    assert (await routing(graph(agent(AUDITOR)), how))["tier"] == "heavy"


@both
async def test_a_run_that_says_more_of_an_agent_leaves_it_its_name_and_preference(agent, how):
    """The name is who pays, where budgets count agents."""
    spec = {"name": "clerk", "preferred_tier": "standard"}
    context = {"agent_spec": {"criticality": "low", "preferred_tier": "heavy"}}
    told = await routing(agent(spec, context_schema=Context), how, context=context)
    assert "agent_preference: pick standard: the agent prefers it" in told["reasons"]


@both
async def test_agents_three_deep_as_tools_stay_within_the_outermost(agent, how, simulated_tiers):
    told = []
    innermost = agent(AUDITOR)

    @tool
    async def ask_auditor(what: str) -> str:
        """Ask the auditor."""
        told.append(await routing(innermost, "async"))
        return what

    @tool("ask_auditor")
    def ask_auditor_now(what: str) -> str:
        """Ask the auditor."""
        told.append(innermost.invoke(ASK)["routing"])
        return what

    middle = agent(CAREFUL, [ask_auditor if how == "async" else ask_auditor_now])

    @tool
    async def ask_careful(what: str) -> str:
        """Ask the careful one."""
        told.append(await routing(middle, "async"))
        return what

    @tool("ask_careful")
    def ask_careful_now(what: str) -> str:
        """Ask the careful one."""
        told.append(middle.invoke(ASK)["routing"])
        return what

    outer = agent(CLERK, [ask_careful if how == "async" else ask_careful_now])
    call = {"args": {"what": "is it safe?"}}
    simulated_tiers.light.script(LIGHT, Answer(tool_calls=[{"name": "ask_careful", **call}]))
    simulated_tiers.standard.script(
        "qwen2.5:32b", Answer(tool_calls=[{"name": "ask_auditor", **call}])
    )
    await routing(outer, how)
    assert [each["tier"] for each in told] == ["standard", "standard"]
    assert overruled(told[0])


@both
async def test_tools_of_an_agent_whose_model_has_the_spec_are_inside_of_it_too(
    model, agent, how, simulated_tiers
):
    inner, told = agent(AUDITOR), []

    @tool
    def ask(what: str) -> str:
        """Ask the auditor."""
        told.append(inner.invoke(ASK)["routing"]["tier"])
        return what

    own = model.model_copy(update={"agent_spec": CLERK})
    outer = create_agent(model, [ask], middleware=[TieredRoutingMiddleware(own)])
    call = {"name": "ask", "args": {"what": "?"}}
    simulated_tiers.light.script(LIGHT, Answer(tool_calls=[call]))
    await routing(outer, how)
    assert told == ["light"]


@both
async def test_parallel_tools_have_the_bounds_of_their_own_agents(agent, how, simulated_tiers):
    """Nobody sees a spec of the agent beside it."""
    told, lowest = {}, {"one": "light", "two": "standard", "three": "heavy"}

    def asking(name):
        inner = agent({"name": name, "lowest_tier": lowest[name]})

        def ask(what: str) -> str:
            """Ask another agent."""
            told[name] = inner.invoke(ASK)["routing"]["tier"]
            return what

        return tool(name)(ask)

    outer = agent(AgentSpec(name="boss"), map(asking, lowest))
    calls = [{"name": name, "args": {"what": "?"}} for name in lowest]
    simulated_tiers.light.script(LIGHT, Answer(tool_calls=calls))
    assert (await routing(outer, how))["tier"] == "light"
    assert told == lowest


@both
async def test_a_tool_that_asks_a_human_goes_on_within_its_agents_bounds(
    agent, how, simulated_tiers
):
    inner, told = agent(AUDITOR), []

    @tool
    def ask(what: str) -> str:
        """Ask the auditor, if a human agrees."""
        assert interrupt(what) == "yes"
        told.append(inner.invoke(ASK)["routing"]["tier"])
        return what

    outer = agent(CLERK, [ask], checkpointer=InMemorySaver())
    call = {"name": "ask", "args": {"what": "may I?"}}
    simulated_tiers.light.script(LIGHT, Answer(tool_calls=[call]))
    thread, yes = {"configurable": {"thread_id": "1"}}, Command(resume="yes")
    if how == "sync":
        asked, state = outer.invoke(ASK, thread), outer.invoke(yes, thread)
    else:
        asked, state = await outer.ainvoke(ASK, thread), await outer.ainvoke(yes, thread)
    assert [each.value for each in asked["__interrupt__"]] == ["may I?"]
    assert asked["routing"]["tier"] == state["routing"]["tier"] == "light"
    assert told == ["light"]
    assert read_context({}, {}).agent_spec is None  # nothing of it stays behind


@both
async def test_a_spec_in_the_config_is_no_part_of_the_checkpoint(agent, how):
    saver = InMemorySaver()
    made = agent(CLERK, checkpointer=saver)
    config = {"configurable": {"thread_id": "1", "agent_spec": {"criticality": "critical"}}}
    told = await routing(made, how, config)
    assert told["tier"] == "standard"
    assert "critical" not in repr(made.get_state({"configurable": {"thread_id": "1"}}).config)
    assert set(made.get_state({"configurable": {"thread_id": "1"}}).values) == {
        "messages",
        "routing",
    }
