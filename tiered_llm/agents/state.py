"""The state of the ready graph: messages, and plain values that every checkpointer keeps."""

from __future__ import annotations

from typing import Any, NotRequired

from langgraph.graph import MessagesState
from typing_extensions import TypedDict


class TieredState(MessagesState):
    """What the ready graph knows of a request on its way.

    Attributes:
        estimate: How hard it seems: `score`, `factors`, `recommended_tier`, `words`.
        routing: Where it goes and why; after the call, as it turned out.
        budget: What a budget refused, while a human is asked; empty otherwise.
        outcome: What came of the call: the tier, its tokens, the run's id.
    """

    estimate: NotRequired[dict[str, Any]]
    routing: NotRequired[dict[str, Any]]
    budget: NotRequired[dict[str, Any]]
    outcome: NotRequired[dict[str, Any]]


class TieredContext(TypedDict, total=False):
    """What a caller may say of a run, as the graph's context.

    Attributes:
        tenant_id: Who pays.
        user_id: The tenant's user.
        task_type: What kind of task this is.
        tier: The tier that the caller insists on.
        agent_spec: The asking agent.
        deadline_s: Longest time of a call in seconds.
    """

    tenant_id: str
    user_id: str
    task_type: str
    tier: str
    agent_spec: dict[str, Any]
    deadline_s: float
