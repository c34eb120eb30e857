"""A ledger in this process's memory: exact for its threads and event loops, gone with it.

The plain rules of `ledger.py`, in the order in which they are told there; the other ledgers
do the same in their stores' own words.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING, Any

from tiered_llm.budgets.ledger import (
    KEPT_S,
    Alert,
    Answer,
    Ask,
    Balance,
    Granted,
    Refused,
    Settled,
    Stale,
)
from tiered_llm.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from tiered_llm.budgets.ledger import Ended, Line
    from tiered_llm.clock import Clock

_KEPT_ALERTS = 10_000
_SWEPT = 100  # entries that one operation forgets; it adds far fewer


@dataclass(slots=True)
class _Account:
    """One account's columns: added to in place, for a collected stream may settle in between."""

    name: str
    forget_s: float
    limit: int | None = None
    settled: int = 0
    reserved: int = 0
    orphaned: int = 0
    overrun: int = 0
    thresholds: tuple[int, ...] = ()
    raised: set[int] = field(default_factory=set)

    @property
    def balance(self) -> Balance:
        """The columns as they stand."""
        return Balance(
            account=self.name,
            settled=self.settled,
            reserved=self.reserved,
            orphaned=self.orphaned,
            overrun=self.overrun,
            limit=self.limit,
        )

    @property
    def charged(self) -> int:
        """What counts against the limit."""
        return self.settled + self.reserved + self.orphaned

    def move(
        self, *, settled: int = 0, reserved: int = 0, orphaned: int = 0, overrun: int = 0
    ) -> None:
        """Add to the columns."""
        self.settled += settled
        self.reserved += reserved
        self.orphaned += orphaned
        self.overrun += overrun


@dataclass(slots=True)
class _Lease:
    """One call: what it holds in each account, in the order of its ask."""

    state: str
    tokens: int
    held: tuple[tuple[str, int], ...]
    expires_s: float
    forget_s: float
    releases: bool


@dataclass(slots=True)
class _Group:
    """One payer's accounts, leases and limits."""

    accounts: dict[str, _Account] = field(default_factory=dict)
    leases: dict[str, _Lease] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    expiring: list[tuple[float, str]] = field(default_factory=list)

    def account(self, name: str, now_s: float) -> _Account | None:
        """An account that is remembered."""
        found = self.accounts.get(name)
        return found if found is not None and now_s < found.forget_s else None

    def lease(self, name: str, now_s: float) -> _Lease | None:
        """A lease that is remembered."""
        found = self.leases.get(name)
        return found if found is not None and now_s < found.forget_s else None


