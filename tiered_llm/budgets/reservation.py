"""One call's leave to spend, from the moment it is granted to the one it is settled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from tiered_llm.budgets.errors import LedgerError
from tiered_llm.budgets.ledger import Settled
from tiered_llm.budgets.outage import Late
from tiered_llm.providers.billing import MOST_TOKENS

if TYPE_CHECKING:
    from types import TracebackType

    from tiered_llm.budgets.desk import Desk
    from tiered_llm.budgets.ledger import Ask
    from tiered_llm.budgets.rules import BudgetRule
    from tiered_llm.tiers import TierSpec


_UNTOLD = (LedgerError, asyncio.CancelledError, KeyboardInterrupt)
"""After which nobody knows whether the store was told; what else is raised would be again."""


class Reservation:
    """What a call may use. Settle it with what it did use, or void it if nothing was sent.

    ```python
    with budget.reserve("acme", "light", input_tokens=900, max_output_tokens=500) as held:
        answer = client.create(..., max_tokens=held.granted)
        held.settle(answer.usage.prompt_tokens, answer.usage.completion_tokens)
    ```

    Left without either, the whole reservation stays charged: the server may have used it.
    All endings may be called again, from any thread; the first one counts, but for a settle
    after the reservation was given up, which corrects it. One that the store cannot be told
    raises `LedgerError`; it is remembered, and told with a later call.

    Attributes:
        granted: Output tokens granted: what must be sent as `max_tokens`.
        input_tokens: The upper bound that was reserved for the input.
    """

    def __init__(  # noqa: PLR0913  # made by a manager alone
        self,
        *,
        desk: Desk,
        ask: Ask,
        spec: TierSpec,
        rules: tuple[BudgetRule, ...],
        granted: int,
        input_tokens: int,
        reserved: tuple[int, int],
    ) -> None:
        """Take what was granted; `reserved` is more where the model goes beyond its bounds."""
        self._desk, self._ask, self._spec, self._rules = desk, ask, spec, rules
        self._reserved = reserved
        self.granted, self.input_tokens = granted, input_tokens
        self._ended = False

    @property
    def unused(self) -> Late:
        """What ends it as if it had never been made."""
        return Late(self._ask.group, self._ask.lease, None)

    @property
    def counts_seen(self) -> bool:
        """Whether an answer that is cut is charged by what was seen of it."""
        return self._desk.cut_margin is not None

    def settle(self, input_tokens: int, output_tokens: int) -> Settled:
        """Charge what the server said it used, in place of the reservation.

        Raises:
            LedgerError: The store is away; it is told later.
            ValueError: No numbers of tokens; the reservation stays as it is.
        """
        late = self._ending(input_tokens, output_tokens)
        try:
            settled = self._desk.ledger.settle(late.group, late.lease, late.amounts or ())
        except _UNTOLD:
            self._desk.outage.end_late(late)
            raise
        return self._told(settled, input_tokens, output_tokens)

    def void(self) -> Settled:
        """Free the reservation: it is certain that the server used nothing.

        Raises:
            LedgerError: The store is away; it is told later.
        """
        late = self._ending(None)
        try:
            return self._desk.ledger.void(late.group, late.lease)
        except _UNTOLD:
            self._desk.outage.end_late(late)
            raise

    def orphan(self, seen_tokens: int | None = None) -> Settled:
        """Leave the reservation charged: nobody knows what the server used.

        Args:
            seen_tokens: The most that what was seen of the answer can be. Where the manager has
                a `cut_margin`, that and the margin are charged in place of all that was granted.
        """
        self._ended = True
        amounts = self._cut(seen_tokens)
        return self._desk.ledger.orphan(self._ask.group, self._ask.lease, amounts)

    def tokens_if_orphaned(self, seen_tokens: int | None = None) -> int:
        """Tokens that `orphan` would leave charged; 0 where it releases them."""
        if self._ask.releases:
            return 0
        written = self._written(seen_tokens)
        return sum(self._reserved) if written == self.granted else self.input_tokens + written

    async def asettle(self, input_tokens: int, output_tokens: int) -> Settled:
        """As `settle`, on the event loop."""
        late = self._ending(input_tokens, output_tokens)
        try:
            settled = await self._desk.ledger.asettle(late.group, late.lease, late.amounts or ())
        except _UNTOLD:
            self._desk.outage.end_late(late)
            raise
        return self._told(settled, input_tokens, output_tokens)

    async def avoid(self) -> Settled:
        """As `void`, on the event loop."""
        late = self._ending(None)
        try:
            return await self._desk.ledger.avoid(late.group, late.lease)
        except _UNTOLD:
            self._desk.outage.end_late(late)
            raise

    async def aorphan(self, seen_tokens: int | None = None) -> Settled:
        """As `orphan`, on the event loop."""
        self._ended = True
        amounts = self._cut(seen_tokens)
        return await self._desk.ledger.aorphan(self._ask.group, self._ask.lease, amounts)

    def __enter__(self) -> Self:
        """Begin the call."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave it charged, unless it has ended."""
        if not self._ended:
            self.orphan()

    async def __aenter__(self) -> Self:
        """Begin the call."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave it charged, unless it has ended."""
        if not self._ended:
            await self.aorphan()

    def _ending(self, input_tokens: int | None, output_tokens: int = 0) -> Late:
        if not (0 <= (input_tokens or 0) <= MOST_TOKENS and 0 <= output_tokens <= MOST_TOKENS):
            msg = f"tokens used must be from 0 to {MOST_TOKENS:,}"
            raise ValueError(msg)
        self._ended = True
        amounts = None if input_tokens is None else self._amounts(input_tokens, output_tokens)
        return Late(self._ask.group, self._ask.lease, amounts)

    def _cut(self, seen_tokens: int | None) -> tuple[int, ...] | None:
        """What an answer that was cut is charged; None for all that was reserved."""
        written = self._written(seen_tokens)
        return None if written == self.granted else self._amounts(self.input_tokens, written)

    def _written(self, seen_tokens: int | None) -> int:
        margin = self._desk.cut_margin
        if seen_tokens is None or margin is None:
            return self.granted
        return min(self.granted, seen_tokens + margin)

    def _amounts(self, input_tokens: int, output_tokens: int) -> tuple[int, ...]:
        return tuple(rule.cost(self._spec, input_tokens, output_tokens) for rule in self._rules)

    def _told(self, settled: Settled, input_tokens: int, output_tokens: int) -> Settled:
        self._desk.alerting.alerts(settled.alerts)
        if settled.ended in {"settled", "corrected"}:
            bounds, used = (self.input_tokens, self.granted), (input_tokens, output_tokens)
            overrun = self._desk.bounds.noted(self._spec, bounds, self._reserved, used)
            if overrun is not None:
                self._desk.alerting.overrun(overrun)
        return settled


