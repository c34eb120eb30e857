"""Budgets as an application holds them: reserve before a call, settle after it."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self, cast

from tiered_llm.budgets.exceeded import BudgetExceededError
from tiered_llm.budgets.ledger import Granted, Refused, Stale
from tiered_llm.budgets.opening import open_ledger
from tiered_llm.budgets.plan import PERIODS, TRACKING, Draft, Payer, Plan, zone_info
from tiered_llm.budgets.reservation import Reservation
from tiered_llm.budgets.rules import BudgetRule
from tiered_llm.clock import SYSTEM_CLOCK
from tiered_llm.errors import ConfigurationError, Problem
from tiered_llm.settings import DEFAULT_SPECS, get_settings
from tiered_llm.tiers import Tier, TierSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tiered_llm.budgets.ledger import Alert, Answer, Ask, Balance, Ledger, Line
    from tiered_llm.budgets.windows import Period
    from tiered_llm.clock import Clock
    from tiered_llm.settings import Settings

_log = logging.getLogger("tiered_llm.budgets")

_TRIES = 3
"""Windows may end between writing an ask and the ledger's reading it; not three times in a row."""


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
        limit: The limit in force; None for none.
        resets_at: When the window ends.
    """

    rule: str
    period: Period
    unit: str
    used: Decimal
    reserved: Decimal
    orphaned: Decimal
    limit: Decimal | None
    resets_at: datetime

    @property
    def left(self) -> Decimal | None:
        """What may still be reserved, never below zero; None where there is no limit."""
        if self.limit is None:
            return None
        return max(Decimal(0), self.limit - self.used - self.reserved - self.orphaned)

    @property
    def share(self) -> Decimal:
        """The part of the limit that is charged; 0 where there is no limit."""
        charged = self.used + self.reserved + self.orphaned
        return charged / self.limit if self.limit else Decimal(0)


class BudgetManager:
    """Holds each tenant to its budgets, exactly: in one process, several, or on many machines.

    ```python
    budget = BudgetManager(default_daily_limit=1_000_000, store="sqlite:///budgets.db")
    model = TieredChatModel.from_settings(budget=budget)
    budget.usage("acme")["daily"].used
    ```

    Safe to use from many threads and event loops. Every method that waits for the store has
    a twin on the event loop, its name with an `a` before it.
    """

    def __init__(  # noqa: PLR0913  # an operator's choices, each with a default
        self,
        default_daily_limit: int | None = None,
        default_monthly_limit: int | None = None,
        *,
        store: str | Ledger = "memory://",
        rules: Sequence[BudgetRule] | None = None,
        tenant_limits: Mapping[str, Mapping[str, int]] | None = None,
        time_zone: str | Callable[[str | None], str] = "UTC",
        thresholds: Sequence[int] = (80, 95),
        lease_s: float = 900.0,
        output_bound: int = 8_192,
        on_alert: Iterable[Callable[[Alert], None]] = (),
        specs: Mapping[Tier, TierSpec] = DEFAULT_SPECS,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Take the limits and the store.

        Args:
            default_daily_limit: Tokens that a tenant may use in a day; None for no limit.
            default_monthly_limit: Tokens that a tenant may use in a month; None for no limit.
            store: Where it is counted: a URL, or a ledger.
            rules: What is counted, in place of the two limits above.
            tenant_limits: Tenant → `"rule/period"` (`"tenant/daily"`) → its own limit, in the
                rule's unit.
            time_zone: In which days and months begin and end: an IANA name, or a function
                from a tenant's id to one.
            thresholds: Percents of a limit at which an alert is raised.
            lease_s: Seconds after which a call that was never settled counts as used; longer
                than any call.
            output_bound: Longest answer reserved for where neither caller nor tier names one.
            on_alert: Called with each alert, in the process that raised it.
            specs: The tiers' weights and prices, for calls that name a tier alone.
            clock: Tells the time, where the store has none of its own.

        Raises:
            ConfigurationError: Limits, rules, zone or store that cannot work.
        """
        given = (
            rules
            if rules is not None
            else _default_rules(default_daily_limit, default_monthly_limit)
        )
        self.output_bound = output_bound
        self._ledger = open_ledger(store, clock) if isinstance(store, str) else store
        self.plan = Plan(
            rules=_checked_rules(given),
            tenant_limits=dict(tenant_limits or {}),
            zone=time_zone if callable(time_zone) else _always(time_zone),
            thresholds=_checked_thresholds(thresholds),
            lease_s=lease_s,
        )
        self._degrading = {rule.name for rule in self.plan.rules if rule.mode == "degrade"}
        self._on_alert = tuple(on_alert)
        self._specs = dict(specs)

    @classmethod
    def from_settings(cls, settings: Settings | None = None, **more: Any) -> Self:
        """A manager with the settings' limits, store, weights and prices.

        Args:
            settings: `get_settings()` if left out.
            more: Other arguments of the constructor; they go before the settings.
        """
        settings = settings or get_settings()
        given = {
            "default_daily_limit": settings.token_budget_daily,
            "default_monthly_limit": settings.token_budget_monthly,
            "store": settings.store,
            "specs": {**DEFAULT_SPECS, **settings.tiers},
        }
        return cls(**{**given, **more})

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy of a model shares its budgets: there is one account."""
        return self

    def __reduce__(self) -> Any:
        """Refuse to travel: another process would count apart.

        Raises:
            TypeError: Always.
        """
        msg = "a BudgetManager stays in its process: build one there, on the same store"
        raise TypeError(msg)

    @property
    def ledger(self) -> Ledger:
        """Where it is counted."""
        return self._ledger

    # --- two phases ---

    def reserve(  # noqa: PLR0913  # what a call is
        self,
        payer: Payer | str | None,
        spec: TierSpec | Tier | str,
        input_tokens: int,
        max_output_tokens: int | None = None,
        *,
        least: int = 1,
        attempt_id: str | None = None,
    ) -> Reservation:
        """Reserve the most that a call may use, in every budget at once.

        Args:
            payer: For whom the call is made; a text is a tenant's id.
            spec: The tier that will be asked.
            input_tokens: An upper bound of the tokens sent.
            max_output_tokens: The longest answer wanted; the tier's own bound, or the
                manager's, if unset.
            least: Output tokens below which the call is not worth making.
            attempt_id: The call's own id; asking again with the same one reserves once.

        Returns:
            A reservation of `granted` output tokens, which must be sent as the call's
            `max_tokens`, and which must be settled or voided.

        Raises:
            BudgetExceededError: There is no room for `least` tokens.
            LedgerError: The store cannot be reached, or has lost what it held.
        """
        draft = self._draft(payer, spec, input_tokens, max_output_tokens, least, attempt_id)
        now_s = self._ledger.now_s()
        for _ in range(_TRIES):
            ask = self.plan.ask(draft, now_s)
            answer = self._ledger.reserve(ask)
            if not isinstance(answer, Stale):
                break
            now_s = answer.now_s
        return self._reservation(draft, ask, answer)

    async def areserve(  # noqa: PLR0913  # what a call is
        self,
        payer: Payer | str | None,
        spec: TierSpec | Tier | str,
        input_tokens: int,
        max_output_tokens: int | None = None,
        *,
        least: int = 1,
        attempt_id: str | None = None,
    ) -> Reservation:
        """As `reserve`, on the event loop."""
        draft = self._draft(payer, spec, input_tokens, max_output_tokens, least, attempt_id)
        now_s = await self._ledger.anow_s()
        for _ in range(_TRIES):
            ask = self.plan.ask(draft, now_s)
            answer = await self._ledger.areserve(ask)
            if not isinstance(answer, Stale):
                break
            now_s = answer.now_s
        return self._reservation(draft, ask, answer)

    def _draft(  # noqa: PLR0913, PLR0917  # what a call is
        self,
        payer: Payer | str | None,
        spec: TierSpec | Tier | str,
        input_tokens: int,
        most: int | None,
        least: int,
        attempt_id: str | None,
    ) -> Draft:
        who = payer if isinstance(payer, Payer) else Payer(tenant_id=payer)
        known = spec if isinstance(spec, TierSpec) else self._specs[Tier(spec)]
        wanted = most or known.max_output_tokens or self.output_bound
        return Draft(
            payer=who,
            spec=known,
            input_tokens=input_tokens,
            most=max(wanted, least),
            least=least,
            lease=attempt_id or uuid.uuid4().hex,
        )

    def _reservation(self, draft: Draft, ask: Ask, answer: Answer) -> Reservation:
        if isinstance(answer, Refused):
            raise self._exceeded(answer)
        if not isinstance(answer, Granted):
            msg = "the store's clock jumps: windows end faster than they can be asked about"
            raise TimeoutError(msg)
        self.tell(answer.alerts)
        return Reservation(
            manager=self,
            ask=ask,
            spec=draft.spec,
            rules=self.plan.rules_of(draft),
            granted=answer.tokens,
            input_tokens=draft.input_tokens,
        )

    def _exceeded(self, refused: Refused) -> BudgetExceededError:
        name, period, *_ = refused.balance.account.split("/")
        rule = next(rule for rule in self.plan.rules if rule.name == name)
        balance = refused.balance
        return BudgetExceededError(
            rule=name,
            period=period,
            unit=rule.unit,
            limit=rule.units(balance.limit or 0),
            used=rule.units(balance.settled + balance.orphaned),
            reserved=rule.units(balance.reserved),
            wanted=rule.units(refused.wanted),
            resets_at=datetime.fromtimestamp(refused.ends_s, UTC),
        )

    def tell(self, alerts: Iterable[Alert]) -> None:
        """Log alerts and hand them to whoever asked for them; an observer's error is logged."""
        for alert in alerts:
            name, period, *_ = alert.account.split("/")
            _log.warning("the %s budget %r of a tenant is at %d %%", period, name, alert.threshold)
            for observe in self._on_alert:
                try:
                    observe(alert)
                except Exception:  # noqa: BLE001  # an observer must not cost the call
                    _log.exception("an observer of budget alerts failed")

    # --- the original design's calls ---

    def check_budget(self, tenant_id: str | uuid.UUID, estimated_tokens: int) -> bool:
        """Whether a tenant has room for so many tokens now.

        Reserves nothing, and others may come between: a call is held by `reserve`, not by this.
        """
        usage = self.usage(tenant_id)
        rooms = [(each.unit, each.left) for each in usage.values() if each.left is not None]
        return all(left >= estimated_tokens for unit, left in rooms if unit == "tokens")

    def record_usage(  # noqa: PLR0913  # the original design's own arguments
        self,
        tenant_id: str | uuid.UUID,
        model_tier: Tier | str,
        input_tokens: int,
        output_tokens: int,
        complexity_score: float | None = None,
        *,
        call_id: str | None = None,
    ) -> None:
        """Charge a call that was made without a reservation, once for each `call_id`."""
        del complexity_score  # a metric, not a charge
        draft = self._draft(_id(tenant_id), model_tier, input_tokens, output_tokens, 0, call_id)
        ask = self.plan.ask(draft, self._ledger.now_s())
        amounts = tuple(
            rule.cost(draft.spec, input_tokens, output_tokens) for rule in self.plan.rules_of(draft)
        )
        self.tell(self._ledger.record(ask, amounts).alerts)

    def get_savings_report(self, tenant_id: str | uuid.UUID) -> dict[str, Any]:
        """What a tenant's calls of this month cost, against all of them on the heaviest tier.

        Returns:
            `tokens` by tier; `cost_units` and the `baseline_cost_units` of the same tokens on
            the heaviest tier; `tokens_saved`, their difference in the heaviest tier's tokens;
            `cost_reduction_pct`. A loss is negative.
        """
        payer = Payer(tenant_id=_id(tenant_id))
        now_s = self._ledger.now_s()
        accounts = {
            tier: self.plan.tracked(payer, spec, now_s).account
            for tier, spec in self._specs.items()
        }
        balances = self._ledger.balances(payer.group, tuple(accounts.values()))
        tokens = {tier: b.charged for tier, b in zip(accounts, balances, strict=True)}
        top = max(spec.cost_weight for spec in self._specs.values())
        cost = sum((self._specs[t].cost_weight * n for t, n in tokens.items()), Decimal(0))
        baseline = top * sum(tokens.values())
        saved = baseline - cost
        return {
            "tokens": {tier.value: n for tier, n in tokens.items()},
            "cost_units": cost,
            "baseline_cost_units": baseline,
            "tokens_saved": int(saved / top),
            "cost_reduction_pct": float(100 * saved / baseline) if baseline else 0.0,
        }

    # --- looking and setting ---

    def usage(self, tenant_id: str | uuid.UUID | None) -> dict[str, WindowUsage]:
        """A tenant's budgets in their present windows: `usage["daily"]`, or `"rule/daily"`.

        Budgets that are counted apart for each tier, user or agent are left out: see
        `usage_of`.
        """
        return self.usage_of(Payer(tenant_id=_id(tenant_id)))

    def usage_of(
        self, payer: Payer, spec: TierSpec | Tier | str | None = None
    ) -> dict[str, WindowUsage]:
        """The same for one user or agent of a tenant, and one tier."""
        now_s = self._ledger.now_s()
        shown = self._shown(payer, spec, now_s)
        group, accounts = payer.group, tuple(line.account for _, line in shown)
        return self._usages(shown, self._ledger.balances(group, accounts), self.limits(payer))

    async def ausage(self, tenant_id: str | uuid.UUID | None) -> dict[str, WindowUsage]:
        """As `usage`, on the event loop."""
        return await self.ausage_of(Payer(tenant_id=_id(tenant_id)))

    async def ausage_of(self, payer: Payer) -> dict[str, WindowUsage]:
        """As `usage_of`, on the event loop."""
        now_s = await self._ledger.anow_s()
        shown = self._shown(payer, None, now_s)
        group, accounts = payer.group, tuple(line.account for _, line in shown)
        balances = await self._ledger.abalances(group, accounts)
        return self._usages(shown, balances, await self._ledger.alimits(group))

    def cap(self, payer: Payer) -> Tier | None:
        """The highest tier that a payer's `degrade` budgets still allow; None for any."""
        if not self._degrading:
            return None
        return _cap(self.usage_of(payer).values(), self._degrading)

    async def acap(self, payer: Payer) -> Tier | None:
        """As `cap`, on the event loop."""
        if not self._degrading:
            return None
        return _cap((await self.ausage_of(payer)).values(), self._degrading)

    def limits(self, payer: Payer) -> dict[str, int]:
        """A tenant's limits that were set at run time, in parts, by their names."""
        return self._ledger.limits(payer.group)

    def set_limit(
        self, tenant_id: str | uuid.UUID | None, name: str, limit: float | Decimal | None
    ) -> None:
        """Set a tenant's limit at run time, in the store: for every process, from now on.

        Args:
            tenant_id: Whose limit.
            name: `"rule/period"`; `"daily"` and `"monthly"` stand for the first rule's.
            limit: In the rule's unit; None takes it back.

        Raises:
            ConfigurationError: No such rule, or a limit that no store can hold exactly.
        """
        rule, period = self._named(name)
        parts = None if limit is None else rule.parts(limit)
        group = Payer(tenant_id=_id(tenant_id)).group
        self._ledger.set_limit(group, f"{rule.name}/{period}", parts)

    def _named(self, name: str) -> tuple[BudgetRule, Period]:
        first, _, period = name.rpartition("/")
        for rule in self.plan.rules:
            if rule.name == (first or self.plan.rules[0].name) and period in PERIODS:
                return rule, period
        known = ", ".join(f"{rule.name}/{period}" for rule in self.plan.rules for period in PERIODS)
        raise _refused(key=name, wrong="there is no such budget", right=f"use one of {known}")

    def _shown(
        self, payer: Payer, spec: TierSpec | Tier | str | None, now_s: float
    ) -> list[tuple[BudgetRule, Line]]:
        known = spec if spec is None or isinstance(spec, TierSpec) else self._specs[Tier(spec)]
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
                limit=None if limit is None else rule.units(limit),
                resets_at=datetime.fromtimestamp(line.ends_s, UTC),
            )
        return found


