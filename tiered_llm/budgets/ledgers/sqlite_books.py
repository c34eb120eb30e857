"""The rules of `ledger.py` in the rows of a SQLite file, within one transaction."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

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

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from tiered_llm.budgets.ledger import Ended, Line

KEPT_ALERTS = 10_000
"""The newest alerts, that many of them, are kept."""

State = Literal["open", "settled", "voided", "orphaned", "released"]

_SWEPT = 100  # rows of each kind that one operation puts away; it adds far fewer
_BALANCE = "settled, reserved, orphaned, overrun, most"
_COLUMNS: dict[State, str] = {"open": "reserved", "orphaned": "orphaned"}  # where it is charged
_UNHEARD: tuple[State, State] = ("orphaned", "released")  # by whether the ask releases


@dataclass(frozen=True, slots=True)
class _Lease:
    """A call, and what it holds in each account by the account's row."""

    row: int
    state: State
    tokens: int
    held: tuple[tuple[int, int], ...]
    unheard: State
    """What becomes of it if it is not heard of again."""


class Books:
    """What one transaction sees and does: the rules of `ledger.py` in rows.

    Columns are added to where they stand, and never written over with what was read before:
    a garbage-collected stream may settle within an operation.
    """

    def __init__(self, rows: sqlite3.Connection, now_s: float) -> None:
        """Within a transaction, at a time."""
        self._rows, self._now_s, self._behind = rows, now_s, False

    def reserve(self, ask: Ask) -> tuple[Answer, bool]:
        """The answer, and whether a lease was made."""
        known = self._lease(ask.group, ask.lease)
        if known is not None:
            return Granted(tokens=known.tokens), False
        if not all(line.starts_s <= self._now_s < line.ends_s for line in ask.lines):
            return Stale(now_s=self._now_s), False
        tokens, accounts = ask.most, []
        for line in ask.lines:
            row, balance = self._account(ask.group, line)
            accounts.append(row)
            if not line.refuses or balance.limit is None:
                continue
            room = balance.limit - balance.charged
            wanted = line.fixed + line.per_token * ask.least
            if wanted > room:
                balance = self._caught_up(ask.group, row, balance)
                return Refused(balance=balance, wanted=wanted, ends_s=line.ends_s), False
            if line.per_token:
                tokens = min(tokens, (room - line.fixed) // line.per_token)
        amounts = (line.fixed + line.per_token * tokens for line in ask.lines)
        held = tuple(zip(accounts, amounts, strict=True))
        self._keep(ask, "open", tokens, held, self._now_s + ask.ttl_s)
        for row, amount in held:
            self._move(row, reserved=amount)
        return Granted(tokens=tokens, alerts=self._raise(ask.group, accounts)), True

    def settle(self, group: str, lease: str, amounts: tuple[int, ...]) -> Settled:
        """Charge what was used in place of what is held."""
        known = self._lease(group, lease)
        if known is None or known.state in {"settled", "voided"}:
            return Settled(ended="unknown" if known is None else "already")
        self._turn(known.row, "settled")
        overrun = 0
        for (row, held), amount in zip(known.held, amounts, strict=True):
            beyond = max(0, amount - held)
            if known.state == "released":
                beyond = self._beyond(row, amount)
            columns = {_COLUMNS[known.state]: -held} if known.state in _COLUMNS else {}
            if self._move(row, settled=amount, overrun=beyond, **columns):
                overrun = max(overrun, beyond)
        alerts = self._raise(group, (row for row, _ in known.held))
        ended: Ended = "settled" if known.state == "open" else "corrected"
        return Settled(ended=ended, overrun=overrun, alerts=alerts)

    def orphan(self, group: str, lease: str, amounts: tuple[int, ...] | None) -> Settled:
        """Orphan an open lease with what it holds or the amounts; release it if its ask does."""
        known = self._lease(group, lease)
        return self._end(known, "open" if known is None else known.unheard, amounts)

    def void(self, group: str, lease: str) -> Settled:
        """Free what an open lease holds."""
        return self._end(self._lease(group, lease), "voided")

    def _end(
        self, known: _Lease | None, state: State, amounts: tuple[int, ...] | None = None
    ) -> Settled:
        """End an open lease without a word from its server."""
        if known is None or known.state != "open":
            return Settled(ended="unknown" if known is None else "already")
        held = known.held
        if amounts is not None:
            held = self._cut(known, amounts)
        self._close(known.row, held, state)
        return Settled(ended="settled")

    def record(self, ask: Ask, amounts: tuple[int, ...]) -> Settled:
        """Charge what was used without a lease before."""
        if self._lease(ask.group, ask.lease) is not None:
            return Settled(ended="already")
        overrun, accounts = 0, []
        for line, amount in zip(ask.lines, amounts, strict=True):
            row, balance = self._account(ask.group, line)
            accounts.append(row)
            beyond = _beyond(balance, amount)
            self._move(row, settled=amount, overrun=beyond)
            overrun = max(overrun, beyond)
        held = tuple((row, 0) for row in accounts)
        self._keep(ask, "settled", 0, held, self._now_s)
        alerts = self._raise(ask.group, accounts)
        return Settled(ended="settled", overrun=overrun, alerts=alerts)

    def balances(self, group: str, accounts: tuple[str, ...]) -> tuple[Balance, ...]:
        """Accounts as they stand."""
        found = ((name, self._find(group, name)) for name in accounts)
        return tuple(
            Balance(account=name) if known is None else self._caught_up(group, *known)
            for name, known in found
        )

    def set_limit(self, group: str, limit_name: str, limit: int | None) -> None:
        """Set a limit, or take it back."""
        key = (_bytes(group), _bytes(limit_name))
        if limit is None:
            self._rows.execute("DELETE FROM limits WHERE payer = ? AND name = ?", key)
        else:
            self._rows.execute("INSERT OR REPLACE INTO limits VALUES (?, ?, ?)", (*key, limit))

    def limits(self, group: str) -> dict[str, int]:
        """The limits set at run time."""
        rows = self._rows.execute("SELECT name, most FROM limits WHERE payer = ?", (_bytes(group),))
        return {_text(name): limit for name, limit in rows}

    def alerts(self, group: str | None, most: int) -> tuple[Alert, ...]:
        """Alerts raised, newest first."""
        where, key = ("", ()) if group is None else ("WHERE payer = ?", (_bytes(group),))
        rows = self._rows.execute(
            "SELECT payer, account, threshold, charged, most, at_s FROM alerts"  # noqa: S608
            f" {where} ORDER BY id DESC LIMIT ?",  # the two texts above, nobody's words
            (*key, max(0, most)),
        )
        return tuple(
            Alert(
                group=_text(payer),
                account=_text(account),
                threshold=threshold,
                charged=charged,
                limit=limit,
                at_s=at_s,
            )
            for payer, account, threshold, charged, limit, at_s in rows
        )

    def take_back(self, group: str, lease: str) -> None:
        """Undo a reservation of which nobody was told: the lease was never asked for."""
        known = self._lease(group, lease)
        if known is not None and known.state in {"open", "orphaned", "released"}:
            for row, held in known.held if known.state in _COLUMNS else ():
                self._move(row, **{_COLUMNS[known.state]: -held})
            self._rows.execute("DELETE FROM leases WHERE id = ?", (known.row,))

    def sweep(self) -> None:
        """Orphan or release, and forget, some of what is due, oldest first."""
        due = self._rows.execute(
            "SELECT id, held, releases FROM leases WHERE state = 'open' AND expires_s <= ?"
            " ORDER BY expires_s LIMIT ?",
            (self._now_s, _SWEPT),
        ).fetchall()
        for row, held, releases in due:
            self._close(row, _held(held), _UNHEARD[releases])
        self._behind = len(due) == _SWEPT
        self._rows.execute(
            "DELETE FROM leases WHERE id IN"
            " (SELECT id FROM leases WHERE forget_s <= ? ORDER BY forget_s LIMIT ?)",
            (self._now_s, _SWEPT),
        )
        over = self._rows.execute(
            "SELECT id FROM accounts WHERE forget_s <= ? ORDER BY forget_s LIMIT ?",
            (self._now_s, _SWEPT),
        ).fetchall()
        for (row,) in over:
            self._forget(row)

    # --- rows ---

    def _lease(self, group: str, lease: str) -> _Lease | None:
        """A lease that is remembered; one that is due is ended before it is looked at."""
        found = self._rows.execute(
            "SELECT id, state, tokens, held, releases, expires_s FROM leases"
            " WHERE payer = ? AND name = ? AND forget_s > ?",
            (_bytes(group), _bytes(lease), self._now_s),
        ).fetchone()
        if found is None:
            return None
        row, state, tokens, text, releases, expires_s = found
        known = _Lease(row, state, tokens, _held(text), _UNHEARD[releases])
        if state == "open" and expires_s <= self._now_s:
            self._close(row, known.held, known.unheard)
            return replace(known, state=known.unheard)
        return known

    def _keep(
        self,
        ask: Ask,
        state: State,
        tokens: int,
        held: tuple[tuple[int, int], ...],
        expires_s: float,
    ) -> None:
        forget_s = max((line.ends_s for line in ask.lines), default=expires_s) + KEPT_S
        key = (_bytes(ask.group), _bytes(ask.lease))
        self._rows.execute(
            "INSERT OR REPLACE INTO leases"  # a lease of that name may be forgotten, yet there
            " (payer, name, state, tokens, held, releases, expires_s, forget_s)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*key, state, tokens, json.dumps(held), ask.releases, expires_s, forget_s),
        )

    def _turn(self, row: int, state: State) -> None:
        self._rows.execute("UPDATE leases SET state = ? WHERE id = ?", (state, row))

    def _cut(self, known: _Lease, amounts: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """Let an open lease hold no more than the amounts; what it holds then."""
        pairs = tuple(zip(known.held, amounts, strict=True))
        held = tuple((row, min(reserved, most)) for (row, reserved), most in pairs)
        self._rows.execute("UPDATE leases SET held = ? WHERE id = ?", (json.dumps(held), known.row))
        for ((row, reserved), _), (_, left) in zip(pairs, held, strict=True):
            self._move(row, reserved=left - reserved)
        return held

    def _close(self, row: int, held: tuple[tuple[int, int], ...], state: State) -> None:
        self._turn(row, state)
        for account, amount in held:
            self._move(account, reserved=-amount, orphaned=amount if state == "orphaned" else 0)

    def _find(self, group: str, account: str) -> tuple[int, Balance] | None:
        found = self._rows.execute(
            f"SELECT id, {_BALANCE} FROM accounts"  # noqa: S608  # names of columns
            " WHERE payer = ? AND name = ? AND forget_s > ?",
            (_bytes(group), _bytes(account), self._now_s),
        ).fetchone()
        return None if found is None else (found[0], _balance(account, *found[1:]))

    def _beyond(self, row: int, amount: int) -> int:
        found = self._rows.execute(
            f"SELECT {_BALANCE} FROM accounts WHERE id = ?",  # noqa: S608  # names of columns
            (row,),
        ).fetchone()
        return 0 if found is None else _beyond(_balance("", *found), amount)

    def _account(self, group: str, line: Line) -> tuple[int, Balance]:
        """The line's account, with the limit that is now in force."""
        payer, name = _bytes(group), _bytes(line.account)
        set_here = self._rows.execute(
            "SELECT most FROM limits WHERE payer = ? AND name = ?", (payer, _bytes(line.limit_name))
        ).fetchone()
        asked = (line.limit if set_here is None else set_here[0], json.dumps(line.thresholds))
        self._rows.execute(
            "UPDATE accounts SET most = ?, thresholds = ?"
            " WHERE payer = ? AND name = ? AND (most, thresholds) IS NOT (?, ?)",
            (*asked, payer, name, *asked),
        )
        return self._find(group, line.account) or self._begin(group, line, *asked)

    def _begin(
        self, group: str, line: Line, limit: int | None, thresholds: str
    ) -> tuple[int, Balance]:
        """A new account, in place of a forgotten one that is still there."""
        key = (_bytes(group), _bytes(line.account))
        over = self._rows.execute("SELECT id FROM accounts WHERE payer = ? AND name = ?", key)
        for (row,) in over.fetchall():
            self._forget(row)
        made = self._rows.execute(
            "INSERT INTO accounts (payer, name, most, thresholds, forget_s) VALUES (?, ?, ?, ?, ?)",
            (*key, limit, thresholds, line.ends_s + KEPT_S),
        )
        return int(made.lastrowid or 0), Balance(account=line.account, limit=limit)

    def _move(
        self,
        row: int,
        *,
        settled: int = 0,
        reserved: int = 0,
        orphaned: int = 0,
        overrun: int = 0,
    ) -> bool:
        """Add to an account's columns; whether it is still there to be added to."""
        done = self._rows.execute(
            "UPDATE accounts SET settled = settled + ?, reserved = reserved + ?,"
            " orphaned = orphaned + ?, overrun = overrun + ? WHERE id = ? AND forget_s > ?",
            (settled, reserved, orphaned, overrun, row, self._now_s),
        )
        return done.rowcount == 1

    def _forget(self, account: int) -> None:
        self._rows.execute("DELETE FROM raised WHERE account = ?", (account,))
        self._rows.execute("DELETE FROM accounts WHERE id = ?", (account,))

    def _caught_up(self, group: str, row: int, balance: Balance) -> Balance:
        """The balance with what the sweep has not come to yet."""
        if not self._behind:
            return balance
        due = self._rows.execute(
            "SELECT held, releases FROM leases"
            " WHERE state = 'open' AND expires_s <= ? AND payer = ?",
            (self._now_s, _bytes(group)),
        )
        late: dict[State, int] = {"orphaned": 0, "released": 0}
        for text, releases in due:
            late[_UNHEARD[releases]] += dict(_held(text)).get(row, 0)
        return Balance(
            account=balance.account,
            settled=balance.settled,
            reserved=balance.reserved - late["orphaned"] - late["released"],
            orphaned=balance.orphaned + late["orphaned"],
            overrun=balance.overrun,
            limit=balance.limit,
        )

    # --- alerts ---

    def _raise(self, group: str, accounts: Iterable[int]) -> tuple[Alert, ...]:
        """The alerts that an operation has raised, written down."""
        raised = tuple(alert for row in accounts for alert in self._reached(group, row))
        for alert in raised:
            self._write(alert)
        return raised

    def _reached(self, group: str, row: int) -> Iterator[Alert]:
        found = self._rows.execute(
            f"SELECT name, thresholds, {_BALANCE} FROM accounts"  # noqa: S608  # names of columns
            " WHERE id = ? AND most IS NOT NULL AND forget_s > ?",
            (row, self._now_s),
        ).fetchone()
        if found is None:
            return
        balance = _balance(_text(found[0]), *found[2:])
        limit = balance.limit or 0
        for threshold in json.loads(found[1]):
            if 100 * balance.charged >= threshold * limit and self._first(row, threshold):
                yield Alert(
                    group=group,
                    account=balance.account,
                    threshold=threshold,
                    charged=balance.charged,
                    limit=limit,
                    at_s=self._now_s,
                )

    def _first(self, row: int, threshold: int) -> bool:
        done = self._rows.execute("INSERT OR IGNORE INTO raised VALUES (?, ?)", (row, threshold))
        return done.rowcount == 1

    def _write(self, alert: Alert) -> None:
        names = (_bytes(alert.group), _bytes(alert.account))
        made = self._rows.execute(
            "INSERT INTO alerts (payer, account, threshold, charged, most, at_s)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (*names, alert.threshold, alert.charged, alert.limit, alert.at_s),
        )
        newest = int(made.lastrowid or 0)
        self._rows.execute("DELETE FROM alerts WHERE id <= ?", (newest - KEPT_ALERTS,))


def _bytes(name: str) -> bytes:
    """A name as it is kept: any text at all, a lone surrogate too, and none twice."""
    return name.encode("utf-8", "surrogatepass")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")


def _held(text: str) -> tuple[tuple[int, int], ...]:
    return tuple((row, amount) for row, amount in json.loads(text))


def _beyond(balance: Balance, amount: int) -> int:
    """Parts of a further charge that the limit and the overrun so far do not hold."""
    if balance.limit is None:
        return 0
    return min(amount, max(0, balance.charged + amount - balance.limit - balance.overrun))


def _balance(  # noqa: PLR0913, PLR0917  # the columns
    account: str, settled: int, reserved: int, orphaned: int, overrun: int, limit: int | None
) -> Balance:
    return Balance(
        account=account,
        settled=settled,
        reserved=reserved,
        orphaned=orphaned,
        overrun=overrun,
        limit=limit,
    )
