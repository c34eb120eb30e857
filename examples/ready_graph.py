"""The ready graph: what you see is each stage's say, then the answer, and a human asked at a limit.

    python examples/ready_graph.py

`langgraph dev` loads `make_graph` from `examples/langgraph.json`, for Studio and over HTTP.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from tiered_llm import BudgetManager, TieredChatModel
from tiered_llm.agents import create_tiered_graph

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph


async def make_graph() -> CompiledStateGraph[Any, Any, Any, Any]:
    """For `langgraph.json`: it is called for reads too, and connects nothing.

    Settings are read from files, which the server allows in a thread alone.
    """
    return await asyncio.to_thread(create_tiered_graph)


def main() -> None:
    """Ask twice: with room in the budget, and without."""
    model = TieredChatModel.from_settings(
        budget=BudgetManager(default_daily_limit=2_000), max_tokens=200
    )
    graph = create_tiered_graph(model, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1", "tenant_id": "acme"}}
    hello = {"messages": [("user", "Hello, who are you?")]}

    for step in graph.stream(hello, config, stream_mode="updates"):
        for node, update in step.items():
            print(f"{node:<9}", ", ".join(update or {}))

    question = graph.invoke({"messages": [("user", "word " * 400)]}, config)["__interrupt__"][0]
    print(f"asked     {question.value['used']} of {question.value['limit']} tokens are used")
    state = graph.invoke(Command(resume={"raise": 10_000}), config)
    print(f"answered  by {state['outcome']['tier']}")


if __name__ == "__main__":
    main()
