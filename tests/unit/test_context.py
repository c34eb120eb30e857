"""Who asks, and for what: where it is looked up, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.graph import START, MessagesState, StateGraph

from tiered_llm import AgentSpec, ConfigurationError, TieredChatModel, get_settings
from tiered_llm.chat_model import read_context
from tiered_llm.testing import FakeChatModel
from tiered_llm.tiers import Tier

DEFAULTS = {"tenant_id": "from defaults", "task_type": "from defaults"}


@dataclass
class Runtime:
    context: object


@dataclass
class Context:
    tenant_id: str = "from context"


def config(configurable=None, metadata=None, context=None):
    inside = dict(configurable or {})
    if context is not None:
        inside["__pregel_runtime"] = Runtime(context)
    return {"configurable": inside, "metadata": metadata or {}}


def test_the_order_is_configurable_metadata_runtime_context_defaults():
    configurable, metadata = {"tenant_id": "from configurable"}, {"tenant_id": "from metadata"}
    context = {"tenant_id": "from context"}
    found = [
        read_context(config(configurable, metadata, context), DEFAULTS),
        read_context(config({}, metadata, context), DEFAULTS),
        read_context(config({}, {}, context), DEFAULTS),
        read_context(config({}, {}, Context()), DEFAULTS),
        read_context(config(), DEFAULTS),
        read_context({}, {}),
    ]
    assert [place.tenant_id for place in found] == [
        "from configurable",
        "from metadata",
        "from context",
        "from context",
        "from defaults",
        None,
    ]


def test_each_name_is_looked_up_for_itself():
    found = read_context(config({"tier": "heavy"}, {"task_type": "x"}), DEFAULTS)
    assert (found.tier, found.task_type, found.tenant_id) == (Tier.HEAVY, "x", "from defaults")


def test_a_tenant_may_be_a_uuid():
    tenant = UUID("12345678-1234-5678-1234-567812345678")
    assert read_context(config({"tenant_id": tenant}), {}).tenant_id == str(tenant)


def test_the_threads_id_is_the_session_unless_one_is_named():
    assert read_context(config({"thread_id": 7}), {}).session_id == "7"
    named = config({"thread_id": 7, "session_id": "s"})
    assert read_context(named, {}).session_id == "s"


def test_an_agents_first_task_type_counts_where_the_call_names_none():
    spec = {"name": "auditor", "task_types": ["security_analysis", "thinking"]}
    assert read_context(config({"agent_spec": spec}), {}).task_type == "security_analysis"
    named = config({"agent_spec": spec, "task_type": "simple_qa"})
    assert read_context(named, {}).task_type == "simple_qa"


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"tier": "huge"}, "config: tier: .*one of light, standard, heavy"),
        ({"agent_spec": {"nmae": "x"}}, "agent_spec has no field"),
        ({"agent_spec": {"lowest_tier": "huge"}}, "agent_spec"),
        ({"agent_spec": {"lowest_tier": "heavy", "highest_tier": "light"}}, "is above"),
        ({"agent_spec": {"criticality": "urgent"}}, "is not one of low, normal"),
        ({"agent_spec": 7}, "agent_spec"),
    ],
)
def test_a_malformed_value_is_refused_with_what_would_be_right(given, match):
    with pytest.raises(ConfigurationError, match=match):
        read_context(config(given), {})


def test_an_agent_spec_is_read_from_plain_data():
    spec = AgentSpec.parse({"name": "a", "capabilities": "audit", "lowest_tier": "standard"})
    assert spec == AgentSpec(name="a", capabilities=("audit",), lowest_tier=Tier.STANDARD)
    assert AgentSpec.parse(spec) is spec
    assert AgentSpec.parse(None) is None


def tiered(**fields):
    return TieredChatModel(
        light=FakeChatModel(text="light"), heavy=FakeChatModel(text="heavy"), **fields
    )


def answered(message):
    return message.response_metadata["routing"]["tier"]


def test_the_models_own_defaults_route_its_calls():
    assert answered(tiered(tier="heavy").invoke("hi")) == "heavy"
    assert answered(tiered(task_type="thinking").invoke("hi")) == "heavy"
    assert answered(tiered(agent_spec={"lowest_tier": "heavy"}).invoke("hi")) == "heavy"
    assert answered(tiered().invoke("hi")) == "light"


def test_inside_a_graph_the_runtimes_context_counts():
    model = tiered()

    def node(state):
        return {"messages": [model.invoke(state["messages"])]}

    builder = StateGraph(MessagesState, context_schema=dict)
    builder.add_node("model", node)
    builder.add_edge(START, "model")
    graph = builder.compile()
    given = {"messages": [HumanMessage("hi")]}
    assert answered(graph.invoke(given, context={"tier": "heavy"})["messages"][-1]) == "heavy"
    assert answered(graph.invoke(given, context={"tier": "light"})["messages"][-1]) == "light"


def test_a_nodes_own_configurable_does_not_take_the_tenant_away():
    settings = get_settings(routing={"tenant_caps": {"acme": "light"}})
    model = tiered(settings=settings)

    def node(state):
        given = {"configurable": {"task_type": "security_analysis"}}
        return {"messages": [model.invoke(state["messages"], given)]}

    builder = StateGraph(MessagesState)
    builder.add_node("model", node)
    builder.add_edge(START, "model")
    graph = builder.compile()
    given = {"messages": [HumanMessage("hi")]}
    capped = graph.invoke(given, {"configurable": {"tenant_id": "acme"}})
    assert answered(capped["messages"][-1]) == "light"
    free = graph.invoke(given, {"configurable": {"tenant_id": "other"}})
    assert answered(free["messages"][-1]) == "heavy"


def test_a_nodes_own_metadata_does_not_take_the_tenant_away():
    model = tiered(settings=get_settings(routing={"tenant_caps": {"acme": "light"}}))

    def node(state):
        given = {"metadata": {"task_type": "security_analysis"}}
        return {"messages": [model.invoke(state["messages"], given)]}

    builder = StateGraph(MessagesState)
    builder.add_node("model", node)
    builder.add_edge(START, "model")
    graph = builder.compile()
    given = {"messages": [HumanMessage("hi")]}
    for tenant, tier in (("acme", "light"), ("other", "heavy")):
        state = graph.invoke(given, {"metadata": {"tenant_id": tenant}})
        assert answered(state["messages"][-1]) == tier


def test_another_nodes_answer_is_no_turn_to_go_on_with():
    model = tiered()
    ask = HumanMessage("hi")
    shared = [ask, model.invoke([ask])]
    to = {"configurable": {"task_type": "security_analysis"}}
    assert answered(model.invoke(shared, to)) == "heavy"


CALL = {"name": "look", "args": {}, "id": "1"}


def turn_of(tier, *after):
    return [
        HumanMessage("hi"),
        AIMessage("", tool_calls=[CALL], response_metadata={"routing": {"tier": tier}}),
        ToolMessage("found", tool_call_id="1"),
        *after,
    ]


def test_an_agents_answer_ends_its_turn():
    done = AIMessage("here", response_metadata={"routing": {"tier": "light"}})
    auditor = {"configurable": {"task_type": "security_analysis"}}
    assert answered(tiered().invoke(turn_of("light", done), auditor)) == "heavy"
    assert answered(tiered().invoke(turn_of("light"), auditor)) == "light"


def test_a_critical_agent_is_not_held_to_a_light_turn():
    critical = {"configurable": {"agent_spec": {"criticality": "critical"}}}
    assert answered(tiered().invoke(turn_of("light"), critical)) == "heavy"


def test_metadata_of_the_applications_own_is_left_alone():
    gold = {"metadata": {"tier": "gold"}, "tags": ["tier:gold"]}
    seen = []

    class Watch(BaseCallbackHandler):
        def on_chat_model_start(self, serialized, messages, *, tags=None, **kwargs):
            seen.append(sorted(tags))

    model = tiered(callbacks=[Watch()])
    assert answered(model.invoke("hi", gold)) == "light"
    assert answered(model.invoke("hi", {"metadata": {"tier": "heavy"}})) == "heavy"
    assert seen[0] == ["tier:gold", "tier:light"]


def test_the_models_own_tenant_may_be_a_uuid():
    tenant = UUID("12345678-1234-5678-1234-567812345678")
    assert tiered(tenant_id=tenant).tenant_id == str(tenant)


def test_an_own_routers_settings_are_the_models():
    from tiered_llm import ModelRouter, get_settings

    router = ModelRouter(get_settings(complexity={"light_below": 0.0, "heavy_from": 0.0001}))
    assert answered(tiered(router=router).invoke("hi")) == "heavy"


def test_tokens_of_tools_count_for_the_window():
    def verbose(a: int) -> int:
        return a

    verbose.__doc__ = "word " * 2000
    small = FakeChatModel(text="light", profile={"max_input_tokens": 1500})
    model = TieredChatModel(light=small, heavy=FakeChatModel(text="heavy"))
    assert answered(model.invoke("hi")) == "light"
    assert answered(model.bind_tools([verbose]).invoke("hi")) == "heavy"


HARD = "Analyze the security implications of a zero-trust architecture with mutual TLS"


def routed(tier):
    return {"routing": {"tier": tier}}


def test_a_turn_stays_on_the_tier_of_its_ask():
    call = {"name": "look", "args": {}, "id": "1"}
    turn = [
        HumanMessage(HARD),
        AIMessage("", tool_calls=[call], response_metadata=routed("heavy")),
        ToolMessage("found", tool_call_id="1"),
    ]
    assert answered(tiered().invoke(turn)) == "heavy"
    assert answered(tiered().invoke([*turn, AIMessage("done"), HumanMessage("commit it")])) == (
        "light"
    )


def test_commit_it_stays_on_the_threads_tier_where_a_switch_has_a_price():
    from tiered_llm import get_settings

    settings = get_settings(routing={"switch_margin": 0.2})
    thread = [
        HumanMessage("word " * 4000),
        AIMessage("done", response_metadata=routed("heavy")),
        HumanMessage("commit it"),
    ]
    assert answered(tiered(settings=settings).invoke(thread)) == "heavy"
    assert answered(tiered().invoke(thread)) == "light"


def test_an_image_goes_only_to_a_tier_that_can_see():
    seeing = FakeChatModel(text="heavy", profile={"image_inputs": True})
    blind = FakeChatModel(text="light", profile={"image_inputs": False})
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    ask = [HumanMessage([{"type": "text", "text": "hi"}, picture])]
    model = TieredChatModel(light=blind, heavy=seeing)
    assert answered(model.invoke(ask)) == "heavy"
    assert answered(model.invoke("hi")) == "light"
