"""A call's costs, account by account: what is asked of the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tiered_llm.budgets.bounds import PLAIN, Factor, widened
from tiered_llm.budgets.ledger import Ask, Line
from tiered_llm.budgets.rules import BudgetRule
from tiered_llm.budgets.windows import Calendar
from tiered_llm.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from tiered_llm.budgets.windows import Period
    from tiered_llm.tiers import TierSpec

PERIODS: tuple[Period, ...] = ("daily", "monthly")

TRACKING = BudgetRule(name="tier", by=("tier",), mode="soft")
"""The rule that has no limit: what each tier has used, for the savings report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payer:
    """For whom a call is made, as budgets see it.

    Attributes:
        tenant_id: Who pays; calls without one share a budget of their own.
        user_id: The tenant's user, for rules that count each.
        agent: The asking agent's name, for rules that count each.
    """

    tenant_id: str | None = None
    user_id: str | None = None
    agent: str | None = None

    @property
    def group(self) -> str:
        """Whose accounts: the ledger's group."""
        return "" if self.tenant_id is None else self.tenant_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A call to be reserved for; an ask once the time is known.

    Attributes:
        payer: For whom it is made.
        spec: The tier that will be asked.
        input_tokens: An upper bound of the tokens sent.
        most: Output tokens wanted.
        least: Output tokens below which it is not worth making.
        lease: The call's own id.
        factor: By how much more than its bounds the model is reserved for.
    """

    payer: Payer
    spec: TierSpec
    input_tokens: int
    most: int
    least: int
    lease: str
    factor: Factor = PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is counted, and when its windows begin.

    Attributes:
        rules: What is counted.
        tenant_limits: Tenant and `"rule/period"`, to its own limit in the rule's unit.
        zone: A tenant's time zone.
        thresholds: Percents at which alerts are raised.
        lease_s: Seconds after which a call that was never settled counts as used.
        releases: Whether such a call is released instead.
        calendar: The windows that were last asked for.
    """

    rules: tuple[BudgetRule, ...]
    tenant_limits: Mapping[str, Mapping[str, float | Decimal]]
    zone: Callable[[str | None], str]
    thresholds: tuple[int, ...]
    lease_s: float
    releases: bool = False
    calendar: Calendar = field(default_factory=Calendar)

    def ask(self, draft: Draft, now_s: float) -> Ask:
        """What a call asks of the ledger, in the windows of an instant."""
        lines = [
            line
            for rule in self.rules
            for line in self.lines(
                rule, draft.payer, draft.spec, draft.input_tokens, now_s, draft.factor
            )
        ]
        tracked = self.tracked(draft.payer, draft.spec, now_s, draft.input_tokens, draft.factor)
        return Ask(
            group=draft.payer.group,
            lease=draft.lease,
            lines=(*lines, tracked),
            least=widened(draft.least, draft.factor.written),
            most=widened(draft.most, draft.factor.written),
            ttl_s=self.lease_s,
            releases=self.releases,
        )

    def rules_of(self, draft: Draft) -> tuple[BudgetRule, ...]:
        """The rule of each line of the ask, in order."""
        rules = [
            rule
            for rule in self.rules
            for _ in PERIODS
            if _apart(rule, draft.payer, draft.spec) is not None
        ]
        return (*rules, TRACKING)

    def tracked(
        self,
        payer: Payer,
        spec: TierSpec,
        now_s: float,
        input_tokens: int = 0,
        factor: Factor = PLAIN,
    ) -> Line:
        """This month's tokens of one tier, without a limit."""
        [line] = self.lines(TRACKING, payer, spec, input_tokens, now_s, factor)
        return line

    def lines(  # noqa: PLR0913, PLR0917  # what a call is
        self,
        rule: BudgetRule,
        payer: Payer,
        spec: TierSpec | None,
        input_tokens: int,
        now_s: float,
        factor: Factor = PLAIN,
    ) -> list[Line]:
        """What a call costs by one rule: a line for each period; none where it does not count.

        Raises:
            ConfigurationError: The tenant's time zone does not exist.
        """
        apart = _apart(rule, payer, spec)
        if apart is None:
            return []
        zone = zone_info(self.zone(payer.tenant_id))
        own = self.tenant_limits.get(payer.tenant_id or "", {})
        fixed = widened(rule.cost(spec, input_tokens, 0), factor.read) if spec else 0
        per_token = rule.cost(spec, 0, 1) if spec else 0
        lines = []
        for period in ("monthly",) if rule is TRACKING else PERIODS:
            name = f"{rule.name}/{period}"
            window = self.calendar.window_at(period, now_s, zone)
            line = Line(
                account=f"{name}/{window.key}/{apart}",
                limit_name=name,
                limit=rule.parts(own[name]) if name in own else rule.limit_of(period),
                refuses=rule.mode != "soft",
                starts_s=window.starts_s,
                ends_s=window.ends_s,
                fixed=fixed,
                per_token=per_token,
                thresholds=self.thresholds,
            )
            lines.append(line)
        return lines


def _apart(rule: BudgetRule, payer: Payer, spec: TierSpec | None) -> str | None:
    """What names the account within the rule; None where the rule does not count the call."""
    if rule.tier is not None and spec is not None and spec.tier != rule.tier:
        return None
    known = {"tier": spec and spec.tier.value, "user": payer.user_id, "agent": payer.agent}
    parts = [f"{each}={known[each]}" for each in rule.by if known[each] is not None]
    return None if len(parts) < len(rule.by) else "/".join(parts)


def zone_info(name: str) -> ZoneInfo:
    """A time zone by its IANA name.

    Raises:
        ConfigurationError: There is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # a directory's name: OSError
        right = "an IANA name such as Europe/Berlin; on Windows, install tzdata"
        wrong = f"{name!r} is no time zone"
        problem = Problem(source="arguments", key="time_zone", wrong=wrong, right=right)
        raise ConfigurationError([problem]) from error
