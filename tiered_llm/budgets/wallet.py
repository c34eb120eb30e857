"""A call's way to pay: what it may cost is worked out once, when it is first asked."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from tiered_llm.budgets.asking import wanted_limit
from tiered_llm.budgets.exceeded import BudgetExceededError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from decimal import Decimal

    from langchain_core.messages import BaseMessage

    from tiered_llm.budgets.manager import BudgetManager
    from tiered_llm.budgets.plan import Payer
    from tiered_llm.budgets.reservation import Reservation
    from tiered_llm.tiers import Tier, TierSpec


class CallWallet:
    """Reserves for each attempt of one call."""

    def __init__(
        self,
        manager: BudgetManager,
        payer: Payer,
        messages: Sequence[BaseMessage],
        tools: Callable[[Tier], Sequence[Any]] = lambda _tier: (),
        *,
        least: int = 1,
    ) -> None:
        """Take who pays, what each tier is sent, and below how many tokens of output it is not."""
        self._least = least
        self._manager, self._payer = manager, payer
        self._messages, self._tools = messages, tools
        self._bounds: dict[tuple[Tier, str], int] = {}
        self._around = copy_context() if manager.may_ask else None  # where the graph runs

    def cap(self) -> Tier | None:
        """The highest tier that the payer's budget still allows; None for any."""
        return self._manager.cap(self._payer)

    async def acap(self) -> Tier | None:
        """As `cap`, on the event loop."""
        return await self._manager.acap(self._payer)

    def reserve(self, spec: TierSpec, max_output_tokens: int | None) -> Reservation:
        """A hold for one attempt.

        Raises:
            BudgetExceededError: There is no room for it.
            LedgerError: The store cannot be reached, or has lost what it held.
            GraphInterrupt: There is no room, and the graph's human is asked for some.
        """
        given = (self._payer, spec, self._input_bound(spec), max_output_tokens)
        least = min(self._least, max_output_tokens or self._manager.output_bound)
        while True:
            try:
                return self._manager.reserve(*given, least=least)
            except BudgetExceededError as refusal:
                asked = self._asked(refusal)
                if asked is None:
                    raise
            self._manager.set_limit(self._payer.tenant_id, *asked)

    async def areserve(self, spec: TierSpec, max_output_tokens: int | None) -> Reservation:
        """As `reserve`, on the event loop."""
        given = (self._payer, spec, self._input_bound(spec), max_output_tokens)
        least = min(self._least, max_output_tokens or self._manager.output_bound)
        while True:
            try:
                return await self._manager.areserve(*given, least=least)
            except BudgetExceededError as refusal:
                asked = self._asked(refusal)
                if asked is None:
                    raise
            await self._manager.aset_limit(self._payer.tenant_id, *asked)

    def _asked(self, refusal: BudgetExceededError) -> tuple[str, Decimal] | None:
        """The limit's name and what a human sets it to; None where nobody is or can be asked."""
        if self._around is None or not self._manager.asks_first(refusal.rule):
            return None
        limit = self._around.copy().run(wanted_limit, refusal)
        return None if limit is None else (f"{refusal.rule}/{refusal.period}", limit)

    def _input_bound(self, spec: TierSpec) -> int:
        """Worked out once for each tier: a second attempt sends the same."""
        key = (spec.tier, spec.model_id)
        if key not in self._bounds:
            tools = self._tools(spec.tier)
            self._bounds[key] = self._manager.input_bound(spec, self._messages, tools)
        return self._bounds[key]
