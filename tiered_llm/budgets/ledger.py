"""What a ledger keeps, and the laws that every ledger holds.

A *group* is one payer's accounts; every operation touches one group alone and is atomic
within it. An *account* counts whole *parts* (tokens, or small parts of cost units or dollars)
in one window. A *lease* is one call under way. Three columns are charged, and one bounds them:

```
settled    what servers said they used
reserved   upper bounds of calls under way
orphaned   upper bounds of calls of which nobody heard again; a late settle corrects them
overrun    what was used beyond leases: settled + reserved + orphaned <= limit + overrun
```

Charged is the sum of the three. A reservation is made only where charged stays within the
limit, overrun or not. A settle beyond its lease adds the difference to overrun; what is recorded
without a lease adds only what the bound above does not hold otherwise. A limit that is lowered
below what is charged is no overrun: it refuses until the window ends.

A lease is open until it is settled, voided or orphaned; one whose ask `releases` is released
where others are orphaned:

```
            settle                       expires, or is given up
  open ───────────────▶ settled   open ─────────────────────────▶ orphaned ──▶ settled
  open ──── void ─────▶ voided    open ─────────────────────────▶ released ──▶ settled
                                                                       settle
```

An orphaned lease stays charged: with all that it held, or with as much of it as whoever gave it
up says that the server can have used. A released one is charged nothing until a late settle charges
what was used, and adds to overrun, as a record does, what the bound does not hold otherwise:
meanwhile others may have reserved what it freed. That is soft: what was used without a word is
overspent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

MAX_PARTS = 10**15
"""The largest limit and the largest amount: exact in every store's numbers."""

