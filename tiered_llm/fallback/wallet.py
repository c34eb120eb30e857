"""What the fallback asks of whoever pays: a reservation for each attempt, and its end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tiered_llm.fallback.signing import Signing
    from tiered_llm.providers.billing import UsageCollector
    from tiered_llm.tiers import Tier, TierSpec

_log = logging.getLogger("tiered_llm.budgets")


class Hold(Protocol):
    """What one attempt may spend; see `tiered_llm.budgets.Reservation`."""

    granted: int

    @property
    def counts_seen(self) -> bool:
        """Whether an answer that is cut is charged by what was seen of it."""
        ...

    def tokens_if_orphaned(self, seen_tokens: int | None = None) -> int:
        """Tokens that stay charged where nobody knows what was used."""
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

    Attributes:
        charged_tokens: Tokens that its end leaves charged; None before.
    """

    __slots__ = ("_hold", "_told", "charged_tokens")

    def __init__(self, hold: Hold, told: UsageCollector) -> None:
        """Take the hold, and what sums the usage of the attempt's model runs."""
        self._hold, self._told = hold, told
        self.charged_tokens: int | None = None

    @property
    def granted(self) -> int:
        """The most output tokens that the attempt may ask for."""
        return self._hold.granted

    def end(self, *, free: bool, signing: Signing | None = None) -> None:
        """Settle by what was told; void what was free; leave the rest charged."""
        told = self._told
        try:
            if free:
                self.charged_tokens = 0
                self._hold.void()
            elif told.complete:
                self.charged_tokens = told.input_tokens + told.output_tokens
                self._hold.settle(told.input_tokens, told.output_tokens)
            else:
                seen = self._seen(signing)
                self.charged_tokens = self._hold.tokens_if_orphaned(seen)
                self._hold.orphan(seen)
        except Exception as trouble:  # noqa: BLE001
            _not_told(trouble)

    async def aend(self, *, free: bool, signing: Signing | None = None) -> None:
        """As `end`, on the event loop."""
        told = self._told
        try:
            if free:
                self.charged_tokens = 0
                await self._hold.avoid()
            elif told.complete:
                self.charged_tokens = told.input_tokens + told.output_tokens
                await self._hold.asettle(told.input_tokens, told.output_tokens)
            else:
                seen = self._seen(signing)
                self.charged_tokens = self._hold.tokens_if_orphaned(seen)
                await self._hold.aorphan(seen)
        except Exception as trouble:  # noqa: BLE001
            _not_told(trouble)

    def _seen(self, signing: Signing | None) -> int | None:
        """The most tokens that what was seen of the answer can be; None where it does not count."""
        counts = signing is not None and self._hold.counts_seen
        return signing.seen_bytes() if signing is not None and counts else None


def _not_told(trouble: Exception) -> None:
    _log.warning("the end of a call could not be recorded and stays charged: %s", trouble)
