"""Budgets as an application holds them: reserve before a call, settle after it."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from tiered_llm.budgets.alerting import Alerting
from tiered_llm.budgets.bounds import Bounds, widened
from tiered_llm.budgets.checks import (
    checked_allowance,
    checked_limits,
    checked_parts,
    checked_rules,
    checked_thresholds,
    checked_zone,
    named_rule,
    rules_from,
    rules_of,
)
from tiered_llm.budgets.desk import Desk
from tiered_llm.budgets.errors import LedgerError
from tiered_llm.budgets.exceeded import BudgetExceededError
from tiered_llm.budgets.ledger import Granted, Refused, Stale
from tiered_llm.budgets.opening import open_ledger
from tiered_llm.budgets.outage import Late, Outage
from tiered_llm.budgets.overview import Overview
from tiered_llm.budgets.plan import Draft, Payer, Plan
from tiered_llm.budgets.reservation import Reservation, UnheldReservation
from tiered_llm.clock import SYSTEM_CLOCK
from tiered_llm.settings import DEFAULT_SPECS, get_settings
from tiered_llm.tiers import Tier, TierSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from decimal import Decimal

    from langchain_core.messages import BaseMessage

    from tiered_llm.budgets.bounds import Overrun, TokenCounter
    from tiered_llm.budgets.checks import OnOrphan, OnStoreError
    from tiered_llm.budgets.ledger import Alert, Answer, Ask, Ledger
    from tiered_llm.budgets.rules import BudgetRule
    from tiered_llm.budgets.usage import WindowUsage
    from tiered_llm.clock import Clock
    from tiered_llm.settings import Settings

_TRIES = 3
"""Windows may end between writing an ask and the ledger's reading it; not three times in a row."""