_STEPS = ((Decimal("0.95"), Tier.LIGHT), (Decimal("0.80"), Tier.STANDARD))
"""From which share of a `degrade` budget on no more than which tier is used."""


def _cap(usages: Iterable[WindowUsage], degrading: set[str]) -> Tier | None:
    caps = [
        next((tier for share, tier in _STEPS if usage.share >= share), None)
        for usage in usages
        if usage.rule in degrading
    ]
    return min((tier for tier in caps if tier is not None), default=None)


def _id(tenant_id: str | uuid.UUID | None) -> str | None:
    return None if tenant_id is None else str(tenant_id)


def _default_rules(daily: int | None, monthly: int | None) -> tuple[BudgetRule, ...]:
    return (BudgetRule(name="tenant", daily=daily, monthly=monthly),)


def _checked_rules(rules: Sequence[BudgetRule]) -> tuple[BudgetRule, ...]:
    names = [rule.name for rule in rules]
    if not rules:
        raise _refused(key="rules", wrong="there is none", right="give at least one BudgetRule")
    if len(set(names)) < len(names) or TRACKING.name in names:
        right = f"each its own, and none {TRACKING.name!r}"
        raise _refused(
            key="rules", wrong=f"names that cannot work: {', '.join(names)}", right=right
        )
    return tuple(rules)


def _checked_thresholds(thresholds: Sequence[int]) -> tuple[int, ...]:
    if not all(isinstance(each, int) and 0 < each <= 100 for each in thresholds):  # noqa: PLR2004
        raise _refused(
            key="thresholds",
            wrong=f"{list(thresholds)} cannot work",
            right="whole percents, 1 to 100",
        )
    return tuple(sorted(set(thresholds)))


def _always(zone: str) -> Callable[[str | None], str]:
    """The same zone for every tenant, checked at once."""
    zone_info(zone)
    return lambda _tenant: zone


def _refused(*, key: str, wrong: str, right: str) -> ConfigurationError:
    return ConfigurationError([Problem(source="arguments", key=key, wrong=wrong, right=right)])
