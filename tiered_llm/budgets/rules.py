"""What is counted for a tenant, in which unit, and what happens at the limit."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Literal

from tiered_llm.budgets.ledger import MAX_PARTS
from tiered_llm.errors import ConfigurationError, Problem
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from tiered_llm.tiers import TierSpec

Unit = Literal["tokens", "cost_units", "usd"]
Mode = Literal["hard", "degrade", "soft", "interrupt"]
By = Literal["tier", "user", "agent"]

_PARTS = {"tokens": Decimal(1), "cost_units": Decimal(10**6), "usd": Decimal(10**9)}
"""Parts of one unit: whole tokens, millionths of a cost unit, billionths of a dollar."""

_MODES = ("hard", "degrade", "soft", "interrupt")
_BYS = ("tier", "user", "agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRule:
    """One thing that is held to a limit.

    ```python
    BudgetRule(name="heavy", tier="heavy", daily=100_000)
    BudgetRule(name="money", unit="usd", monthly=Decimal("250.00"), mode="degrade")
    BudgetRule(name="users", by=("user",), daily=20_000)
    ```

    Attributes:
        name: A short name, part of reports, alerts and errors.
        unit: `tokens`, `cost_units` (tokens times the tier's weight) or `usd`.
        daily: Limit of a calendar day; None for none.
        monthly: Limit of a calendar month; None for none.
        mode: `hard` refuses at the limit; `degrade` does too, and before it keeps to lighter
            tiers; `soft` records and alerts; `interrupt` asks a human through the interrupt of
            the LangGraph graph that the call is made in, and elsewhere refuses.
        by: What is counted apart within a tenant: each `tier`, `user` or `agent`.
        tier: The only tier that counts; every one if None.
    """

    name: str
    unit: Unit = "tokens"
    daily: int | Decimal | None = None
    monthly: int | Decimal | None = None
    mode: Mode = "hard"
    by: tuple[By, ...] = ()
    tier: Tier | str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigurationError: An unknown word, or a limit that no store can hold exactly.
        """
        if self.tier is not None:
            object.__setattr__(self, "tier", Tier(self.tier))
        checks = (
            ("name", bool(self.name) and "/" not in self.name, "a short name without /"),
            ("unit", self.unit in _PARTS, f"one of {', '.join(_PARTS)}"),
            ("mode", self.mode in _MODES, f"one of {', '.join(_MODES)}"),
            ("by", all(each in _BYS for each in self.by), f"some of {', '.join(_BYS)}"),
            *(
                (period, limit is None or 0 < self.parts(limit) <= MAX_PARTS, self._right)
                for period, limit in (("daily", self.daily), ("monthly", self.monthly))
                if self.unit in _PARTS
            ),
        )
        problems = [
            Problem(
                source="arguments",
                key=f"rule {self.name or '(no name)'}: {key}",
                wrong=f"{getattr(self, key)!r} cannot work",
                right=f"it must be {right}",
            )
            for key, holds, right in checks
            if not holds
        ]
        if problems:
            raise ConfigurationError(problems)

    @property
    def _right(self) -> str:
        return f"above 0 and at most {self.units(MAX_PARTS):,f} {self.unit}"

    def parts(self, units: float | Decimal) -> int:
        """An amount in the ledger's whole parts, rounded up."""
        exact = Decimal(str(units)) * _PARTS[self.unit]
        return int(exact.to_integral_value(ROUND_CEILING))

    def units(self, parts: int) -> Decimal:
        """Parts in the rule's own unit."""
        return Decimal(parts) / _PARTS[self.unit]

    def limit_of(self, period: str) -> int | None:
        """The limit of a period, in parts."""
        limit = self.daily if period == "daily" else self.monthly
        if limit is None or (self.unit == "tokens" and isinstance(limit, int)):
            return limit
        return self.parts(limit)

    def price(self, spec: TierSpec) -> tuple[Decimal, Decimal]:
        """Parts of one token in, and of one out, on a tier; not rounded."""
        per_part = _PARTS[self.unit]
        if self.unit == "tokens":
            return per_part, per_part
        if self.unit == "cost_units":
            return spec.cost_weight * per_part, spec.cost_weight * per_part
        million = Decimal(10**6)
        read = spec.input_usd_per_million or Decimal(0)
        written = spec.output_usd_per_million or Decimal(0)
        return read * per_part / million, written * per_part / million

    def cost(self, spec: TierSpec, input_tokens: int, output_tokens: int) -> int:
        """Parts that so many tokens cost on a tier, rounded up."""
        if self.unit == "tokens":
            return input_tokens + output_tokens
        read, written = self.price(spec)
        exact = read * input_tokens + written * output_tokens
        return int(exact.to_integral_value(ROUND_CEILING))