KEPT_S = 48 * 3600.0
"""Seconds after its window's end for which an account and its leases are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one call may cost in one account.

    Attributes:
        account: The account's name, unique in its group: `tenant/daily/2026-11-23/tokens`.
        limit_name: Where a limit set at run time is found: `tenant/daily/tokens`.
        limit: The account's limit in parts, unless one is set at run time; None for none.
        refuses: Whether the limit refuses, or is there for the alerts alone.
        starts_s: The window's beginning on the ledger's clock, in seconds since the epoch.
        ends_s: The window's end; not part of it.
        fixed: Parts that the call costs in any case: its input.
        per_token: Parts that each token of output costs.
        thresholds: Percents of the limit at which an alert is raised, ascending.
    """

    account: str
    limit_name: str
    limit: int | None
    refuses: bool = True
    starts_s: float
    ends_s: float
    fixed: int
    per_token: int
    thresholds: tuple[int, ...] = (80, 95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A wish to make one call.

    Attributes:
        group: Whose accounts.
        lease: The call's own id; asking twice with the same one reserves once.
        lines: What it may cost, account by account; no account twice.
        least: Output tokens below which the call is not worth making.
        most: Output tokens wanted.
        ttl_s: Seconds after which the lease is orphaned or released, if nobody settles it.
        releases: Whether the lease is released, and not orphaned, when it expires or is given
            up. Soft: the limit is overspent by what such calls used without saying so.
    """

    group: str
    lease: str
    lines: tuple[Line, ...]
    least: int
    most: int
    ttl_s: float
    releases: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """An account as it stands.

    Attributes:
        account: Its name.
        settled: Parts that servers said they used.
        reserved: Parts of calls under way.
        orphaned: Parts of calls of which nobody heard again.
        overrun: Parts used beyond leases.
        limit: The limit in force when it was last asked; None for none.
    """

    account: str
    settled: int = 0
    reserved: int = 0
    orphaned: int = 0
    overrun: int = 0
    limit: int | None = None

    @property
    def charged(self) -> int:
        """What counts against the limit."""
        return self.settled + self.reserved + self.orphaned


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An account that has come to a threshold; raised once for each of the two.

    Attributes:
        group: Whose account.
        account: The account's name.
        threshold: Percent of the limit.
        charged: Parts charged when it was raised.
        limit: The limit in parts.
        at_s: When, in seconds since the epoch on the ledger's clock.
    """

    group: str
    account: str
    threshold: int
    charged: int
    limit: int
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """The call may be made.

    Attributes:
        tokens: Output tokens granted, from `least` to `most`.
        alerts: Alerts that this raised.
    """

    tokens: int
    alerts: tuple[Alert, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The call may not be made, and nothing was reserved.

    Attributes:
        balance: The first account in the ask's order that has no room for `least` tokens.
        wanted: Parts that `least` tokens would cost there.
        ends_s: When that account's window ends.
    """

    balance: Balance
    wanted: int
    ends_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """A window has begun or ended since the ask was written; nothing was reserved.

    Attributes:
        now_s: The ledger's time, in seconds since the epoch: write the ask anew.
    """

    now_s: float


Answer: TypeAlias = Granted | Refused | Stale

Ended = Literal["settled", "corrected", "already", "unknown"]
"""How a settle went: an open lease; one that was orphaned or released; nothing to do; nobody
knows the lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of a settle, a void or a record.

    Attributes:
        ended: How it went. After `already` and `unknown` nothing has changed.
        overrun: The most that any account was charged beyond its lease, in parts.
        alerts: Alerts that this raised.
    """

    ended: Ended
    overrun: int = 0
    alerts: tuple[Alert, ...] = ()


class Ledger(Protocol):
    """Accounts, leases, limits and alerts.

    Safe for threads, event loops and, where the store says so, processes. Every method has a
    twin on the event loop, its name with an `a` before it. All raise `LedgerError` where the
    store cannot be reached or has lost what it held.
    """

    def now_s(self) -> float:
        """The time that windows are told by, in seconds since the epoch."""
        ...

    def reserve(self, ask: Ask) -> Answer:
        """Reserve `fixed + per_token * tokens` in every line, or nothing in any.

        The grant is the most tokens, up to `most`, for which every refusing line keeps
        `charged <= limit`. A lease that was asked for before is answered as then, whatever
        became of it.
        """
        ...

    def settle(self, group: str, lease: str, amounts: tuple[int, ...]) -> Settled:
        """Charge what was used, in the order of the ask's lines, in place of the reservation."""
        ...

    def orphan(self, group: str, lease: str, amounts: tuple[int, ...] | None = None) -> Settled:
        """Leave an open lease's reservation charged: the server did not say what it used.

        With amounts, in the order of the ask's lines, no more than those stays charged and is
        what the lease holds from then on; the rest is freed. If its ask `releases`, all is.
        """
        ...

    def void(self, group: str, lease: str) -> Settled:
        """Free an open lease's reservation: it is certain that nothing was used."""
        ...

    def record(self, ask: Ask, amounts: tuple[int, ...]) -> Settled:
        """Charge what was used without a lease before; once for each `ask.lease`.

        Windows are not checked: what was used is charged where the ask says.
        """
        ...

    def balances(self, group: str, accounts: tuple[str, ...]) -> tuple[Balance, ...]:
        """Accounts as they stand; one that was never used is all zeros."""
        ...

    def set_limit(self, group: str, limit_name: str, limit: int | None) -> None:
        """Set a limit that goes before the asks' own; None takes it back."""
        ...

    def limits(self, group: str) -> dict[str, int]:
        """The limits set at run time."""
        ...

    def alerts(self, group: str | None = None, most: int = 100) -> tuple[Alert, ...]:
        """Alerts raised, newest first; of one group or of all."""
        ...

    async def anow_s(self) -> float:
        """As `now_s`."""
        ...

    async def areserve(self, ask: Ask) -> Answer:
        """As `reserve`."""
        ...

    async def asettle(self, group: str, lease: str, amounts: tuple[int, ...]) -> Settled:
        """As `settle`."""
        ...

    async def aorphan(
        self, group: str, lease: str, amounts: tuple[int, ...] | None = None
    ) -> Settled:
        """As `orphan`."""
        ...

    async def avoid(self, group: str, lease: str) -> Settled:
        """As `void`."""
        ...

    async def arecord(self, ask: Ask, amounts: tuple[int, ...]) -> Settled:
        """As `record`."""
        ...

    async def abalances(self, group: str, accounts: tuple[str, ...]) -> tuple[Balance, ...]:
        """As `balances`."""
        ...

    async def aset_limit(self, group: str, limit_name: str, limit: int | None) -> None:
        """As `set_limit`."""
        ...

    async def alimits(self, group: str) -> dict[str, int]:
        """As `limits`."""
        ...

    async def aalerts(self, group: str | None = None, most: int = 100) -> tuple[Alert, ...]:
        """As `alerts`."""
        ...

    def close(self) -> None:
        """Give back what is open."""
        ...
