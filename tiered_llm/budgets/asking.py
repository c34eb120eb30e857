"""Asking a human for more, through the interrupt of a LangGraph graph."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiered_llm.budgets.exceeded import BudgetExceededError

_LARGEST = {"tokens": 10**15, "cost_units": 10**9, "usd": 10**6}  # what stores count exactly
_RIGHT = "resume the graph with {'limit': N}, the new limit in the budget's unit, or with 'stop'"


def wanted_limit(refusal: BudgetExceededError) -> Decimal | None:
    """A human's new limit for the budget that refused a call; None for the refusal as it is.

    Inside a graph the node stops here until somebody resumes the graph, and is then run anew:
    so the answer is a limit, not a difference, which a second run would add again. Outside
    a graph there is nobody to ask.

    Raises:
        GraphInterrupt: Nobody has answered yet; LangGraph shows the question to its caller.
        BudgetExceededError: The answer is none; the error says so in a note.
    """
    from langgraph.types import interrupt

    try:
        answer = interrupt(_question(refusal))
    except (RuntimeError, KeyError):  # no graph runs here
        return None
    if isinstance(answer, dict) and set(answer) == {"limit"}:
        answer = answer["limit"]
    if answer is None or answer is False or answer == "stop":
        return None
    try:
        limit = Decimal(str(answer))
    except InvalidOperation:
        limit = Decimal("NaN")
    if isinstance(answer, bool) or not limit.is_finite() or not 0 < limit <= _LARGEST[refusal.unit]:
        refusal.add_note(f"the answer to the interrupt was not understood: {_RIGHT}")
        raise refusal
    return limit


def _question(refusal: BudgetExceededError) -> dict[str, Any]:
    """What the human sees: plain values, which every checkpointer keeps."""
    return {
        "type": "tiered_llm.budget_exceeded",
        "rule": refusal.rule,
        "period": refusal.period,
        "unit": refusal.unit,
        "limit": str(refusal.limit),
        "used": str(refusal.used),
        "reserved": str(refusal.reserved),
        "wanted": str(refusal.wanted),
        "resets_at": refusal.resets_at.isoformat(),
        "how_to_answer": _RIGHT,
    }
