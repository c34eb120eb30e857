"""What the fallback asks of whoever pays: a reservation for each attempt, and its end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from tiered_llm.providers.billing import UsageCollector, was_refused

if TYPE_CHECKING:
    from tiered_llm.fallback.signing import Signing
    from tiered_llm.tiers import Tier, TierSpec

_log = logging.getLogger("tiered_llm.budgets")


class Hold(Protocol):
    """What one attempt may spend; see `tiered_llm.budgets.Reservation`."""

    granted: int

    @property
    def counts_seen(self) -> bool:
        """Whether an answer that is cut is charged by what was seen of it."""
        ...

    def settle(self, input_tokens: int, output_tokens: int) -> Any:
        """Charge what was used."""
        ...

    def void(self) -> Any:
        """Nothing was used."""
        ...

    def orphan(self, seen_tokens: int | None = None) -> Any:
        """Nobody knows what was used; at least so many tokens of output, where some were seen."""
        ...

    async def asettle(self, input_tokens: int, output_tokens: int) -> Any:
        """As `settle`."""
        ...

    async def avoid(self) -> Any:
        """As `void`."""
        ...

    async def aorphan(self, seen_tokens: int | None = None) -> Any:
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

    def end(
        self,
        error: BaseException | None,
        handled: BaseException | None = None,
        signing: Signing | None = None,
    ) -> None:
        """Settle by what was told; void what was refused; leave the rest charged."""
        told = self.collector
        try:
            if self._is_free(error, handled):
                self._hold.void()
            elif told.complete:
                self._hold.settle(told.input_tokens, told.output_tokens)
            else:
                self._hold.orphan(self._seen(signing))
        except Exception as trouble:  # noqa: BLE001
            _not_told(trouble)

    async def aend(
        self,
        error: BaseException | None,
        handled: BaseException | None = None,
        signing: Signing | None = None,
    ) -> None:
        """As `end`, on the event loop."""
        told = self.collector
        try:
            if self._is_free(error, handled):
                await self._hold.avoid()
            elif told.complete:
                await self._hold.asettle(told.input_tokens, told.output_tokens)
            else:
                await self._hold.aorphan(self._seen(signing))
        except Exception as trouble:  # noqa: BLE001
            _not_told(trouble)

    def _seen(self, signing: Signing | None) -> int | None:
        """The most tokens that what was seen of the answer can be; None where it does not count."""
        counts = signing is not None and self._hold.counts_seen
        return signing.seen_bytes() if signing is not None and counts else None

    def _is_free(self, error: BaseException | None, handled: BaseException | None) -> bool:
        if error is None:
            return False
        runs = self.collector.started
        if runs == 0 and self._tells_its_runs:
            return True
        return runs <= 1 and was_refused(error, handled)


def _not_told(trouble: Exception) -> None:
    _log.warning("the end of a call could not be recorded and stays charged: %s", trouble)