_AT_A_TIME = 20
"""Things that the store is told by a call that finds it back: no caller pays for a long outage."""


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
        tokenizers: Mapping[str, TokenCounter] | None = None,
        cut_margin: int | None = None,
        on_orphan: OnOrphan = "charge",
        on_store_error: OnStoreError | None = None,
        store_error_allowance: int | None = None,
        on_alert: Iterable[Callable[[Alert], None]] = (),
        on_overrun: Iterable[Callable[[Overrun], None]] = (),
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
            tokenizers: `model_id` → a function of messages and tools that counts their tokens
                exactly as the server bills them; bytes are counted for other models.
            cut_margin: Charge an answer that was cut, and whose use nobody told, by the bytes
                seen of it and so many tokens more; all that was reserved if None.
            on_orphan: Whether the reservation of a call that was never heard of again stays
                charged, or is released: then it may be spent twice.
            on_store_error: What becomes of a call while the store cannot be reached: `deny`
                refuses it, `allow` makes it and charges it later. If None, `allow` where all
                rules are soft, else `deny`.
            store_error_allowance: Tokens that this process may use so before the store is back.
            on_alert: Called with each alert, in the process that raised it.
            on_overrun: Called with each call that used more than was reserved for it.
            specs: The tiers' weights and prices, for calls that name a tier alone.
            clock: Tells the time, where the store has none of its own.

        Raises:
            ConfigurationError: Limits, rules, zone or store that cannot work.
        """
        given = rules_from(default_daily_limit, default_monthly_limit) if rules is None else rules
        self.plan = Plan(
            rules=checked_rules(given),
            tenant_limits=checked_limits(checked_rules(given), tenant_limits or {}),
            zone=checked_zone(time_zone),
            thresholds=checked_thresholds(thresholds),
            lease_s=lease_s,
            releases=on_orphan == "release",
        )
        self.output_bound = output_bound
        allowance = checked_allowance(self.plan.rules, on_store_error, store_error_allowance)
        self._specs, self._clock = dict(specs), clock
        self._desk = Desk(
            ledger=open_ledger(store, clock) if isinstance(store, str) else store,
            outage=Outage(allowance, clock),
            bounds=Bounds(tokenizers or {}, clock),
            alerting=Alerting(on_alert=tuple(on_alert), on_overrun=tuple(on_overrun)),
            cut_margin=cut_margin,
        )
        self._overview = Overview(plan=self.plan, ledger=self.ledger, specs=self._specs)

    @classmethod
    def from_settings(cls, settings: Settings | None = None, **more: Any) -> Self:
        """A manager with the settings' limits, store, weights and prices.

        Args:
            settings: `get_settings()` if left out.
            more: Other arguments of the constructor; they go before the settings.
        """
        settings = settings or get_settings()
        held = settings.budget
        given = {
            "default_daily_limit": settings.token_budget_daily,
            "default_monthly_limit": settings.token_budget_monthly,
            "store": settings.store,
            "rules": rules_of(held),
            "tenant_limits": held.tenant_limits,
            "time_zone": held.time_zone,
            "thresholds": held.thresholds,
            "lease_s": held.lease_s,
            "output_bound": held.output_bound,
            "cut_margin": held.cut_margin,
            "on_orphan": held.on_orphan,
            "on_store_error": held.on_store_error,
            "store_error_allowance": held.store_error_allowance,
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
        return self._desk.ledger

    @property
    def owed_tokens(self) -> int:
        """Tokens taken while the store was away: by calls under way, and not yet charged."""
        return self._desk.outage.owes

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
        outage = self._desk.outage
        if outage.is_away:
            return self._unheld(draft)
        try:
            held = self._held(draft)
        except LedgerError as error:
            self._unsure(draft, attempt_id)
            if not outage.excuses(error):
                raise
            return self._unheld(draft, error)
        if outage.has_debts:
            with suppress(LedgerError):
                outage.settle_up(self.ledger, self._desk.alerting, _AT_A_TIME)
        return held

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
        outage = self._desk.outage
        if outage.is_away:
            return self._unheld(draft)
        try:
            held = await self._aheld(draft)
        except LedgerError as error:
            self._unsure(draft, attempt_id)
            if not outage.excuses(error):
                raise
            return self._unheld(draft, error)
        except asyncio.CancelledError:
            self._unsure(draft, attempt_id)
            raise
        if outage.has_debts:
            try:
                with suppress(LedgerError):
                    await outage.asettle_up(self.ledger, self._desk.alerting, _AT_A_TIME)
            except asyncio.CancelledError:
                outage.end_late(held.unused)
                raise
        return held

    def _unsure(self, draft: Draft, attempt_id: str | None) -> None:
        """A reservation may have been made of which nobody was told: it is voided later.

        Not one whose id is the caller's own: the caller may ask with it again.
        """
        if attempt_id is None:
            self._desk.outage.void_late(Late(draft.payer.group, draft.lease, None))

    def _held(self, draft: Draft) -> Reservation:
        now_s = self.ledger.now_s()
        for _ in range(_TRIES):
            ask = self.plan.ask(draft, now_s)
            answer = self.ledger.reserve(ask)
            if not isinstance(answer, Stale):
                break
            now_s = answer.now_s
        return self._reservation(draft, ask, answer)

    async def _aheld(self, draft: Draft) -> Reservation:
        now_s = await self.ledger.anow_s()
        for _ in range(_TRIES):
            ask = self.plan.ask(draft, now_s)
            answer = await self.ledger.areserve(ask)
            if not isinstance(answer, Stale):
                break
            now_s = answer.now_s
        return self._reservation(draft, ask, answer)

    def _unheld(self, draft: Draft, error: LedgerError | None = None) -> Reservation:
        read, written = draft.factor.read, draft.factor.written
        least, most = widened(draft.least, written), widened(draft.most, written)
        granted = self._desk.outage.take(widened(draft.input_tokens, read), least, most)
        if granted is None:
            msg = "the store of budgets is away, and this process has used what it may without it"
            raise LedgerError(msg) from error
        ask = self.plan.ask(draft, self._clock.now().timestamp())
        return self._made(UnheldReservation, draft, ask, granted)

    def reconcile(self) -> int:
        """Tell the store what it missed while it was away: charges, and ends of calls.

        It happens by itself with the first call that reaches the store again.

        Returns:
            How many things it was told.

        Raises:
            LedgerError: It is away still; nothing is forgotten.
        """
        return self._desk.outage.settle_up(self.ledger, self._desk.alerting)

    async def areconcile(self) -> int:
        """As `reconcile`, on the event loop."""
        return await self._desk.outage.asettle_up(self.ledger, self._desk.alerting)

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
        known = self.spec_of(spec)
        wanted = most or known.max_output_tokens or self.output_bound
        return Draft(
            payer=who,
            spec=known,
            input_tokens=input_tokens,
            most=max(wanted, least),
            least=least,
            lease=attempt_id or uuid.uuid4().hex,
            factor=self._desk.bounds.factor(known),
        )

    def _reservation(self, draft: Draft, ask: Ask, answer: Answer) -> Reservation:
        if isinstance(answer, Refused):
            raise self._exceeded(answer)
        if not isinstance(answer, Granted):
            msg = "the store's clock jumps: windows end faster than they can be asked about"
            raise TimeoutError(msg)
        self._desk.alerting.alerts(answer.alerts)
        return self._made(Reservation, draft, ask, answer.tokens)

    def _made(self, kind: type[Reservation], draft: Draft, ask: Ask, granted: int) -> Reservation:
        return kind(
            desk=self._desk,
            ask=ask,
            spec=draft.spec,
            rules=self.plan.rules_of(draft),
            granted=max(draft.least, int(granted / draft.factor.written)),
            input_tokens=draft.input_tokens,
            reserved=(widened(draft.input_tokens, draft.factor.read), granted),
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

    def spec_of(self, spec: TierSpec | Tier | str) -> TierSpec:
        """The model that a tier stands for here."""
        return spec if isinstance(spec, TierSpec) else self._specs[Tier(spec)]

    def input_bound(
        self, spec: TierSpec, messages: Sequence[BaseMessage], tools: Sequence[Any] = ()
    ) -> int:
        """The most tokens that a request's input may be billed; exact where a tokenizer is known.

        Args:
            spec: The model that is asked.
            messages: What is sent.
            tools: Schemas that are sent along.
        """
        return self._desk.bounds.input_tokens(spec, messages, tools)

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
        ask = self.plan.ask(draft, self.ledger.now_s())
        amounts = tuple(
            rule.cost(draft.spec, input_tokens, output_tokens) for rule in self.plan.rules_of(draft)
        )
        self._desk.alerting.alerts(self.ledger.record(ask, amounts).alerts)

    def get_savings_report(self, tenant_id: str | uuid.UUID) -> dict[str, Any]:
        """What a tenant's calls of this month cost, against all of them on the heaviest tier.

        Returns:
            `tokens` by tier; `cost_units` and the `baseline_cost_units` of the same tokens on
            the heaviest tier; `tokens_saved`, their difference in the heaviest tier's tokens;
            `cost_reduction_pct`. A loss is negative.
        """
        return self._overview.savings(Payer(tenant_id=_id(tenant_id)))

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
        return self._overview.usage_of(payer, spec)

    async def ausage(self, tenant_id: str | uuid.UUID | None) -> dict[str, WindowUsage]:
        """As `usage`, on the event loop."""
        return await self.ausage_of(Payer(tenant_id=_id(tenant_id)))

    async def ausage_of(
        self, payer: Payer, spec: TierSpec | Tier | str | None = None
    ) -> dict[str, WindowUsage]:
        """As `usage_of`, on the event loop."""
        return await self._overview.ausage_of(payer, spec)

    def cap(self, payer: Payer) -> Tier | None:
        """The highest tier that a payer's `degrade` budgets still allow; None for any."""
        if self._desk.outage.is_away:
            return None
        try:
            return self._overview.cap(payer)
        except LedgerError as error:
            if self._desk.outage.excuses(error):
                return None
            raise

    async def acap(self, payer: Payer) -> Tier | None:
        """As `cap`, on the event loop."""
        if self._desk.outage.is_away:
            return None
        try:
            return await self._overview.acap(payer)
        except LedgerError as error:
            if self._desk.outage.excuses(error):
                return None
            raise

    @property
    def may_ask(self) -> bool:
        """Whether there is a budget for which a human is asked."""
        return any(rule.mode == "interrupt" for rule in self.plan.rules)

    def asks_first(self, rule: str) -> bool:
        """Whether a human is asked before a budget refuses."""
        return any(each.name == rule and each.mode == "interrupt" for each in self.plan.rules)

    def limits(self, payer: Payer) -> dict[str, int]:
        """A tenant's limits that were set at run time, in parts, by their names."""
        return self.ledger.limits(payer.group)

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
        self.ledger.set_limit(*self._limit(tenant_id, name, limit))

    async def aset_limit(
        self, tenant_id: str | uuid.UUID | None, name: str, limit: float | Decimal | None
    ) -> None:
        """As `set_limit`, on the event loop."""
        await self.ledger.aset_limit(*self._limit(tenant_id, name, limit))

    def _limit(
        self, tenant_id: str | uuid.UUID | None, name: str, limit: float | Decimal | None
    ) -> tuple[str, str, int | None]:
        """Group, name and parts of a limit to be set."""
        rule, period = named_rule(self.plan.rules, name)
        parts = None if limit is None else checked_parts(rule, name, limit)
        return Payer(tenant_id=_id(tenant_id)).group, f"{rule.name}/{period}", parts


def _id(tenant_id: str | uuid.UUID | None) -> str | None:
    return None if tenant_id is None else str(tenant_id)
