"""One call's leave to spend, from the moment it is granted to the one it is settled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from tiered_llm.budgets.ledger import Ask, Settled
    from tiered_llm.budgets.manager import BudgetManager
    from tiered_llm.budgets.rules import BudgetRule
    from tiered_llm.tiers import TierSpec


class Reservation:
    """What a call may use. Settle it with what it did use, or void it if nothing was sent.

    ```python
    with budget.reserve("acme", "light", input_tokens=900, max_output_tokens=500) as held:
        answer = client.create(..., max_tokens=held.granted)
        held.settle(answer.usage.prompt_tokens, answer.usage.completion_tokens)
    ```

    Left without either, the whole reservation stays charged: the server may have used it.
    All endings may be called again, from any thread; the first one counts, but for a settle
    after the reservation was given up, which corrects it.

    Attributes:
        granted: Output tokens granted: what must be sent as `max_tokens`.
        input_tokens: The upper bound that was reserved for the input.
    """

    def __init__(  # noqa: PLR0913  # made by a manager alone
        self,
        *,
        manager: BudgetManager,
        ask: Ask,
        spec: TierSpec,
        rules: tuple[BudgetRule, ...],
        granted: int,
        input_tokens: int,
    ) -> None:
        """Take what was granted."""
        self._manager, self._ask, self._spec, self._rules = manager, ask, spec, rules
        self.granted, self.input_tokens = granted, input_tokens
        self._ended = False

    def settle(self, input_tokens: int, output_tokens: int) -> Settled:
        """Charge what the server said it used, in place of the reservation."""
        self._ended = True
        amounts = self._amounts(input_tokens, output_tokens)
        return self._told(self._manager.ledger.settle(self._ask.group, self._ask.lease, amounts))

    def void(self) -> Settled:
        """Free the reservation: it is certain that the server used nothing."""
        self._ended = True
        return self._manager.ledger.void(self._ask.group, self._ask.lease)

    def orphan(self) -> Settled:
        """Leave the reservation charged: nobody knows what the server used."""
        self._ended = True
        return self._manager.ledger.orphan(self._ask.group, self._ask.lease)

    async def asettle(self, input_tokens: int, output_tokens: int) -> Settled:
        """As `settle`, on the event loop."""
        self._ended = True
        amounts = self._amounts(input_tokens, output_tokens)
        ledger = self._manager.ledger
        return self._told(await ledger.asettle(self._ask.group, self._ask.lease, amounts))

    async def avoid(self) -> Settled:
        """As `void`, on the event loop."""
        self._ended = True
        return await self._manager.ledger.avoid(self._ask.group, self._ask.lease)

    async def aorphan(self) -> Settled:
        """As `orphan`, on the event loop."""
        self._ended = True
        return await self._manager.ledger.aorphan(self._ask.group, self._ask.lease)

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

    def _amounts(self, input_tokens: int, output_tokens: int) -> tuple[int, ...]:
        return tuple(rule.cost(self._spec, input_tokens, output_tokens) for rule in self._rules)

    def _told(self, settled: Settled) -> Settled:
        self._manager.tell(settled.alerts)
        return settled
