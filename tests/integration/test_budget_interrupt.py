"""A budget of the mode `interrupt`, in real graphs: a human is asked, and the graph goes on."""

from __future__ import annotations

import json
from operator import add
from typing import Annotated, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from wiring import to

from tiered_llm.budgets import BudgetExceededError, BudgetManager, BudgetRule

THREAD = {"configurable": {"thread_id": "1"}}


class State(TypedDict):
    said: Annotated[list[str], add]


@pytest.fixture
def budget():
    return BudgetManager(rules=[BudgetRule(name="team", daily=10_000, mode="interrupt")])


@pytest.fixture
def model(wired, budget):
    return wired(budget=budget, tenant_id="acme")


def spend_all(budget):
    budget.reserve("acme", "light", 10_000, 0, least=0).settle(10_000, 0)


def graph(node):
    built = StateGraph(State)
    built.add_node("ask", node)
    built.add_edge(START, "ask")
    built.add_edge("ask", END)
    return built.compile(checkpointer=InMemorySaver())


def invoking(model):
    return lambda state: {"said": [model.invoke("hello", to("light")).text]}


def ainvoking(model):
    async def node(state):
        return {"said": [(await model.ainvoke("hello", to("light"))).text]}

    return node


def streaming(model):
    return lambda state: {"said": ["".join(c.text for c in model.stream("hello", to("light")))]}


def astreaming(model):
    async def node(state):
        return {"said": ["".join([c.text async for c in model.astream("hello", to("light"))])]}

    return node


@pytest.mark.parametrize("node", [invoking, ainvoking, streaming, astreaming])
async def test_the_graph_stops_and_goes_on_with_the_limit_that_a_human_sets(
    node, model, budget, at
):
    spend_all(budget)
    app = graph(node(model))
    stopped = await app.ainvoke({"said": []}, THREAD)
    [question] = stopped["__interrupt__"]
    assert question.value["type"] == "tiered_llm.budget_exceeded"
    assert question.value["rule"], question.value["period"] == ("team", "daily")
    assert question.value["limit"] == "10000"
    assert json.loads(json.dumps(question.value)) == question.value
    assert "acme" not in str(question.value)
    assert at("light")[0].requests == []
    done = await app.ainvoke(Command(resume={"limit": 20_000}), THREAD)
    assert len(done["said"]) == 1
    assert len(at("light")[0].requests) == 1
    day = budget.usage("acme")["daily"]
    assert (day.limit, day.reserved) == (20_000, 0)


def test_an_answer_counts_once_though_the_node_is_run_again(model, budget, at):
    """A second interrupt of the same node runs it from its beginning, with the first answer."""

    def node(state):
        first = model.invoke("hello", to("light")).text
        if len(at("light")[0].requests) == 1:
            budget.record_usage("acme", "light", 9_900, 0)
        return {"said": [first, model.invoke("hello again", to("light")).text]}

    spend_all(budget)
    app = graph(node)
    assert "__interrupt__" in app.invoke({"said": []}, THREAD)
    again = app.invoke(Command(resume={"limit": 20_000}), THREAD)
    assert again["__interrupt__"][0].value["limit"] == "20000"
    done = app.invoke(Command(resume={"limit": 50_000}), THREAD)
    assert len(done["said"]) == 2
    assert budget.usage("acme")["daily"].limit == 50_000


def test_too_small_a_limit_is_asked_about_again(model, budget):
    spend_all(budget)
    app = graph(invoking(model))
    app.invoke({"said": []}, THREAD)
    again = app.invoke(Command(resume=10_050), THREAD)
    assert again["__interrupt__"][0].value["limit"] == "10050"
    assert app.invoke(Command(resume=30_000), THREAD)["said"]


@pytest.mark.parametrize("answer", ["stop", False])
def test_a_human_may_refuse(model, budget, answer):
    spend_all(budget)
    app = graph(invoking(model))
    app.invoke({"said": []}, THREAD)
    with pytest.raises(BudgetExceededError) as caught:
        app.invoke(Command(resume=answer), THREAD)
    assert "not understood" not in "".join(getattr(caught.value, "__notes__", []))


@pytest.mark.parametrize("answer", ["more", {"by": 5}, True, -1, "NaN", [1]])
def test_an_answer_that_is_none_refuses_and_says_what_would_be_right(model, budget, answer):
    spend_all(budget)
    app = graph(invoking(model))
    app.invoke({"said": []}, THREAD)
    with pytest.raises(BudgetExceededError) as caught:
        app.invoke(Command(resume=answer), THREAD)
    assert "not understood: resume the graph with" in caught.value.__notes__[0]


def test_outside_a_graph_it_refuses(model, budget):
    spend_all(budget)
    with pytest.raises(BudgetExceededError):
        model.invoke("hello", to("light"))


def test_other_modes_do_not_ask(wired):
    budget = BudgetManager(10_000)
    spend_all(budget)
    app = graph(invoking(wired(budget=budget, tenant_id="acme")))
    with pytest.raises(BudgetExceededError):
        app.invoke({"said": []}, THREAD)
