"""The ready graph: estimate → route → budget → call → record, each a node that can be seen.

```
START ─▶ estimate ─▶ route ─▶ budget ─▶ call ─▶ record ─▶ END
            ▲                  │  ▲       │       │
            │                  ▼  │       │       ▼
            │                  ask ◀──────┘     tools, if there are any
            └─────────────────────────────────────┘
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from tiered_llm.agents.graph_nodes import AskNode, BudgetNode, CallNode, EstimateNode, RecordNode
from tiered_llm.agents.nodes import create_routing_node
from tiered_llm.agents.state import TieredContext, TieredState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langgraph.graph.state import CompiledStateGraph

    from tiered_llm.chat_model import TieredChatModel


def create_tiered_graph(  # noqa: PLR0913  # each is one thing that a graph may set
    model: TieredChatModel | None = None,
    *,
    tools: Sequence[Any] = (),
    ask_human: bool = True,
    checkpointer: Any = None,
    store: Any = None,
    name: str = "tiered",
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """A graph that answers messages over the model's tiers, and shows each stage.

    ```python
    graph = create_tiered_graph(model, checkpointer=InMemorySaver())
    state = graph.invoke({"messages": [("user", "Hello")]}, config, context={"tenant_id": "acme"})
    state["routing"]["tier"]
    ```

    Where a budget has no room and `ask_human` is set, the graph stops with an interrupt; it is
    resumed with `Command(resume="light")`, `Command(resume={"raise": 100_000})` in the budget's
    unit, or `Command(resume="stop")`. A raise counts once, however often the graph is resumed.

    Its topology depends on the arguments alone, and nothing is connected before the first run: so
    a factory in `langgraph.json` may call it for every read.

    Args:
        model: The model; one of the settings, with their budget and decision log, if left out.
        tools: Tools to call in a loop until there is an answer.
        ask_human: Whether a reached budget asks; else `BudgetExceededError` is raised.
        checkpointer: LangGraph's; an interrupt needs one.
        store: LangGraph's.
        name: The graph's name.
    """
    chosen = _of_settings() if model is None else model
    asks = ask_human and chosen.budget is not None
    builder = StateGraph(TieredState, context_schema=TieredContext)
    builder.add_node("estimate", EstimateNode(chosen))
    builder.add_node("route", create_routing_node(chosen, tools=tools, estimate_key="estimate"))
    beyond = ("call", "ask") if asks else ("call",)
    builder.add_node("budget", BudgetNode(chosen, tools, asks=asks), destinations=beyond)
    after = ("record", "ask") if asks else ("record",)
    builder.add_node("call", CallNode(chosen, tools, asks=asks), destinations=after)
    builder.add_node("record", RecordNode(chosen))
    if asks:
        builder.add_node("ask", AskNode(chosen, tools), destinations=("budget", "ask", END))
    builder.add_edge(START, "estimate")
    builder.add_edge("estimate", "route")
    builder.add_edge("route", "budget")
    _end(builder, tools)
    return builder.compile(checkpointer=checkpointer, store=store, name=name)


def _end(builder: StateGraph[Any, Any, Any, Any], tools: Sequence[Any]) -> None:
    if not tools:
        builder.add_edge("record", END)
        return
    builder.add_node("tools", ToolNode(list(tools)))
    builder.add_conditional_edges("record", tools_condition, {"tools": "tools", END: END})
    builder.add_edge("tools", "estimate")


def _of_settings() -> TieredChatModel:
    from tiered_llm.budgets import BudgetManager
    from tiered_llm.chat_model import TieredChatModel
    from tiered_llm.metrics import ModelMetricsCollector

    return TieredChatModel.from_settings(
        budget=BudgetManager.from_settings(), metrics=ModelMetricsCollector.from_settings()
    )
