"""A human in the loop of a budget: asked when it is reached, and the graph goes on as they say.

You will see a conversation that uses its budget up; the question that a human gets; how the graph
goes on after "raise by 10,000"; and how another one ends after "stop".

    python examples/human_budget.py
"""

from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from tiered_llm import BudgetManager, TieredChatModel
from tiered_llm.agents import create_tiered_graph

LONG = {"messages": [("user", "Summarize this: " + "word " * 400)]}


def ask(graph: Any, thread: str, tenant: str) -> dict[str, Any]:
    """Go on with the thread until the budget asks."""
    config = {"configurable": {"thread_id": thread, "tenant_id": tenant}}
    while "__interrupt__" not in (state := graph.invoke(LONG, config)):
        print(f"{tenant}: answered by {state['outcome']['tier']}")
    question = state["__interrupt__"][0].value
    print(f"{tenant}: {question['period']} budget of {question['limit']} tokens is reached")
    return config


def main() -> None:
    """Two tenants, two answers."""
    budget = BudgetManager(default_daily_limit=6_000)
    model = TieredChatModel.from_settings(budget=budget, max_tokens=200)
    graph = create_tiered_graph(model, checkpointer=InMemorySaver())

    config = ask(graph, "1", "acme")
    state = graph.invoke(Command(resume={"raise": 10_000}), config)
    limit = budget.usage("acme")["daily"].limit
    print(f"acme: raised to {limit}, {state['outcome']['tier']} answered")

    config = ask(graph, "2", "globex")
    state = graph.invoke(Command(resume="stop"), config)
    print(f"globex: {state['messages'][-1].text}")


if __name__ == "__main__":
    main()
