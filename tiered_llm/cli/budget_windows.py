"""Budgets in their present windows, as values: what tables and JSON show alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tiered_llm.budgets import BudgetManager, BudgetRule, Payer
    from tiered_llm.budgets.ledger import Balance, Line
    from tiered_llm.tiers import TierSpec

Law = Literal["holds", "lowered", "broken", "none"]
"""Whether `settled + reserved + orphaned <= limit + overrun`; `none` where nothing is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRow:
    """One budget in one window, in the rule's own unit.

    Attributes:
        rule: The rule's name.
        period: `daily` or `monthly`.
        tier: The tier that is counted, where each is counted apart.
        unit: `tokens`, `cost_units` or `usd`.
        mode: What happens at the limit.
        used: What servers said they used.
        reserved: Upper bounds of calls under way.
        orphaned: Upper bounds of calls that were never heard of again.
        overrun: What was used beyond reservations.
        limit: The limit in force; None for none.
        law: Whether the books hold.
        resets_at: When the window ends, in the tenant's time zone.
    """

    rule: str
    period: str
    tier: str | None
    unit: str
    mode: str
    used: Decimal
    reserved: Decimal
    orphaned: Decimal
    overrun: Decimal
    limit: Decimal | None
    law: Law
    resets_at: datetime

    @property
    def name(self) -> str:
        """`tenant/daily`, and the tier where each is counted apart."""
        return f"{self.rule}/{self.period}" + (f" {self.tier}" if self.tier else "")

    @property
    def charged(self) -> Decimal:
        """What counts against the limit."""
        return self.used + self.reserved + self.orphaned

    @property
    def left(self) -> Decimal | None:
        """What may still be reserved, never below zero; None where there is no limit."""
        return None if self.limit is None else max(Decimal(0), self.limit - self.charged)

    @property
    def share(self) -> Decimal | None:
        """The part of the limit that is charged; of a limit of 0 all; None without a limit."""
        if self.limit is None:
            return None
        return self.charged / self.limit if self.limit else Decimal(1)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the end of the window with its offset from UTC."""
        names = ("used", "reserved", "orphaned", "overrun", "limit", "left")
        return {
            **{name: getattr(self, name) for name in ("rule", "period", "tier", "unit", "mode")},
            **{name: plain_number(getattr(self, name)) for name in names},
            "share_pct": None if self.share is None else round(float(100 * self.share), 2),
            "law": self.law,
            "resets_at": self.resets_at.isoformat(),
        }


def rows_of(
    manager: BudgetManager, payer: Payer, specs: Sequence[TierSpec]
) -> tuple[WindowRow, ...]:
    """A payer's budgets as they stand; each operation lets leases end whose time is over."""
    now_s = manager.ledger.now_s()
    lines = [
        (rule, spec, line)
        for rule in manager.plan.rules
        for spec in (specs if "tier" in rule.by else (None,))
        for line in manager.plan.lines(rule, payer, spec, 0, now_s)
    ]
    accounts = tuple(line.account for _, _, line in lines)
    balances = manager.ledger.balances(payer.group, accounts)
    limits = manager.ledger.limits(payer.group)
    zone = zone_of(manager, payer.tenant_id)
    return tuple(
        _row(rule, spec, line, balance, limits, datetime.fromtimestamp(line.ends_s, zone))
        for (rule, spec, line), balance in zip(lines, balances, strict=True)
    )


def zone_of(manager: BudgetManager, tenant_id: str | None) -> Any:
    """A tenant's time zone."""
    from tiered_llm.budgets.plan import zone_info

    return zone_info(manager.plan.zone(tenant_id))


def apart_of(manager: BudgetManager, payer: Payer) -> tuple[str, ...]:
    """What must be named before some rules can be shown: `user`, `agent`."""
    known = {"user": payer.user_id, "agent": payer.agent}
    wanted = {by for rule in manager.plan.rules for by in rule.by}
    return tuple(name for name, value in known.items() if name in wanted and value is None)


def plain_number(amount: Decimal | None) -> int | float | None:
    """A JSON number: whole where it is; fifteen digits, which are all there are, stay exact."""
    if amount is None:
        return None
    return int(amount) if amount == int(amount) else float(amount)


def _row(  # noqa: PLR0913, PLR0917  # what is known of a window
    rule: BudgetRule,
    spec: TierSpec | None,
    line: Line,
    balance: Balance,
    limits: Mapping[str, int],
    resets_at: datetime,
) -> WindowRow:
    limit = limits.get(line.limit_name, line.limit)
    return WindowRow(
        rule=rule.name,
        period=line.limit_name.rpartition("/")[2],
        tier=spec.tier.value if spec else None,
        unit=rule.unit,
        mode=rule.mode,
        used=rule.units(balance.settled),
        reserved=rule.units(balance.reserved),
        orphaned=rule.units(balance.orphaned),
        overrun=rule.units(balance.overrun),
        limit=None if limit is None else rule.units(limit),
        law=law_of(line, balance, limits.get(line.limit_name)),
        resets_at=resets_at,
    )


def law_of(line: Line, balance: Balance, set_here: int | None) -> Law:
    """Whether the books of one window hold.

    They are held against the limit that the ledger went by last. To lower one below what is
    charged is no breach: where a limit that was set in the store is, the line's own counts too.
    """
    limit = line.limit if set_here is None else set_here
    if not line.refuses or (balance.limit is None and (balance.charged or limit is None)):
        return "none"
    if balance.limit is None or balance.charged <= balance.limit + balance.overrun:
        return "holds"
    own = line.limit
    if set_here is not None and (own is None or balance.charged <= own + balance.overrun):
        return "lowered"
    return "broken"
