"""A call's way to pay: what it may cost is worked out once, when it is first asked."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from tiered_llm.budgets.bound import input_bound

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        tools: Sequence[Any] = (),
    ) -> None:
        """Take who pays, and what is sent."""
        self._manager, self._payer = manager, payer
        self._messages, self._tools = messages, tools

    @cached_property
    def _input_tokens(self) -> int:
        return input_bound(self._messages, self._tools)

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
        """
        return self._manager.reserve(self._payer, spec, self._input_tokens, max_output_tokens)

    async def areserve(self, spec: TierSpec, max_output_tokens: int | None) -> Reservation:
        """As `reserve`, on the event loop."""
        given = (self._payer, spec, self._input_tokens, max_output_tokens)
        return await self._manager.areserve(*given)
