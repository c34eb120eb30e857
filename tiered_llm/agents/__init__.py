"""LangGraph nodes, a ready graph, and middleware for `create_agent`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tiered_llm.errors import ConfigurationError, Problem
from tiered_llm.types import AgentSpec

if TYPE_CHECKING:
    from tiered_llm.agents.budget_middleware import TieredBudgetMiddleware
    from tiered_llm.agents.graph import create_tiered_graph
    from tiered_llm.agents.nodes import create_model_node, create_routing_node, route_by_tier
    from tiered_llm.agents.routing_middleware import TieredRoutingMiddleware

_HOMES = {
    "TieredBudgetMiddleware": "budget_middleware",
    "TieredRoutingMiddleware": "routing_middleware",
    "create_model_node": "nodes",
    "create_routing_node": "nodes",
    "create_tiered_graph": "graph",
    "route_by_tier": "nodes",
}
"""Each name that is imported late, and its file."""

_OF_LANGCHAIN = frozenset({"budget_middleware", "routing_middleware"})

__all__ = [
    "AgentSpec",
    "TieredBudgetMiddleware",
    "TieredRoutingMiddleware",
    "create_model_node",
    "create_routing_node",
    "create_tiered_graph",
    "route_by_tier",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    home = _HOMES[name]
    try:
        return getattr(import_module(f"{__name__}.{home}"), name)
    except ModuleNotFoundError as error:
        if home not in _OF_LANGCHAIN or (error.name or "").partition(".")[0] != "langchain":
            raise
        wrong, right = f"{name} needs langchain", 'install "tiered-llm[agents]"'
        problem = Problem(source="environment", key="langchain", wrong=wrong, right=right)
        raise ConfigurationError([problem]) from error
