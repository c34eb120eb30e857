"""What a human may answer when a budget is reached: go on in light, raise it, or stop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tiered_llm.budgets import BudgetExceededError, Payer, WindowUsage

Choice = Literal["light", "raise", "stop"]

HOW = 'resume with "light", {"raise": N} in the budget\'s unit, or "stop"'

_LARGEST = Decimal(10**15)


class AnswerError(ValueError):
    """An answer that nothing can be done with: it is asked for again, with these words."""


def refusal_of(error: BudgetExceededError, payer: Payer) -> dict[str, Any]:
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
        "payer": _mark_of(payer),
    }


def question_of(refusal: Mapping[str, Any]) -> dict[str, Any]:
    """What the human is shown; with a note, if their last answer could not be used."""
    shown = {name: value for name, value in refusal.items() if name != "payer"}
    return {"type": "tiered_llm.budget_exceeded", **shown, "how_to_answer": HOW}


def check_payer(refusal: Mapping[str, Any], payer: Payer) -> None:
    """An answer counts for whom it was asked: a graph knows no tenant but its caller's.

    Raises:
        AnswerError: The graph was resumed for another payer.
    """
    if refusal["payer"] != _mark_of(payer):
        msg = "resume with the tenant, user and agent that the graph was run with"
        raise AnswerError(msg)


def choice_of(answer: Any) -> tuple[Choice, Decimal | None]:
    """What an answer says, and by how much the limit is raised.

    Raises:
        AnswerError: It says nothing that is known; the text says what would.
    """
    if isinstance(answer, str) and answer in {"light", "stop"}:
        return ("light", None) if answer == "light" else ("stop", None)
    if isinstance(answer, Mapping) and set(answer) == {"raise"}:
        return "raise", _amount(answer["raise"])
    msg = f"the answer was not understood; {HOW}"
    raise AnswerError(msg)


def limit_name_of(refusal: Mapping[str, Any]) -> str:
    """The limit that refused, as a budget's manager names it."""
    return f"{refusal['rule']}/{refusal['period']}"


def raised(
    refusal: Mapping[str, Any], by: Decimal, usages: Mapping[str, WindowUsage]
) -> Decimal | None:
    """The new limit: what stood when it was asked, and so much more; None to leave it as it is.

    A graph that is resumed may run this twice: the sum is of what the question said, so that the
    second time changes nothing. Nor is a limit lowered that somebody has raised or lifted since.
    """
    wanted, name = Decimal(refusal["limit"]) + by, limit_name_of(refusal)
    same = (each for each in usages.values() if f"{each.rule}/{each.period}" == name)
    usage = next(same, None)
    if usage is None:  # a rule for one tier alone
        return wanted
    return None if usage.limit is None or usage.limit >= wanted else wanted


def _amount(value: Any) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if isinstance(value, bool) or not amount.is_finite() or not 0 < amount <= _LARGEST:
        msg = f"a limit is raised by a number above 0; {HOW}"
        raise AnswerError(msg)
    return amount


def _mark_of(payer: Payer) -> str:
    """Tells payers apart without naming them."""
    parts = [payer.tenant_id, payer.user_id, payer.agent]
    return sha256(json.dumps(parts).encode()).hexdigest()[:16]
