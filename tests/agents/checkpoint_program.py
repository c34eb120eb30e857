"""An agent on a checkpointer, in a process that a tool may kill between two steps.

    checkpoint_program.py KIND HOW SAVER MARKER BUDGETS LIGHT STANDARD HEAVY begin|resume

The tool kills the process the first time that it runs, before its result is there. The task, by
which the turn was routed, is known to the first run alone. Prints the last state as JSON; what a
checkpointer in memory holds is dumped beside the marker.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from pydantic import SecretStr

from tiered_llm import BudgetManager, TieredChatModel
from tiered_llm.agents import (
    AgentSpec,
    TieredBudgetMiddleware,
    TieredRoutingMiddleware,
    create_tiered_graph,
)
from tiered_llm.settings import DEFAULT_SPECS

KIND, HOW, SAVER, MARKER, BUDGETS, *URLS, PHASE = sys.argv[1:]
THREAD = {"configurable": {"thread_id": "1", "tenant_id": "acme"}}
BEGIN = {"configurable": {**THREAD["configurable"], "task_type": "thinking"}}


@contextmanager
def saver_of(url):
    if url == "memory":
        yield InMemorySaver()
    elif url.startswith("postgres"):
        with PostgresSaver.from_conn_string(url) as saver:
            saver.setup()
            yield saver
    else:
        with SqliteSaver.from_conn_string(url) as saver:
            yield saver


@asynccontextmanager
async def asaver_of(url):
    if url == "memory":
        yield InMemorySaver()
    elif url.startswith("postgres"):
        async with AsyncPostgresSaver.from_conn_string(url) as saver:
            await saver.setup()
            yield saver
    else:
        async with AsyncSqliteSaver.from_conn_string(url) as saver:
            yield saver


@tool
def look(what: str) -> str:
    """Look at something."""
    if not Path(MARKER).exists():
        Path(MARKER).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return f"{what} is blue"


def make_model():
    tiers = {
        tier.value: spec.model_copy(update={"base_url": url, "api_key": SecretStr("sk-canary")})
        for (tier, spec), url in zip(DEFAULT_SPECS.items(), URLS, strict=True)
    }
    budget = BudgetManager(default_daily_limit=1_000_000, store=BUDGETS)
    return TieredChatModel(**tiers, budget=budget, max_tokens=100)


def graph_of(model, saver):
    if KIND == "graph":
        return create_tiered_graph(model, tools=[look], checkpointer=saver)
    routing = TieredRoutingMiddleware(model, spec=AgentSpec(name="clerk"))
    middleware = [TieredBudgetMiddleware(on_exceeded="end"), routing]
    return create_agent(model, [look], middleware=middleware, checkpointer=saver)


def run():
    model = make_model()
    with saver_of(SAVER) as saver:
        graph = graph_of(model, saver)
        graph.invoke(*given(), durability="sync")
        tell(graph.get_state(THREAD).values, model.budget, saver)


async def arun():
    model = make_model()
    async with asaver_of(SAVER) as saver:
        graph = graph_of(model, saver)
        await graph.ainvoke(*given(), durability="sync")
        tell((await graph.aget_state(THREAD)).values, model.budget, saver)


def given():
    """What the first run is given; who resumes does not know the task."""
    return ({"messages": [("user", "hello")]}, BEGIN) if PHASE == "begin" else (None, THREAD)


def tell(state, budget, saver):
    """The state as a checkpointer gives it back, and the ledger."""
    usage = budget.usage("acme")["daily"]
    answers = [message for message in state["messages"] if message.type == "ai"]
    told = {
        "types": [message.type for message in state["messages"]],
        "kinds": sorted({type(message).__module__ for message in state["messages"]}),
        "tiers": [message.response_metadata["routing"]["tier"] for message in answers],
        "usage": sum(message.usage_metadata["total_tokens"] for message in answers),
        "routing": state["routing"],
        "estimate": state.get("estimate"),
        "used": int(usage.used),
        "reserved": int(usage.reserved),
        "orphaned": int(usage.orphaned),
    }
    if SAVER == "memory":
        kept = repr((saver.storage, saver.blobs, saver.writes))
        Path(MARKER).with_suffix(".memory").write_text(kept)
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    if HOW == "sync":
        run()
    else:
        asyncio.run(arun())
