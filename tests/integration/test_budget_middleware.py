"""A refused call and those who ask again: LangChain's middleware, LangGraph's nodes, runnables.

However often they ask, nothing is sent. Some of them know by `is_retryable` that it is in vain;
the others take any exception for one that may pass, and must be told.
"""

from __future__ import annotations

import asyncio

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, ModelRetryMiddleware
from langchain_ollama import ChatOllama
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import RetryPolicy
from wiring import to

from tiered_llm import AllTiersFailedError
from tiered_llm.budgets import BudgetCallbackHandler, BudgetExceededError, BudgetManager

ASKED = {"messages": [("user", "hello")]}
TIMES = 3
AT_ONCE = {"initial_interval": 0.001, "max_interval": 0.001, "jitter": False}


@pytest.fixture
def budget():
    """Without room for any call."""
    budget = BudgetManager(100_000)
    budget.set_limit("acme", "daily", 10)
    return budget


@pytest.fixture
def refused(wired, budget):
    """A tiered model whose tenant has nothing left."""
    return wired(budget=budget, tenant_id="acme")


@pytest.fixture
def held(at, budget):
    """A foreign model with the handler, whose tenant has nothing left."""
    server, name = at("light")
    handler = BudgetCallbackHandler(budget, tenant_id="acme")
    return ChatOllama(model=name, base_url=server.url, callbacks=[handler])


@pytest.fixture
def foreign(at):
    """A model that nobody holds to a budget."""
    server, name = at("standard")
    return ChatOllama(model=name, base_url=server.url)


@pytest.fixture(params=["refused", "held"])
def model(request):
    """Each of the two that refuse."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def sent(bodies):
    return lambda: [len(bodies(tier)) for tier in ("light", "standard", "heavy")]


DOORS = {
    "invoke": lambda asked, given: asked.invoke(given),
    "ainvoke": lambda asked, given: asyncio.run(asked.ainvoke(given)),
}


@pytest.fixture(params=DOORS)
def ask(request):
    return DOORS[request.param]


class Counting:
    """Counts how often a ledger in memory is asked for room, on the event loop as well."""

    def __init__(self, ledger, monkeypatch):
        self.asked, self._reserve = 0, ledger.reserve
        monkeypatch.setattr(ledger, "reserve", self._counted)

    def _counted(self, ask):
        self.asked += 1
        return self._reserve(ask)


@pytest.fixture
def counting(budget, monkeypatch):
    """The real ledger, and a count of what it is asked."""
    return Counting(budget.ledger, monkeypatch)


def agent_of(model, *middleware):
    return create_agent(model, [], middleware=middleware)


def test_retry_middleware_asks_once(model, ask, sent, counting):
    retry = ModelRetryMiddleware(max_retries=TIMES, initial_delay=0.0)
    with pytest.raises(BudgetExceededError):
        ask(agent_of(model, retry), ASKED)
    assert (counting.asked, sent()) == (1, [0, 0, 0])


def test_retry_middleware_that_goes_on_does_not_make_an_answer_of_it(model, ask, sent, counting):
    retry = ModelRetryMiddleware(max_retries=TIMES, initial_delay=0.0, on_failure="continue")
    with pytest.raises(BudgetExceededError):
        ask(agent_of(model, retry), ASKED)
    assert (counting.asked, sent()) == (1, [0, 0, 0])


def test_fallback_middleware_to_models_of_the_same_budget_ends_with_its_error(
    refused, held, ask, sent, counting
):
    with pytest.raises(BudgetExceededError):
        ask(agent_of(refused, ModelFallbackMiddleware(held, refused)), ASKED)
    assert (counting.asked, sent()) == (3, [0, 0, 0])


def test_fallback_middleware_takes_any_error_for_a_reason_to_ask_a_model_without_a_budget(
    refused, foreign, ask, sent, budget
):
    """LangChain's choice, which an error's class cannot change: give the fallback a handler."""
    answer = ask(agent_of(refused, ModelFallbackMiddleware(foreign)), ASKED)
    assert answer["messages"][-1].content
    assert sent() == [0, 1, 0]
    assert budget.usage("acme")["daily"].used == 0


def graph_of(model, policy):
    def node(state):
        return {"messages": [model.invoke(state["messages"])]}

    async def anode(state):
        return {"messages": [await model.ainvoke(state["messages"])]}

    def build(which):
        graph = StateGraph(MessagesState)
        graph.add_node("model", which, retry_policy=policy)
        graph.add_edge(START, "model")
        graph.add_edge("model", END)
        return graph.compile()

    return {"invoke": build(node), "ainvoke": build(anode)}


def is_worth_it(error):
    """For those who take a function: what LangChain's own retry middleware goes by."""
    return getattr(error, "is_retryable", True)


@pytest.fixture(params=DOORS)
def run_graph(request):
    return lambda graphs: DOORS[request.param](graphs[request.param], ASKED)


def test_a_nodes_retry_policy_that_looks_at_the_error_asks_once(model, run_graph, sent, counting):
    policy = RetryPolicy(max_attempts=TIMES, retry_on=is_worth_it, **AT_ONCE)
    with pytest.raises(BudgetExceededError):
        run_graph(graph_of(model, policy))
    assert (counting.asked, sent()) == (1, [0, 0, 0])


def test_a_nodes_default_retry_policy_asks_once(model, run_graph, sent, counting):
    with pytest.raises(BudgetExceededError):
        run_graph(graph_of(model, RetryPolicy(max_attempts=TIMES, **AT_ONCE)))
    assert (counting.asked, sent()) == (1, [0, 0, 0])


def with_retry(model, **more):
    return model.with_retry(stop_after_attempt=TIMES, wait_exponential_jitter=False, **more)


def test_with_retry_that_looks_at_the_error_asks_once(model, ask, sent, counting):
    with pytest.raises(BudgetExceededError):
        ask(with_retry(model, retry_if_exception_type=is_worth_it), "hello")
    assert (counting.asked, sent()) == (1, [0, 0, 0])


def test_with_retry_by_default_asks_in_vain(model, ask, sent, counting):
    with pytest.raises(BudgetExceededError):
        ask(with_retry(model), "hello")
    assert (counting.asked, sent()) == (TIMES, [0, 0, 0])


def test_with_fallbacks_by_default_falls_back_to_a_model_without_a_budget(
    model, foreign, ask, sent
):
    assert ask(model.with_fallbacks([foreign]), "hello").content
    assert sent() == [0, 1, 0]


def test_with_fallbacks_for_tiers_that_failed_does_not_take_a_refusal(model, foreign, ask, sent):
    safe = model.with_fallbacks([foreign], exceptions_to_handle=(AllTiersFailedError,))
    with pytest.raises(BudgetExceededError):
        ask(safe, "hello")
    assert sent() == [0, 0, 0]


def test_a_refusal_is_not_retried_by_the_chain_of_tiers(refused, ask, sent, counting):
    with pytest.raises(BudgetExceededError):
        ask(refused.with_config(to("light")), "hello")
    assert (counting.asked, sent()) == (1, [0, 0, 0])
