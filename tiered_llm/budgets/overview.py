"""How budgets stand: read from the ledger, in the rules' own units."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from tiered_llm.budgets.usage import WindowUsage, cap_of
from tiered_llm.tiers import Tier, TierSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiered_llm.budgets.ledger import Balance, Ledger, Line
    from tiered_llm.budgets.plan import Payer, Plan
    from tiered_llm.budgets.rules import BudgetRule
    from tiered_llm.budgets.windows import Period


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Reads the accounts that a plan names.

    Attributes:
        plan: What is counted.
        ledger: Where it is counted.
        specs: The tiers' weights and prices, for what names a tier alone.
    """

    plan: Plan
    ledger: Ledger
    specs: Mapping[Tier, TierSpec]

    def usage_of(self, payer: Payer, spec: TierSpec | Tier | str | None) -> dict[str, WindowUsage]:
        """A payer's budgets in their present windows, by `"daily"` or `"rule/daily"`."""
        shown = self._shown(payer, spec, self.ledger.now_s())
        balances = self.ledger.balances(payer.group, _accounts(shown))
        return self._usages(shown, balances, self.ledger.limits(payer.group))

    async def ausage_of(
        self, payer: Payer, spec: TierSpec | Tier | str | None
    ) -> dict[str, WindowUsage]:
        """As `usage_of`, on the event loop."""
        shown = self._shown(payer, spec, await self.ledger.anow_s())
        balances = await self.ledger.abalances(payer.group, _accounts(shown))
        return self._usages(shown, balances, await self.ledger.alimits(payer.group))

    def cap(self, payer: Payer) -> Tier | None:
        """The highest tier that a payer's `degrade` budgets still allow; None for any."""
        if not self._degrading:
            return None
        return cap_of(self.usage_of(payer, None).values(), self._degrading)

    async def acap(self, payer: Payer) -> Tier | None:
        """As `cap`, on the event loop."""
        if not self._degrading:
            return None
        return cap_of((await self.ausage_of(payer, None)).values(), self._degrading)

    def savings(self, payer: Payer) -> dict[str, Any]:
        """This month's tokens by tier, and what they would cost on the heaviest one."""
        now_s = self.ledger.now_s()
        accounts = {
            tier: self.plan.tracked(payer, spec, now_s).account for tier, spec in self.specs.items()
        }
        balances = self.ledger.balances(payer.group, tuple(accounts.values()))
        tokens = {tier: b.charged for tier, b in zip(accounts, balances, strict=True)}
        top = max(spec.cost_weight for spec in self.specs.values())
        cost = sum((self.specs[t].cost_weight * n for t, n in tokens.items()), Decimal(0))
        baseline = top * sum(tokens.values())
        saved = baseline - cost
        return {
            "tokens": {tier.value: n for tier, n in tokens.items()},
            "cost_units": cost,
            "baseline_cost_units": baseline,
            "tokens_saved": int(saved / top),
            "cost_reduction_pct": float(100 * saved / baseline) if baseline else 0.0,
        }

    @cached_property
    def _degrading(self) -> frozenset[str]:
        return frozenset(rule.name for rule in self.plan.rules if rule.mode == "degrade")

    def _shown(
        self, payer: Payer, spec: TierSpec | Tier | str | None, now_s: float
    ) -> list[tuple[BudgetRule, Line]]:
        known = spec if spec is None or isinstance(spec, TierSpec) else self.specs[Tier(spec)]
        return [
            (rule, line)
            for rule in self.plan.rules
            for line in self.plan.lines(rule, payer, known, 0, now_s)
        ]

    def _usages(
        self,
        shown: list[tuple[BudgetRule, Line]],
        balances: tuple[Balance, ...],
        limits: Mapping[str, int],
    ) -> dict[str, WindowUsage]:
        found = {}
        for (rule, line), balance in zip(shown, balances, strict=True):
            period = cast("Period", line.account.split("/")[1])
            limit = limits.get(line.limit_name, line.limit)
            key = period if rule is self.plan.rules[0] else f"{rule.name}/{period}"
            found[key] = WindowUsage(
                rule=rule.name,
                period=period,
                unit=rule.unit,
                used=rule.units(balance.settled),
                reserved=rule.units(balance.reserved),
                orphaned=rule.units(balance.orphaned),
                overrun=rule.units(balance.overrun),
                limit=None if limit is None else rule.units(limit),
                resets_at=datetime.fromtimestamp(line.ends_s, UTC),
            )
        return found


def _accounts(shown: list[tuple[BudgetRule, Line]]) -> tuple[str, ...]:
    return tuple(line.account for _, line in shown)
