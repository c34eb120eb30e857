"""How token budgets are held: plain checked values, which the room of budgets makes its own of."""

from __future__ import annotations

from decimal import Decimal  # noqa: TC003  # pydantic reads the annotations
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from tiered_llm.settings.sections import Section
from tiered_llm.tiers import Tier  # noqa: TC001  # pydantic reads the annotations

LARGEST = {"tokens": 10**15, "cost_units": 10**9, "usd": 10**6}
"""The largest limit in each unit: what every store counts exactly."""

DEFAULT_RULE = "tenant"
"""The rule that `token_budget_daily` and `token_budget_monthly` stand for."""

RESERVED_RULE = "tier"
"""The name under which the savings report counts."""

PERIODS = ("daily", "monthly")


class BudgetRuleSettings(Section):
    """One thing that is held to a limit; more of it in `BudgetRule`."""

    name: str = Field(description="A short name, part of reports, alerts and errors.")
    unit: Literal["tokens", "cost_units", "usd"] = Field("tokens", description="What is counted.")
    daily: Decimal | None = Field(
        None, gt=0, allow_inf_nan=False, description="Limit of a calendar day."
    )
    monthly: Decimal | None = Field(
        None, gt=0, allow_inf_nan=False, description="Limit of a calendar month."
    )
    mode: Literal["hard", "degrade", "soft", "interrupt"] = Field(
        "hard", description="What happens at the limit."
    )
    by: tuple[Literal["tier", "user", "agent"], ...] = Field(
        (), description="What is counted apart within a tenant."
    )
    tier: Tier | None = Field(None, description="The only tier that counts.")

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if not value.strip() or "/" in value or value == RESERVED_RULE:
            msg = f"cannot name a rule: write a short name without /, and not {RESERVED_RULE!r}"
            raise ValueError(msg)
        return value


class BudgetSettings(Section):
    """How token budgets are held."""

    time_zone: str = Field(
        "UTC",
        description="Where days and months begin and end: an IANA name such as `Europe/Berlin`.",
    )
    thresholds: tuple[Annotated[int, Field(ge=1, le=100)], ...] = Field(
        (80, 95), description="Percents of a limit at which an alert is raised; whole, 1 to 100."
    )
    lease_s: float = Field(
        900.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds after which a call that was never settled is given up; longer than "
        "any call.",
    )
    output_bound: int = Field(
        8_192,
        gt=0,
        description="Longest answer reserved for, in tokens, where neither caller nor tier names "
        "one.",
    )
    cut_margin: int | None = Field(
        None,
        ge=0,
        description="Charge an answer that was cut by what was seen of it and so many tokens "
        "more; all that was reserved if unset.",
    )
    on_store_error: Literal["deny", "allow"] | None = Field(
        None,
        description="What a call does while the store cannot be reached: `deny` refuses it, "
        "`allow` makes it within `store_error_allowance`; unset, `deny` unless every rule is "
        "`soft`.",
    )
    store_error_allowance: int = Field(
        0,
        ge=0,
        description="Tokens that one process may use while the store cannot be reached; above 0 "
        "with `allow`.",
    )
    on_orphan: Literal["charge", "release"] = Field(
        "charge",
        description="What becomes of the reservation of a call that was never heard of again: "
        "`charge` keeps it charged, `release` frees it, which may overspend.",
    )
    tenants: dict[str, dict[str, Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]]] = Field(
        default_factory=dict,
        repr=False,
        description="Tenant → `daily`, `monthly` or `rule/period` → its own limit, in the rule's "
        "unit; 0 refuses every call.",
    )
    rules: tuple[BudgetRuleSettings, ...] = Field(
        (),
        description="What is counted, in place of `token_budget_daily` and "
        "`token_budget_monthly`: tables of `name`, `unit`, `daily`, `monthly`, `mode`, `by`, "
        "`tier`.",
    )

    @field_validator("time_zone")
    @classmethod
    def _check_time_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):  # tzdata opens a directory's name
            msg = f"{value!r} is no time zone: write an IANA name such as Europe/Berlin"
            raise ValueError(msg) from None
        return value

    @property
    def units(self) -> dict[str, str]:
        """Each rule's unit by its name, in order; without rules of its own the default one's."""
        return {rule.name: rule.unit for rule in self.rules} or {DEFAULT_RULE: "tokens"}

    @property
    def tenant_limits(self) -> dict[str, dict[str, Decimal]]:
        """Tenant → `"rule/period"` → limit, with every budget named in full."""
        return {
            tenant: {self.full_name(name): limit for name, limit in limits.items()}
            for tenant, limits in self.tenants.items()
        }

    def full_name(self, name: str) -> str:
        """`"rule/period"` for a budget's name: `"daily"` stands for the first rule's."""
        return name if "/" in name else f"{next(iter(self.units))}/{name}"
