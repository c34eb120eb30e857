"""The ready graph over the simulator: its nodes, its tools, and its question about a budget."""

from __future__ import annotations

import json
from decimal import Decimal
from operator import add
from typing import Annotated, TypedDict

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send

from tiered_llm import (
    BudgetExceededError,
    BudgetManager,
    BudgetRule,
    ModelMetricsCollector,
    TieredChatModel,
    get_settings,
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
    assert not state["budget"]


@both
async def test_of_two_answers_the_one_that_was_understood_counts(asking, how, budget):
    await run(asking, how, config=THREAD, context=ACME)
    for nonsense in ("perhaps", {"raise": 10**16}, {"raise": 10**15}):
        again = question(await run(asking, how, Command(resume=nonsense), THREAD, ACME))
        assert again["note"]
        assert again["limit"] == "5000"
    state = await run(asking, how, Command(resume={"raise": 2_000}), THREAD, ACME)
    assert limit(budget) == 7_000
    assert state["outcome"]["tier"] == "light"
    assert not state["budget"]


@both
@pytest.mark.parametrize("answer", [{"raise": 2_000}, "light", "stop"], ids=str)
async def test_an_answer_counts_for_whom_it_was_asked(asking, how, budget, answer):
    """A caller that resumes without its tenant raises nobody else's limit, and pays from none."""
    await run(asking, how, config=THREAD, context=ACME)
    for other in (None, {"tenant_id": "globex"}, {**ACME, "user_id": "ada"}):
        again = question(await run(asking, how, Command(resume=answer), THREAD, other))
        assert "resume with the tenant" in again["note"]
        assert "acme" not in str(again)
    for tenant in ("acme", "globex", None):
        assert budget.usage(tenant)["daily"].limit == 5_000
        assert budget.usage(tenant)["daily"].charged == (5_000 if tenant == "acme" else 0)
    state = await run(asking, how, Command(resume={"raise": 3_000}), THREAD, ACME)
    assert state["outcome"]["tier"] == "light"
    assert limit(budget) == 8_000


@both
async def test_light_where_light_may_not_answer_is_asked_for_again(make, how):
    rule = BudgetRule(name="cost", unit="cost_units", daily=2_000)
    model = make(budget=BudgetManager(rules=[rule]), max_tokens=100)
    graph = create_tiered_graph(model, checkpointer=InMemorySaver())
    who = {**ACME, "agent_spec": {"name": "auditor", "lowest_tier": "heavy"}}
    long = {"messages": [("user", "word " * 40)]}
    await run(graph, how, long, THREAD, who)
    again = question(await run(graph, how, Command(resume="light"), THREAD, who))
    assert "below the agent's lowest tier" in again["note"]
    state = await run(graph, how, Command(resume={"raise": 10_000}), THREAD, who)
    assert state["outcome"]["tier"] == "heavy"


@both
@pytest.mark.parametrize("by", [(), ("user",), ("agent",), ("user", "agent")], ids=str)
async def test_a_raise_reaches_whoever_a_rule_counts(make, how, by):
    budget = BudgetManager(rules=[BudgetRule(name="each", daily=200, by=by)])
    model = make(budget=budget, max_tokens=100)
    graph = create_tiered_graph(model, checkpointer=InMemorySaver())
    who = {**ACME, "user_id": "ada", "agent_spec": {"name": "clerk"}}
    asked = question(await run(graph, how, config=THREAD, context=who))
    assert (asked["rule"], asked["limit"]) == ("each", "200")
    state = await run(graph, how, Command(resume={"raise": 5_000}), THREAD, who)
    assert state["outcome"]["tier"] == "light"


@both
async def test_a_rule_that_asks_by_itself_is_answered_in_its_own_words(make, how):
    budget = BudgetManager(rules=[BudgetRule(name="team", daily=200, mode="interrupt")])
    model = make(budget=budget, max_tokens=100)
    graph = create_tiered_graph(model, checkpointer=InMemorySaver())
    asked = question(await run(graph, how, config=THREAD, context=ACME))
    assert "{'limit': N}" in asked["how_to_answer"]
    state = await run(graph, how, Command(resume={"limit": 5_000}), THREAD, ACME)
    assert state["outcome"]["tier"] == "light"
    assert budget.usage("acme")["daily"].limit == 5_000


@both
async def test_several_at_once_are_asked_and_answered_one_by_one(make, how, budget):
    """A fan-out over the ready graph: each question has an id, and an answer of its own."""

    class Batch(TypedDict):
        answers: Annotated[list[str], add]

    model = make(budget=budget, max_tokens=100)
    budget.record_usage(tenant_id="acme", model_tier="light", input_tokens=5_000, output_tokens=0)
    graph = create_tiered_graph(model)

    def said(state):
        return {"answers": [state["messages"][-1].response_metadata.get("budget_exceeded", "said")]}

    def one(state, config):
        return said(graph.invoke(state, config))

    async def aone(state, config):
        return said(await graph.ainvoke(state, config))

    builder = StateGraph(Batch)
    builder.add_node("one", RunnableLambda(one, aone))
    builder.add_conditional_edges(START, lambda _: [Send("one", HELLO) for _ in range(2)])
    outer = builder.compile(checkpointer=InMemorySaver())
    config = {"configurable": {**THREAD["configurable"], **ACME}}
    first, second = (await run(outer, how, {"answers": []}, config))["__interrupt__"]
    answers = {first.id: "stop", second.id: {"raise": 2_000}}
    state = await run(outer, how, Command(resume=answers), config)
    assert sorted(state["answers"]) == ["said", "tenant/daily"]
    assert limit(budget) == 7_000


@both
async def test_whoever_is_not_to_be_asked_gets_the_error(make, how, budget):
    budget.record_usage(tenant_id="acme", model_tier="light", input_tokens=5_000, output_tokens=0)
    graph = create_tiered_graph(make(budget=budget), ask_human=False)
    with pytest.raises(BudgetExceededError):
        await run(graph, how, context=ACME)


@both
async def test_a_checkpoint_of_other_settings_is_decided_anew(make, how, budget):
    saver, long = InMemorySaver(), {"messages": [("user", "word " * 40)]}
    before = create_tiered_graph(make(budget=budget, max_tokens=100), checkpointer=saver)
    before.interrupt_before_nodes = ["budget"]
    await run(before, how, long, THREAD, {**ACME, "task_type": "thinking"})
    settings = get_settings(complexity={"light_below": 0.1, "heavy_from": 0.2})
    after = make(budget=budget, max_tokens=100, settings=settings)
    state = await run(create_tiered_graph(after, checkpointer=saver), how, None, THREAD, ACME)
    assert state["outcome"]["tier"] == "standard"
    assert state["routing"]["policy_version"] == after.stages.router.policy_version


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
    asked = {"rule": "tenant", "period": "daily", "limit": "100"}
    budget = BudgetManager(default_daily_limit=100)
    assert raised(asked, Decimal(10), budget.usage("acme")) == 110
    budget.set_limit("acme", "daily", 500)
    assert raised(asked, Decimal(10), budget.usage("acme")) is None
    assert raised({**asked, "rule": "of one tier"}, Decimal(10), budget.usage("acme")) == 110