class MemoryLedger:
    """The ledger behind `memory://`. Its twins on the event loop never wait."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        """Start empty; windows and leases are told by the clock."""
        self._clock = clock
        self._lock = threading.RLock()  # a garbage-collected stream may settle within a call
        self._groups: dict[str, _Group] = {}
        self._ageing: list[tuple[float, str, str, str]] = []
        self._sweeping = False
        self._alerts: deque[Alert] = deque(maxlen=_KEPT_ALERTS)

    def now_s(self) -> float:
        """The clock's time, in seconds since the epoch."""
        return self._clock.now().timestamp()

    def reserve(self, ask: Ask) -> Answer:
        """Reserve in every line, or nothing in any."""
        with self._lock:
            now_s, group = self._open(ask.group)
            known = group.lease(ask.lease, now_s)
            if known is not None:
                return Granted(tokens=known.tokens)
            if not all(line.starts_s <= now_s < line.ends_s for line in ask.lines):
                return Stale(now_s=now_s)
            tokens = ask.most
            for line in ask.lines:
                account = self._account(ask.group, group, line, now_s)
                room = _room(line, account)
                if room is None:
                    continue
                wanted = line.fixed + line.per_token * ask.least
                if wanted > room:
                    return Refused(balance=account.balance, wanted=wanted, ends_s=line.ends_s)
                if line.per_token:
                    tokens = min(tokens, (room - line.fixed) // line.per_token)
            held = tuple((ln.account, ln.fixed + ln.per_token * tokens) for ln in ask.lines)
            self._keep(group, ask, "open", tokens, held, now_s + ask.ttl_s)
            for account_name, amount in held:
                group.accounts[account_name].move(reserved=amount)
            return Granted(tokens=tokens, alerts=self._raise(ask.group, group, held, now_s))

    def settle(self, group: str, lease: str, amounts: tuple[int, ...]) -> Settled:
        """Charge what was used in place of the reservation."""
        with self._lock:
            now_s, found = self._open(group)
            known = found.lease(lease, now_s)
            if known is None or known.state in {"settled", "voided"}:
                return Settled(ended="unknown" if known is None else "already")
            was = known.state
            charges = tuple(zip(known.held, amounts, strict=True))
            known.state = "settled"
            overrun = 0
            for (name, held), amount in charges:
                account = found.account(name, now_s)
                if account is None:  # a day's, settled within its month
                    continue
                beyond = max(0, amount - held)
                if was == "released":
                    beyond = _beyond(account, amount)
                account.move(
                    settled=amount,
                    reserved=-held if was == "open" else 0,
                    orphaned=-held if was == "orphaned" else 0,
                    overrun=beyond,
                )
                overrun = max(overrun, beyond)
            alerts = self._raise(group, found, known.held, now_s)
            ended: Ended = "settled" if was == "open" else "corrected"
            return Settled(ended=ended, overrun=overrun, alerts=alerts)

    def orphan(self, group: str, lease: str, amounts: tuple[int, ...] | None = None) -> Settled:
        """Leave an open lease's reservation charged, or as much of it as the amounts.

        If its ask releases, free it.
        """
        with self._lock:
            now_s, found = self._open(group)
            return _close(found, lease, "orphaned", now_s, amounts)

    def void(self, group: str, lease: str) -> Settled:
        """Free an open lease's reservation."""
        with self._lock:
            now_s, found = self._open(group)
            return _close(found, lease, "voided", now_s)

    def record(self, ask: Ask, amounts: tuple[int, ...]) -> Settled:
        """Charge what was used without a lease before."""
        with self._lock:
            now_s, group = self._open(ask.group)
            if group.lease(ask.lease, now_s) is not None:
                return Settled(ended="already")
            charges = tuple(zip(ask.lines, amounts, strict=True))
            held = tuple((line.account, 0) for line in ask.lines)
            self._keep(group, ask, "settled", 0, held, now_s)
            overrun = 0
            for line, amount in charges:
                account = self._account(ask.group, group, line, now_s)
                beyond = _beyond(account, amount)
                account.move(settled=amount, overrun=beyond)
                overrun = max(overrun, beyond)
            alerts = self._raise(ask.group, group, held, now_s)
            return Settled(ended="settled", overrun=overrun, alerts=alerts)

    def balances(self, group: str, accounts: tuple[str, ...]) -> tuple[Balance, ...]:
        """Accounts as they stand."""
        with self._lock:
            now_s, found = self._open(group)
            known = ((name, found.account(name, now_s)) for name in accounts)
            return tuple(Balance(account=name) if a is None else a.balance for name, a in known)

    def set_limit(self, group: str, limit_name: str, limit: int | None) -> None:
        """Set a limit that goes before the asks' own; None takes it back."""
        with self._lock:
            if limit is not None:
                self._groups.setdefault(group, _Group()).limits[limit_name] = limit
            elif group in self._groups:
                self._groups[group].limits.pop(limit_name, None)
                self._drop_if_empty(group)

    def limits(self, group: str) -> dict[str, int]:
        """The limits set at run time."""
        with self._lock:
            return dict(self._groups[group].limits) if group in self._groups else {}

    def alerts(self, group: str | None = None, most: int = 100) -> tuple[Alert, ...]:
        """Alerts raised, newest first."""
        with self._lock:
            wanted = (a for a in reversed(self._alerts) if group in {None, a.group})
            return tuple(islice(wanted, most))

    def close(self) -> None:
        """Nothing is open."""

    # --- the twins on the event loop ---

    async def anow_s(self) -> float:
        """As `now_s`."""
        return self.now_s()

    async def areserve(self, ask: Ask) -> Answer:
        """As `reserve`."""
        return self.reserve(ask)

    async def asettle(self, group: str, lease: str, amounts: tuple[int, ...]) -> Settled:
        """As `settle`."""
        return self.settle(group, lease, amounts)

    async def aorphan(
        self, group: str, lease: str, amounts: tuple[int, ...] | None = None
    ) -> Settled:
        """As `orphan`."""
        return self.orphan(group, lease, amounts)

    async def avoid(self, group: str, lease: str) -> Settled:
        """As `void`."""
        return self.void(group, lease)

    async def arecord(self, ask: Ask, amounts: tuple[int, ...]) -> Settled:
        """As `record`."""
        return self.record(ask, amounts)

    async def abalances(self, group: str, accounts: tuple[str, ...]) -> tuple[Balance, ...]:
        """As `balances`."""
        return self.balances(group, accounts)

    async def aset_limit(self, group: str, limit_name: str, limit: int | None) -> None:
        """As `set_limit`."""
        self.set_limit(group, limit_name, limit)

    async def alimits(self, group: str) -> dict[str, int]:
        """As `limits`."""
        return self.limits(group)

    async def aalerts(self, group: str | None = None, most: int = 100) -> tuple[Alert, ...]:
        """As `alerts`."""
        return self.alerts(group, most)

    # --- inside ---

    def _open(self, name: str) -> tuple[float, _Group]:
        """The time, and a group whose leases that are due have been ended.

        A group that is not known is not kept until something is put into it.
        """
        now_s = self.now_s()
        if self._sweeping:  # an operation within one: its heaps are being popped
            return now_s, self._groups.get(name) or _Group()
        self._sweeping = True
        try:
            self._forget(now_s)
            group = self._groups.get(name) or _Group()
            _expire(group, now_s)
        finally:
            self._sweeping = False
        return now_s, group

    def _account(self, name: str, group: _Group, line: Line, now_s: float) -> _Account:
        """The line's account, with the limit that is now in force."""
        limit = group.limits.get(line.limit_name, line.limit)
        account = group.account(line.account, now_s)
        if account is None:
            account = _Account(line.account, line.ends_s + KEPT_S)
            self._groups.setdefault(name, group).accounts[line.account] = account
            heappush(self._ageing, (account.forget_s, name, "account", line.account))
        account.thresholds = line.thresholds
        account.limit = limit
        return account

    def _keep(  # noqa: PLR0913, PLR0917  # a lease's parts
        self,
        group: _Group,
        ask: Ask,
        state: str,
        tokens: int,
        held: tuple[tuple[str, int], ...],
        expires_s: float,
    ) -> None:
        forget_s = max((line.ends_s for line in ask.lines), default=expires_s) + KEPT_S
        lease = _Lease(state, tokens, held, expires_s, forget_s, ask.releases)
        self._groups.setdefault(ask.group, group).leases[ask.lease] = lease
        heappush(self._ageing, (forget_s, ask.group, "lease", ask.lease))
        if state == "open":
            heappush(group.expiring, (expires_s, ask.lease))

    def _forget(self, now_s: float) -> None:
        """Put away some of what is forgotten, of whatever group, oldest first."""
        for _ in range(_SWEPT):
            if not self._ageing or self._ageing[0][0] > now_s:
                return
            forget_s, name, kind, key = heappop(self._ageing)
            group = self._groups.get(name)
            if group is None:
                continue
            kept: dict[str, Any] = group.leases if kind == "lease" else group.accounts
            if key in kept and kept[key].forget_s == forget_s:  # not one of the same name
                del kept[key]
                self._drop_if_empty(name)

    def _drop_if_empty(self, name: str) -> None:
        group = self._groups[name]
        if not (group.accounts or group.leases or group.limits):
            del self._groups[name]

    def _raise(
        self, name: str, group: _Group, held: tuple[tuple[str, int], ...], now_s: float
    ) -> tuple[Alert, ...]:
        """The alerts that an operation has raised, written down."""
        raised = [
            Alert(
                group=name,
                account=account.name,
                threshold=threshold,
                charged=account.charged,
                limit=account.limit,
                at_s=now_s,
            )
            for account in (group.account(key, now_s) for key, _ in held)
            if account is not None
            for threshold in account.thresholds
            if account.limit is not None
            and threshold not in account.raised
            and 100 * account.charged >= threshold * account.limit
        ]
        for alert in raised:
            group.accounts[alert.account].raised.add(alert.threshold)
        self._alerts.extend(raised)
        return tuple(raised)


def _expire(group: _Group, now_s: float) -> None:
    """Orphan or release the open leases that are due."""
    while group.expiring and group.expiring[0][0] <= now_s:
        expires_s, lease = heappop(group.expiring)
        known = group.leases.get(lease)
        if known is not None and known.expires_s == expires_s:  # not one of the same name
            _close(group, lease, "orphaned", now_s)


def _close(
    group: _Group, lease: str, state: str, now_s: float, amounts: tuple[int, ...] | None = None
) -> Settled:
    """End an open lease without a word from its server; what it holds is cut to the amounts."""
    known = group.lease(lease, now_s)
    if known is None or known.state != "open":
        return Settled(ended="unknown" if known is None else "already")
    held = known.held
    if amounts is not None:
        pairs = zip(held, amounts, strict=True)
        known.held = tuple((name, min(reserved, most)) for (name, reserved), most in pairs)
    known.state = "released" if state == "orphaned" and known.releases else state
    for (name, reserved), (_, left) in zip(held, known.held, strict=True):
        account = group.account(name, now_s)
        if account is not None:
            orphaned = left if known.state == "orphaned" else 0
            account.move(reserved=-reserved, orphaned=orphaned)
    return Settled(ended="settled")


def _room(line: Line, balance: _Account) -> int | None:
    """Parts that may still be reserved; None where nothing refuses."""
    if not line.refuses or balance.limit is None:
        return None
    return balance.limit - balance.charged


def _beyond(balance: _Account, amount: int) -> int:
    """Parts of a further charge that the limit and the overrun so far do not hold."""
    if balance.limit is None:
        return 0
    return min(amount, max(0, balance.charged + amount - balance.limit - balance.overrun))
