"""The ready graph over the simulator: its nodes, its tools, and its question about a budget."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from tiered_llm import (
    BudgetExceededError,
    BudgetManager,
    BudgetRule,
    ModelMetricsCollector,
    TieredChatModel,
)
from tiered_llm.agents import create_tiered_graph
from tiered_llm.agents.answers import choice_of, raised
from tiered_llm.fallback import Health
from tiered_llm.testing import Answer, Fault

NAMES = {"light": "qwen2.5:7b", "standard": "qwen2.5:32b", "heavy": "qwen2.5:72b"}
HELLO = {"messages": [("user", "hello")]}
ACME = {"tenant_id": "acme"}
THREAD = {"configurable": {"thread_id": "1"}}


@tool
def look(what: str) -> str:
    """Look at something."""
    return f"{what} is blue"


@pytest.fixture
def make(simulated_tiers, clean_environment):
    specs = {tier.value: spec for tier, spec in simulated_tiers.specs.items()}

    def make(**fields):
        return TieredChatModel(**{**specs, "health": Health(), **fields})

    return make


async def run(graph, how, given=HELLO, config=None, context=None):
    if how == "sync":
        return graph.invoke(given, config, context=context)
    return await graph.ainvoke(given, config, context=context)


both = pytest.mark.parametrize("how", ["sync", "async"])


@both
async def test_each_stage_is_a_node_in_its_order(make, how):
    graph = create_tiered_graph(make())
    if how == "sync":
        steps = [next(iter(step)) for step in graph.stream(HELLO, stream_mode="updates")]
    else:
        stream = graph.astream(HELLO, stream_mode="updates")
        steps = [next(iter(step)) async for step in stream]
    assert steps == ["estimate", "route", "budget", "call", "record"]


def test_it_can_be_drawn(make):
    budget = BudgetManager(default_daily_limit=1)
    drawn = create_tiered_graph(make(budget=budget), tools=[look]).get_graph().draw_mermaid()
    for node in ("estimate", "route", "budget", "ask", "call", "record", "tools"):
        assert f"\t{node}(" in drawn
    plain = create_tiered_graph(make()).get_graph().draw_mermaid()
    assert "ask" not in plain
    assert "tools" not in plain


@both
async def test_the_state_tells_the_whole_story_in_plain_values(make, how):
    metrics = ModelMetricsCollector()
    state = await run(
        create_tiered_graph(make(metrics=metrics)), how, context={"task_type": "thinking"}
    )
    told = {name: state[name] for name in ("estimate", "routing", "budget", "outcome")}
    assert json.loads(json.dumps(told)) == told
    assert told["estimate"]["recommended_tier"] == "light"
    assert told["routing"]["tier"] == told["outcome"]["tier"] == "heavy"
    record = metrics.find(told["outcome"]["run_id"]).record
    (attempt,) = record.attempts
    used = (told["outcome"]["input_tokens"], told["outcome"]["output_tokens"])
    assert used == (attempt.input_tokens, attempt.output_tokens)


@both
async def test_tools_are_called_until_there_is_an_answer(make, how, simulated_tiers):
    call = Answer(tool_calls=[{"name": "look", "args": {"what": "sky"}}])
    simulated_tiers.light.script(NAMES["light"], call, call, Answer(text="It is blue."))
    state = await run(create_tiered_graph(make(), tools=[look]), how)
    assert state["messages"][-1].text == "It is blue."
    assert [m.type for m in state["messages"]] == ["human", "ai", "tool", "ai", "tool", "ai"]


@both
async def test_a_fault_falls_back_inside_the_call(make, how, simulated_tiers):
    simulated_tiers.light.script(NAMES["light"], Fault.status(503))
    state = await run(create_tiered_graph(make()), how)
    assert (state["outcome"]["tier"], state["outcome"]["attempts"]) == ("standard", 2)


def test_it_is_made_for_every_read_without_connecting(clean_environment, monkeypatch):
    monkeypatch.setenv("TIERED_LLM_STORE", "redis://127.0.0.1:1/0")
    drawings = {create_tiered_graph().get_graph().draw_mermaid() for _ in range(3)}
    assert len(drawings) == 1


# --- a budget that is reached ---


@pytest.fixture
def budget():
    return BudgetManager(default_daily_limit=5_000)


@pytest.fixture
def asking(make, budget):
    """A graph whose tenant has used its budget up."""
    budget.record_usage(tenant_id="acme", model_tier="light", input_tokens=5_000, output_tokens=0)
    return create_tiered_graph(make(budget=budget, max_tokens=100), checkpointer=InMemorySaver())


def question(state):
    (asked,) = state["__interrupt__"]
    return asked.value


def limit(budget):
    return budget.usage("acme")["daily"].limit


@both
async def test_a_human_is_asked_in_plain_words_that_name_nobody(asking, how, simulated_tiers):
    asked = question(await run(asking, how, config=THREAD, context=ACME))
    assert json.loads(json.dumps(asked)) == asked
    assert (asked["rule"], asked["period"], asked["limit"]) == ("tenant", "daily", "5000")
    assert "acme" not in str(asked)
    assert not any(simulated_tiers.light.requests)


@both
async def test_raise_goes_on_and_raises_once(asking, how, budget):
    await run(asking, how, config=THREAD, context=ACME)
    state = await run(asking, how, Command(resume={"raise": 2_000}), THREAD, ACME)
    assert state["outcome"]["tier"] == "light"
    assert limit(budget) == 7_000
    usage = budget.usage("acme")["daily"]
    used = state["outcome"]["input_tokens"] + state["outcome"]["output_tokens"]
    assert (usage.used, usage.reserved) == (5_000 + used, 0)


@both
async def test_too_small_a_raise_asks_again_from_the_new_limit(asking, how, budget):
    await run(asking, how, config=THREAD, context=ACME)
    again = await run(asking, how, Command(resume={"raise": 1}), THREAD, ACME)
    assert question(again)["limit"] == "5001"
    state = await run(asking, how, Command(resume={"raise": 2_000}), THREAD, ACME)
    assert limit(budget) == 7_001
    assert state["outcome"]["tier"] == "light"


@both
async def test_a_raise_that_is_run_anew_changes_nothing(asking, how, budget):
    """As when the process dies between setting the limit and the checkpoint."""
    await run(asking, how, config=THREAD, context=ACME)
    before = asking.get_state(THREAD).config
    await run(asking, how, Command(resume={"raise": 2_000}), THREAD, ACME)
    await run(asking, how, Command(resume={"raise": 2_000}), before, ACME)
    assert limit(budget) == 7_000


@both
async def test_stop_ends_with_words_and_costs_nothing(asking, how, budget):
    await run(asking, how, config=THREAD, context=ACME)
    state = await run(asking, how, Command(resume="stop"), THREAD, ACME)
    last = state["messages"][-1]
    assert isinstance(last, AIMessage)
    assert last.response_metadata["budget_exceeded"] == "tenant/daily"
    assert budget.usage("acme")["daily"].charged == limit(budget) == 5_000


@both
async def test_light_goes_on_there_where_that_is_cheaper(make, how):
    rule = BudgetRule(name="cost", unit="cost_units", daily=2_000)
    model = make(budget=BudgetManager(rules=[rule]), max_tokens=100)
    graph = create_tiered_graph(model, checkpointer=InMemorySaver())
    who = {**ACME, "task_type": "thinking"}
    heavy = model.stages.endpoints["heavy"].spec
    assert heavy.cost_weight == 10
    long = {"messages": [("user", "word " * 40)]}
    asked = question(await run(graph, how, long, THREAD, who))
    assert asked["unit"] == "cost_units"
    state = await run(graph, how, Command(resume="light"), THREAD, who)
    assert state["outcome"]["tier"] == "light"


@both
async def test_an_answer_that_is_not_understood_is_asked_for_again(asking, how):
    await run(asking, how, config=THREAD, context=ACME)
    again = question(await run(asking, how, Command(resume="yes please"), THREAD, ACME))
    assert "was not understood" in again["note"]
    state = await run(asking, how, Command(resume="stop"), THREAD, ACME)
    assert "stopped" in state["messages"][-1].text


@both
async def test_whoever_is_not_to_be_asked_gets_the_error(make, how, budget):
    budget.record_usage(tenant_id="acme", model_tier="light", input_tokens=5_000, output_tokens=0)
    graph = create_tiered_graph(make(budget=budget), ask_human=False)
    with pytest.raises(BudgetExceededError):
        await run(graph, how, context=ACME)


@both
async def test_a_budget_that_others_use_meanwhile_asks_at_the_call(make, how, budget):
    model = make(budget=budget, max_tokens=100)
    graph = create_tiered_graph(model, checkpointer=InMemorySaver())
    graph.interrupt_before_nodes = ["call"]
    await run(graph, how, config=THREAD, context=ACME)
    budget.record_usage(tenant_id="acme", model_tier="light", input_tokens=5_000, output_tokens=0)
    graph.interrupt_before_nodes = []
    assert question(await run(graph, how, None, THREAD, ACME))["used"] == "5000"


# --- the answers ---


@pytest.mark.parametrize(
    ("answer", "choice"),
    [
        ("light", ("light", None)),
        ("stop", ("stop", None)),
        ({"raise": 5}, ("raise", Decimal(5))),
        ({"raise": "2.5"}, ("raise", Decimal("2.5"))),
    ],
)
def test_answers(answer, choice):
    assert choice_of(answer) == choice


@pytest.mark.parametrize(
    "answer",
    ["", None, True, 5, {"raise": 0}, {"raise": -1}, {"raise": "x"}, {"raise": float("inf")},
     {"raise": True}, {"raise": 1, "by": 2}, {"limit": 5}],
)  # fmt: skip
def test_what_is_no_answer_says_what_would_be(answer):
    with pytest.raises(ValueError, match="resume with"):
        choice_of(answer)


def test_a_raise_never_lowers_what_another_has_set():
    assert raised({"limit": "100"}, Decimal(10), Decimal(500)) == 500
    assert raised({"limit": "100"}, Decimal(10), Decimal(100)) == 110
    assert raised({"limit": "100"}, Decimal(10), None) == 110
