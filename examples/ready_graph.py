"""The ready graph: estimate, route, budget, call, record, each a node that can be seen.

You will see what each stage writes into the state, then the drawing that Studio shows.
`langgraph dev` loads `make_graph` from `examples/langgraph.json`.

    python examples/ready_graph.py
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tiered_llm import TieredChatModel
from tiered_llm.agents import create_tiered_graph

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph


async def make_graph() -> CompiledStateGraph[Any, Any, Any, Any]:
    """For `langgraph.json`: it is called for reads too, and connects nothing.

    Settings are read from files, which the server allows in a thread alone.
    """
    return await asyncio.to_thread(create_tiered_graph)


def main() -> None:
    """Send one request through, stage by stage."""
    graph = create_tiered_graph(TieredChatModel.from_settings())
    hello = {"messages": [("user", "Hello, who are you?")]}
    for step in graph.stream(hello, stream_mode="updates"):
        for node, update in step.items():
            print(f"{node:<9}{', '.join(update or {}) or '-'}")
    print(graph.get_graph().draw_mermaid())


if __name__ == "__main__":
    main()
