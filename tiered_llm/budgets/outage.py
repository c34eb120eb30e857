"""While the store is away: what may go on, and what the store is told once it is back."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections import deque
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

from tiered_llm.budgets.errors import LedgerError, LedgerLostError

if TYPE_CHECKING:
    from tiered_llm.budgets.alerting import Alerting
    from tiered_llm.budgets.ledger import Ask, Ledger, Settled
    from tiered_llm.clock import Clock

_log = logging.getLogger("tiered_llm.budgets")

AWAY_S = 1.0
"""Seconds for which a store that failed is not asked again, where calls may go on without it."""

MOST_LATE, MOST_ACCOUNTS = 10_000, 10_000
"""Ends of calls, and sets of accounts, that are remembered for a store that is away."""


@dataclass(slots=True)
class Spent:
    """Calls that were made without the store, summed up in one charge.

    Sums are added to in place: a garbage-collected stream may end within another call's end.

    Attributes:
        ask: The accounts, and the id by which the store charges it once.
        amounts: Parts for each of its lines.
        tokens: Tokens that they took out of the allowance.
    """

    ask: Ask
    amounts: list[int]
    tokens: int = 0

    def add(self, amounts: tuple[int, ...], tokens: int) -> None:
        """One more call."""
        self.tokens += tokens
        for at, amount in enumerate(amounts):
            self.amounts[at] += amount

    def tell(self, ledger: Ledger) -> Settled:
        """Charge it."""
        return ledger.record(self.ask, tuple(self.amounts))

    async def atell(self, ledger: Ledger) -> Settled:
        """As `tell`, on the event loop."""
        return await ledger.arecord(self.ask, tuple(self.amounts))


@dataclass(frozen=True, slots=True)
class Late:
    """A call's end that the store could not be told.

    Attributes:
        group: Whose accounts.
        lease: The call's id.
        amounts: What it used; None where it used nothing.
        tokens: None of the allowance: they were reserved.
    """

    group: str
    lease: str
    amounts: tuple[int, ...] | None
    tokens: int = 0

    def tell(self, ledger: Ledger) -> Settled:
        """End it now."""
        if self.amounts is None:
            return ledger.void(self.group, self.lease)
        return ledger.settle(self.group, self.lease, self.amounts)

    async def atell(self, ledger: Ledger) -> Settled:
        """As `tell`, on the event loop."""
        if self.amounts is None:
            return await ledger.avoid(self.group, self.lease)
        return await ledger.asettle(self.group, self.lease, self.amounts)


class Outage:
    """One process's posture towards a store that is away, and its memory of what it owes it."""

    def __init__(self, allowance: int | None, clock: Clock) -> None:
        """Say how many tokens may be used without the store: 0 for none, None for any number."""
        self._allowance, self._clock = allowance, clock
        self._taken = 0
        self._until_s = float("-inf")
        self._spent: dict[tuple[str, tuple[str, ...]], Spent] = {}
        self._late: deque[Late] = deque()
        self._due: deque[Spent | Late] = deque()
        self._dropped = 0
        self._lock = threading.RLock()  # a garbage-collected stream may end within a call

    @property
    def goes_on(self) -> bool:
        """Whether calls may be made without the store."""
        return self._allowance != 0

    @property
    def is_away(self) -> bool:
        """Whether the store failed a moment ago, and calls may go on without it."""
        return self._clock.monotonic_s() < self._until_s

    @property
    def owes(self) -> int:
        """Tokens taken without the store: of calls under way, and not yet told to it."""
        return self._taken

    @property
    def has_debts(self) -> bool:
        """Whether there is something to tell the store."""
        return bool(self._spent or self._late or self._due)

    def excuses(self, error: LedgerError) -> bool:
        """Whether a call may go on after this error; never where the store lost data."""
        if not self.goes_on or isinstance(error, LedgerLostError):
            return False
        if not self.is_away:
            _log.warning("the store of budgets is away; calls go on without it: %s", error)
        self._until_s = self._clock.monotonic_s() + AWAY_S
        return True

    def take(self, input_tokens: int, least: int, most: int) -> int | None:
        """Output tokens granted out of the allowance; None where it has no room for `least`."""
        with self._lock:
            granted = most
            if self._allowance is not None:
                granted = min(most, self._allowance - self._taken - input_tokens)
            if granted < least:
                return None
            self._taken += input_tokens + granted
            return granted

    def ended(self, ask: Ask, taken: int, used: int, amounts: tuple[int, ...]) -> None:
        """Give back what was taken and not used; remember the rest for the store."""
        with self._lock:
            self._taken += used - taken
            if not used:
                return
            key = (ask.group, tuple(line.account for line in ask.lines))
            if key not in self._spent and len(self._spent) >= MOST_ACCOUNTS:
                self._taken -= used
                self._drop("what a tenant used while the store was away")
                return
            fresh = Spent(replace(ask, lease=uuid.uuid4().hex), [0] * len(amounts))
            self._spent.setdefault(key, fresh).add(amounts, used)

    def end_late(self, late: Late) -> None:
        """Remember a call's end that the store could not be told."""
        with self._lock:
            if len(self._late) < MOST_LATE:
                self._late.append(late)
            else:
                self._drop("the end of a call, which stays charged in full")

    def void_late(self, late: Late) -> None:
        """Remember a reservation that may have been made; ends of calls go before it."""
        with self._lock:
            if len(self._late) < MOST_LATE // 2:
                self._late.append(late)

    def settle_up(self, ledger: Ledger, alerting: Alerting, most: float = inf) -> int:
        """Tell the store what it missed, `most` things of it.

        Returns:
            How many things it was told.

        Raises:
            LedgerError: It is away still; what it was not told is kept.
        """
        told = 0
        while told < most and (debt := self._next()) is not None:
            try:
                alerting.alerts(debt.tell(ledger).alerts)
            except (LedgerError, KeyboardInterrupt):
                self._back(debt)
                raise
            except Exception as error:  # noqa: BLE001  # it would never be taken
                self._refused(error)
            self._told(debt)
            told += 1
        return told

    async def asettle_up(self, ledger: Ledger, alerting: Alerting, most: float = inf) -> int:
        """As `settle_up`, on the event loop."""
        told = 0
        while told < most and (debt := self._next()) is not None:
            try:
                alerting.alerts((await debt.atell(ledger)).alerts)
            except (LedgerError, asyncio.CancelledError, KeyboardInterrupt):
                self._back(debt)
                raise
            except Exception as error:  # noqa: BLE001  # it would never be taken
                self._refused(error)
            self._told(debt)
            told += 1
        return told

    def _next(self) -> Spent | Late | None:
        """One thing that is owed; the id that it is told with makes it count once."""
        with self._lock:
            if not self._due:
                spent, self._spent = self._spent, {}
                late, self._late = self._late, deque()
                self._due.extend(spent.values())
                self._due.extend(late)
            return self._due.popleft() if self._due else None

    def _back(self, debt: Spent | Late) -> None:
        with self._lock:
            self._due.appendleft(debt)

    def _told(self, debt: Spent | Late) -> None:
        with self._lock:
            self._taken -= debt.tokens

    def _refused(self, error: Exception) -> None:
        _log.error("the store refused what it was owed: %s", type(error).__name__)

    def _drop(self, what: str) -> None:
        self._dropped += 1
        if self._dropped == 1:
            _log.error("%s was forgotten: too much is owed to the store", what)
