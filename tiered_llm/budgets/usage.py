"""What a budget shows of itself, and the tier that what is left of it still allows."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from tiered_llm.budgets.windows import Period


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowUsage:
    """One budget in its present window, in the rule's own unit.

    Attributes:
        rule: The budget's name.
        period: `daily` or `monthly`.
        unit: `tokens`, `cost_units` or `usd`.
        used: Settled by what servers said.
        reserved: Upper bounds of calls under way.
        orphaned: Upper bounds of calls that were never heard of again; part of no other column.
        overrun: What was used beyond what was reserved for it; part of `used`.
        limit: The limit in force; None for none.
        resets_at: When the window ends.
    """

    rule: str
    period: Period
    unit: str
    used: Decimal
    reserved: Decimal
    orphaned: Decimal
    overrun: Decimal
    limit: Decimal | None
    resets_at: datetime

    @property
    def charged(self) -> Decimal:
        """What counts against the limit."""
        return self.used + self.reserved + self.orphaned

    @property
    def left(self) -> Decimal | None:
        """What may still be reserved, never below zero; None where there is no limit."""
        return None if self.limit is None else max(Decimal(0), self.limit - self.charged)

    @property
    def share(self) -> Decimal:
        """The part of the limit that is charged; 0 where there is no limit."""
        return self.charged / self.limit if self.limit else Decimal(0)


_STEPS = ((Decimal("0.95"), Tier.LIGHT), (Decimal("0.80"), Tier.STANDARD))
"""From which share of a `degrade` budget on no more than which tier is used."""


def cap_of(usages: Iterable[WindowUsage], degrading: frozenset[str]) -> Tier | None:
    """The highest tier that the budgets of some rules still allow; None for any."""
    caps = [
        next((tier for share, tier in _STEPS if usage.share >= share), None)
        for usage in usages
        if usage.rule in degrading
    ]
    return min((tier for tier in caps if tier is not None), default=None)
