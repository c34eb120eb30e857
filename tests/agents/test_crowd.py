"""A hundred threads of twenty steps each, thirty-two at a time, with faults: nobody sees another's
decision, and the budget holds."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from tiered_llm import BudgetManager, ModelMetricsCollector, TieredChatModel, get_settings
from tiered_llm.agents import TieredBudgetMiddleware, TieredRoutingMiddleware
from tiered_llm.fallback import Health
from tiered_llm.testing import Answer, Fault

THREADS, STEPS, AT_ONCE = 100, 20, 32
LIMIT = 60_000
NAMES = {"light": "qwen2.5:7b", "standard": "qwen2.5:32b", "heavy": "qwen2.5:72b"}
TASKS = {"simple_qa": "light", "agent_execution": "standard", "thinking": "heavy"}


@tool
def look(what: str) -> str:
    """Look at something."""
    return f"{what} is there"


class Servers:
    """Each thread's requests ask for a tool until its last step; every fiftieth fails."""

    def __init__(self, servers):
        self._requests = itertools.count(1)
        for tier, name in NAMES.items():
            getattr(servers, tier).always(name, self._serve)

    def _serve(self, request):
        if next(self._requests) % 50 == 0:
            return Fault.status(503)
        steps = sum(message.role == "assistant" for message in request.messages) + 1
        if steps == STEPS:
            return Answer(text="done")
        thread = request.messages[0].text
        return Answer(tool_calls=[{"name": "look", "args": {"what": thread}}])


@pytest.fixture
def make(simulated_tiers, clean_environment):
    Servers(simulated_tiers)
    return partial(made, simulated_tiers)


def made(servers, limit, *around):
    """An agent held to a daily limit for each tenant, and who keeps the books."""
    specs = {tier.value: spec for tier, spec in servers.specs.items()}
    budget, metrics = BudgetManager(default_daily_limit=limit), ModelMetricsCollector()
    tireless = {"wait_s": 0.0, "retry_share": 1.0, "retry_reserve": 1_000}
    model = TieredChatModel(
        **specs,
        budget=budget,
        metrics=metrics,
        health=Health(),
        settings=get_settings(fallback=tireless, breaker={"enabled": False}),
        max_tokens=200,
    )
    middleware = [TieredRoutingMiddleware(), *around]
    agent = create_agent(model, [look], middleware=middleware, checkpointer=InMemorySaver())
    return agent, budget, metrics


async def crowd(graph):
    """The state of each thread at its end."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number):
        task = task_of(number)
        who = {"thread_id": f"t{number}", "tenant_id": f"tenant{number % 7}", "task_type": task}
        given = {"messages": [("user", f"thread {number}")]}
        async with places:
            return await graph.ainvoke(given, {"configurable": who, "recursion_limit": 100})

    return await asyncio.gather(*(one(number) for number in range(THREADS)))


def task_of(number):
    return list(TASKS)[number % len(TASKS)]


async def test_a_crowd(make):
    graph, budget, metrics = make(10**9)
    states = await crowd(graph)
    records = {entry.record.run_id: entry.record for entry in metrics.recent(10_000)}
    assert len(records) == THREADS * STEPS
    for number, state in enumerate(states):
        check_thread(number, state, records, STEPS)
    check_books(budget, records.values())
    faults = sum(each.fault is not None for record in records.values() for each in record.attempts)
    assert faults > THREADS * STEPS // 60


async def test_a_crowd_whose_budgets_run_out(make):
    """Who is refused ends with words; who was answered before has its own answers."""
    graph, budget, metrics = make(LIMIT, TieredBudgetMiddleware(on_exceeded="end"))
    states = await crowd(graph)
    records = {entry.record.run_id: entry.record for entry in metrics.recent(10_000)}
    answered = {name: record for name, record in records.items() if record.answered}
    ended = 0
    for number, state in enumerate(states):
        last = state["messages"][-1]
        stopped = "budget_exceeded" in last.response_metadata
        ended += stopped
        assert stopped == ("budget is used up" in last.text)
        given = state if not stopped else {**state, "messages": state["messages"][:-1]}
        check_thread(number, given, answered, None if stopped else STEPS)
    assert 0 < ended < THREADS
    check_books(budget, records.values())
    for tenant in {record.tenant_id for record in records.values()}:
        assert LIMIT // 2 < budget.usage(tenant)["daily"].charged <= LIMIT


def check_thread(number, state, records, steps):
    """Every answer is the thread's own, and so is its record; only fallbacks leave the tier."""
    answers = [m for m in state["messages"] if isinstance(m, AIMessage)]
    assert len(answers) == steps or (steps is None and len(answers) < STEPS)
    for answer in answers:
        routing = answer.response_metadata["routing"]
        record = records[routing["run_id"]]
        assert record.thread_id == f"t{number}"
        assert record.tenant_id == f"tenant{number % 7}"
        assert record.answered == routing["tier"]
        moved = routing["tier"] != routing["decided_tier"]
        assert moved == (len(record.attempts) > 1)
    whats = {call["args"]["what"] for answer in answers for call in answer.tool_calls}
    assert whats <= {f"thread {number}"}
    if answers:
        first = answers[0].response_metadata["routing"]
        assert first["decided_tier"] == TASKS[task_of(number)]
    if steps:
        assert state["routing"] == answers[-1].response_metadata["routing"]


def check_books(budget, records):
    """The ledger holds what the records say, tenant by tenant, and nothing is under way."""
    for tenant in {record.tenant_id for record in records}:
        usage = budget.usage(tenant)["daily"]
        charged = sum(
            attempt.charged_tokens
            for record in records
            if record.tenant_id == tenant
            for attempt in record.attempts
        )
        assert (usage.charged, usage.reserved) == (charged, 0)