class UnheldReservation(Reservation):
    """What a call may use while the store is away, out of its process's allowance."""

    def settle(self, input_tokens: int, output_tokens: int) -> Settled:
        """Give back what was not used; the rest is charged once the store is back."""
        return self._end(input_tokens, output_tokens)

    def void(self) -> Settled:
        """Give back all of it."""
        return self._end(0, 0)

    def orphan(self, seen_tokens: int | None = None) -> Settled:
        """Leave it charged."""
        return self._end(self.input_tokens, self._written(seen_tokens))

    def tokens_if_orphaned(self, seen_tokens: int | None = None) -> int:
        """Tokens that `orphan` would leave charged."""
        return self.input_tokens + self._written(seen_tokens)

    async def asettle(self, input_tokens: int, output_tokens: int) -> Settled:
        """As `settle`."""
        return self.settle(input_tokens, output_tokens)

    async def avoid(self) -> Settled:
        """As `void`."""
        return self.void()

    async def aorphan(self, seen_tokens: int | None = None) -> Settled:
        """As `orphan`."""
        return self.orphan(seen_tokens)

    def _end(self, input_tokens: int, output_tokens: int) -> Settled:
        if self._ended:
            return Settled(ended="already")
        self._ended = True
        taken, used = sum(self._reserved), input_tokens + output_tokens
        amounts = self._amounts(input_tokens, output_tokens)
        self._desk.outage.ended(self._ask, taken, used, amounts)
        return Settled(ended="settled", overrun=max(0, used - taken))
