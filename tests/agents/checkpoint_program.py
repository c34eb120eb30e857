"""An agent on a checkpointer, in a process that a tool may kill between two steps.

    checkpoint_program.py SAVER MARKER BUDGETS LIGHT STANDARD HEAVY begin|resume

The tool kills the process the first time that it runs, before its result is there. The task, by
which the turn was routed, is known to the first run alone. Prints the last state as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from pydantic import SecretStr

from tiered_llm import BudgetManager, TieredChatModel
from tiered_llm.agents import create_tiered_graph
from tiered_llm.settings import DEFAULT_SPECS

THREAD = {"configurable": {"thread_id": "1", "tenant_id": "acme"}}


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


def main():
    saver, marker, budgets, *urls, phase = sys.argv[1:]

    @tool
    def look(what: str) -> str:
        """Look at something."""
        if not Path(marker).exists():
            Path(marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return f"{what} is blue"

    tiers = {
        tier.value: spec.model_copy(update={"base_url": url, "api_key": SecretStr("sk-canary")})
        for (tier, spec), url in zip(DEFAULT_SPECS.items(), urls, strict=True)
    }
    budget = BudgetManager(default_daily_limit=1_000_000, store=budgets)
    model = TieredChatModel(**tiers, budget=budget, max_tokens=100)
    with saver_of(saver) as checkpointer:
        graph = create_tiered_graph(model, tools=[look], checkpointer=checkpointer)
        given = {"messages": [("user", "hello")]} if phase == "begin" else None
        context = {"task_type": "thinking"} if phase == "begin" else None
        graph.invoke(given, THREAD, context=context, durability="sync")
        print(json.dumps(told(graph, budget)))  # noqa: T201


def told(graph, budget):
    """The state as a checkpointer gives it back, and the ledger."""
    state = graph.get_state(THREAD).values
    usage = budget.usage("acme")["daily"]
    return {
        "types": [message.type for message in state["messages"]],
        "kinds": sorted({type(message).__module__ for message in state["messages"]}),
        "tiers": [
            message.response_metadata["routing"]["tier"]
            for message in state["messages"]
            if message.type == "ai"
        ],
        "usage": sum(
            message.usage_metadata["total_tokens"]
            for message in state["messages"]
            if message.type == "ai"
        ),
        "routing": state["routing"],
        "estimate": state["estimate"],
        "outcome": state["outcome"],
        "used": int(usage.used),
        "reserved": int(usage.reserved),
        "orphaned": int(usage.orphaned),
    }


if __name__ == "__main__":
    main()
