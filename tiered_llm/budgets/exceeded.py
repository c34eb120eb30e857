"""The error of a call that its tenant cannot pay for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.exceptions import ModelError

from tiered_llm.errors import TieredLLMError

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal


class BudgetExceededError(TieredLLMError, ModelError, RuntimeError):
    """A budget has no room for a call; nothing was sent.

    Our own chain neither retries it nor falls back for it. LangChain's `ModelRetryMiddleware`
    looks at `is_retryable`, LangGraph's `RetryPolicy` takes no `RuntimeError` for worth another
    try. LangChain's fallbacks take any exception unless told which: name those that you mean.

    Attributes:
        rule: The budget's name: `tenant` unless you named others.
        period: `daily` or `monthly`.
        unit: `tokens`, `cost_units` or `usd`.
        limit: The limit, in that unit.
        used: What is settled or charged for calls that were never heard of again.
        reserved: What calls under way may still use.
        wanted: What the smallest acceptable answer to this call would cost.
        resets_at: When the window ends.
    """

    is_retryable = False

    def __init__(  # noqa: PLR0913  # all that a caller may ask
        self,
        *,
        rule: str,
        period: str,
        unit: str,
        limit: Decimal,
        used: Decimal,
        reserved: Decimal,
        wanted: Decimal,
        resets_at: datetime,
    ) -> None:
        """Say what is missing; the tenant's id stays out of the message."""
        self.rule, self.period, self.unit = rule, period, unit
        self.limit, self.used, self.reserved, self.wanted = limit, used, reserved, wanted
        self.resets_at = resets_at
        super().__init__(
            f"the {period} budget {rule!r} has no room: {_shown(wanted)} {unit} wanted, "
            f"{_shown(used)} used and {_shown(reserved)} reserved of {_shown(limit)}; "
            f"it resets at {resets_at.isoformat(timespec='minutes')}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as its parts."""
        parts = dict(self.__dict__)
        parts.pop("__notes__", None)
        return _exceeded, (parts,)


def _exceeded(parts: dict[str, Any]) -> BudgetExceededError:
    return BudgetExceededError(**parts)


def _shown(amount: Decimal) -> str:
    return f"{amount.normalize():,f}"
