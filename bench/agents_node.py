"""What a routing node adds to a graph of one node, in one run.

A graph that calls the model in a node of a user's own, and one with `create_routing_node` before
it, timed in turns, over the same `TieredChatModel`. The tier is a fake in the process, so that the
graph's own work is what is timed; any real model is slower, and the ratio nearer to 1.

    python bench/agents_node.py [--json] [--rounds 25]

Exits with 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig  # noqa: TC002  # langgraph resolves it
from langgraph.graph import START, MessagesState, StateGraph
from overhead import Forgetful, Row, compare, line

from tiered_llm import TieredChatModel
from tiered_llm.agents import create_model_node, create_routing_node

if TYPE_CHECKING:
    from collections.abc import Callable

BOUND = 1.5


class State(MessagesState):
    """Messages, and where they went."""

    routing: dict[str, Any]


def plain_graph(model: TieredChatModel) -> Any:
    """One node, as a user writes it."""

    def call(state: State, config: RunnableConfig) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"], config)]}

    builder = StateGraph(State)
    builder.add_node("call", call)
    builder.add_edge(START, "call")
    return builder.compile()


def routed_graph(model: TieredChatModel) -> Any:
    """The same, with the decision in a node before."""
    builder = StateGraph(State)
    builder.add_node("route", create_routing_node(model))
    builder.add_node("call", create_model_node(model))
    builder.add_edge(START, "route")
    builder.add_edge("route", "call")
    return builder.compile()


def measure(rounds: int) -> list[Row]:
    """All rows."""
    model = TieredChatModel(light=Forgetful(text="hi"))
    graphs = (plain_graph(model), routed_graph(model))
    loop = asyncio.new_event_loop()
    run = loop.run_until_complete
    given = {"messages": [("user", "hello")]}

    def both(call: Callable[[Any], Any]) -> Any:
        return tuple((lambda graph=graph: call(graph)) for graph in graphs)

    rows = [
        compare("invoke", both(lambda g: g.invoke(given)), BOUND, rounds),
        compare("ainvoke", both(lambda g: run(g.ainvoke(given))), BOUND, rounds),
    ]
    loop.close()
    return rows


def main() -> int:
    """Measure, print, and tell whether every bound was kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=25, help="timed rounds")
    given = parser.parse_args()
    gc.freeze()
    rows = measure(given.rounds)
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        print(f"{'':20} {'without':>12} {'with':>12}")
        for row in rows:
            print(line(row))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
