"""What a human may answer when a budget is reached: go on in light, raise it, or stop."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tiered_llm.budgets import BudgetExceededError

Choice = Literal["light", "raise", "stop"]

HOW = 'resume with "light", {"raise": N} in the budget\'s unit, or "stop"'

_LARGEST = Decimal(10**15)


def refusal_of(error: BudgetExceededError) -> dict[str, Any]:
    """A refusal as plain values for the state; whose budget it is stays out of them."""
    return {
        "rule": error.rule,
        "period": error.period,
        "unit": error.unit,
        "limit": str(error.limit),
        "used": str(error.used),
        "reserved": str(error.reserved),
        "wanted": str(error.wanted),
        "resets_at": error.resets_at.isoformat(),
    }


def question_of(refusal: Mapping[str, Any], note: str = "") -> dict[str, Any]:
    """What the human is shown."""
    shown = {"type": "tiered_llm.budget_exceeded", **refusal, "how_to_answer": HOW}
    return {**shown, "note": note} if note else shown


def choice_of(answer: Any) -> tuple[Choice, Decimal | None]:
    """What an answer says, and by how much the limit is raised.

    Raises:
        ValueError: It says nothing that is known; the text says what would.
    """
    if isinstance(answer, str) and answer in {"light", "stop"}:
        return ("light", None) if answer == "light" else ("stop", None)
    if isinstance(answer, Mapping) and set(answer) == {"raise"}:
        return "raise", _amount(answer["raise"])
    msg = f"the answer was not understood; {HOW}"
    raise ValueError(msg)


def raised(refusal: Mapping[str, Any], by: Decimal, now: Decimal | None) -> Decimal:
    """The new limit: what stood when it was asked, and so much more; never below the present one.

    A graph that is resumed may run this twice: the sum is of what the question said, so that the
    second time changes nothing.
    """
    wanted = Decimal(refusal["limit"]) + by
    return wanted if now is None else max(wanted, now)


def _amount(value: Any) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if isinstance(value, bool) or not amount.is_finite() or not 0 < amount <= _LARGEST:
        msg = f"a limit is raised by a number above 0; {HOW}"
        raise ValueError(msg)
    return amount
