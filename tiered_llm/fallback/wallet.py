"""What the fallback asks of whoever pays: a reservation for each attempt, and its end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from tiered_llm.providers.billing import UsageCollector, was_refused

if TYPE_CHECKING:
    from tiered_llm.tiers import Tier, TierSpec

_log = logging.getLogger("tiered_llm.budgets")


class Hold(Protocol):
    """What one attempt may spend; see `tiered_llm.budgets.Reservation`."""

    granted: int

    def settle(self, input_tokens: int, output_tokens: int) -> Any:
        """Charge what was used."""
        ...

    def void(self) -> Any:
        """Nothing was used."""
        ...

    def orphan(self) -> Any:
        """Nobody knows what was used."""
        ...

    async def asettle(self, input_tokens: int, output_tokens: int) -> Any:
        """As `settle`."""
        ...

    async def avoid(self) -> Any:
        """As `void`."""
        ...

    async def aorphan(self) -> Any:
        """As `orphan`."""
        ...


class Wallet(Protocol):
    """Who pays for a call."""

    def reserve(self, spec: TierSpec, max_output_tokens: int | None) -> Hold:
        """A hold for one attempt, or an error that ends the call."""
        ...

    def cap(self) -> Tier | None:
        """The highest tier that the payer's budget still allows; None for any."""
        ...

    async def acap(self) -> Tier | None:
        """As `cap`."""
        ...

    async def areserve(self, spec: TierSpec, max_output_tokens: int | None) -> Hold:
        """As `reserve`."""
        ...


class Payment:
    """One attempt's hold, and what its model runs have told.

    An end that the store does not take is logged, not raised: it must not cost the answer. The
    hold then stays charged.
    """

    __slots__ = ("_hold", "_tells_its_runs", "collector")

    def __init__(self, hold: Hold, *, tells_its_runs: bool) -> None:
        """Take the hold; only of a chat model does no run mean that nothing was sent."""
        self._hold, self.collector = hold, UsageCollector()
        self._tells_its_runs = tells_its_runs

    @property
    def granted(self) -> int:
        """The most output tokens that the attempt may ask for."""
        return self._hold.granted

    def end(self, error: BaseException | None, handled: BaseException | None = None) -> None:
        """Settle by what was told; void what was refused; leave the rest charged."""
        told = self.collector
        try:
            if self._is_free(error, handled):
                self._hold.void()
            elif told.complete:
                self._hold.settle(told.input_tokens, told.output_tokens)
            else:
                self._hold.orphan()
        except Exception as trouble:  # noqa: BLE001
            _not_told(trouble)

    async def aend(self, error: BaseException | None, handled: BaseException | None = None) -> None:
        """As `end`, on the event loop."""
        told = self.collector
        try:
            if self._is_free(error, handled):
                await self._hold.avoid()
            elif told.complete:
                await self._hold.asettle(told.input_tokens, told.output_tokens)
            else:
                await self._hold.aorphan()
        except Exception as trouble:  # noqa: BLE001
            _not_told(trouble)

    def _is_free(self, error: BaseException | None, handled: BaseException | None) -> bool:
        if error is None:
            return False
        runs = self.collector.started
        if runs == 0 and self._tells_its_runs:
            return True
        return runs <= 1 and was_refused(error, handled)


def _not_told(trouble: Exception) -> None:
    _log.warning("the end of a call could not be recorded and stays charged: %s", trouble)
