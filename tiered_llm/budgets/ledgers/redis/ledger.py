"""A ledger in Redis 7 or later: exact for every process that uses the same primary.

Each operation is one Lua script, one round trip, atomic within its group: see `lua/`. The
server's clock decides. What the keys hold:

- All keys of a group stand under one hash tag, `tiered-llm:{…}`, so that a Redis Cluster keeps
  them together. The tag is a keyed hash; the names of groups, accounts and limits are sealed
  with the same secret, and leases are hashed: no name can be read, or clash, in the store.
- The secret is an argument, or drawn once and kept in the store, where whoever can read all of
  the store can unseal the names.
- Keys expire 48 hours after their windows. Only limits that were set, and the generation stay.
- The *generation* counts operations. A process that has seen more of them than the store has
  (flushed, emptied, restored from an old dump, failed over to a replica that lagged) raises
  `LedgerLostError` until an operator calls `accept_loss`. In a cluster each hash slot has its own.

What was lost with a reply is asked once more: every operation is idempotent by its lease. The
second answer to a settle, a void or a record is then `already`, and the alerts of the first are
found in `alerts` alone. An `areserve` that is cancelled may have reserved: void the lease, or it
is orphaned after its `ttl_s`.

Clients belong to a process and an event loop; after a fork or a pickle new ones are made. A
loop's client is closed with its loop, where that shuts its asynchronous generators down, as
`asyncio.run` does.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from tiered_llm.budgets.ledger import Answer, Ask, Balance, Granted, Refused, Settled, Stale
from tiered_llm.budgets.ledgers.redis.clients import LoopClient, ThreadsClient
from tiered_llm.budgets.ledgers.redis.library import library
from tiered_llm.budgets.ledgers.redis.names import ID, PREFIX, STORE_KEY
from tiered_llm.budgets.ledgers.redis.store import Store
from tiered_llm.budgets.ledgers.redis.wire import (
    alerts_of,
    balance_of,
    check_parts,
    newest,
    packed,
    packed_ask,
    pairs,
    rows,
    settled_of,
    too_large,
    uneven,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tiered_llm.budgets.ledger import Alert
    from tiered_llm.budgets.ledgers.redis.library import Address
    from tiered_llm.budgets.ledgers.redis.names import Names
    from tiered_llm.budgets.ledgers.redis.routes import Steps
    from tiered_llm.clock import Clock

_T = TypeVar("_T")
_OURS: Final = frozenset({"cluster", "decode_responses", "encoding", "protocol"})
_SCANNED: Final = b"1000"  # keys looked at in one step


class RedisLedger:
    """The ledger behind `redis://` and `rediss://`.

    Safe for threads, event loops and processes.
    """

    def __init__(
        self,
        url: str,
        clock: Clock | None = None,
        *,
        secret: str | None = None,
        connect_timeout_s: float = 1.0,
        timeout_s: float = 3.0,
    ) -> None:
        """Connect at the first operation.

        Args:
            url: As redis-py takes it; `?cluster=true` says that it is a Redis Cluster where
                the server may not be asked, and other options are redis-py's own.
            clock: Decides instead of the server's clock: for tests.
            secret: What names are hashed and sealed with; one for all processes, kept for ever.
                None: drawn once and kept in the store.
            connect_timeout_s: Longest wait for a connection, in seconds.
            timeout_s: Longest wait for a reply, in seconds; then it is asked once more.

        Raises:
            ConfigurationError: redis-py is not installed, or does not know an option of the URL.
        """
        self._asked = (url, clock, secret, connect_timeout_s, timeout_s)
        self._library = library()
        self._clock = clock
        parts = urlsplit(url)
        options = parse_qsl(parts.query)
        kept = urlencode([pair for pair in options if pair[0] not in _OURS])
        self._url = urlunsplit(parts._replace(query=kept))
        self._connect_timeout_s, self._timeout_s = connect_timeout_s, timeout_s
        self._library.check(self._url)
        where = f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
        cluster = ("cluster", "true") in options
        self._store = Store(self._library, clock, secret, where, cluster=cluster)
        self._forget_clients()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the settings: clients and what was seen do not travel."""
        return _again, self._asked

    # --- the contract ---

    def now_s(self) -> float:
        """The server's time, in seconds since the epoch."""
        return self._run(self._now_s())

    def reserve(self, ask: Ask) -> Answer:
        """Reserve in every line, or nothing in any."""
        return self._run(self._reserve(ask))

    def settle(self, group: str, lease: str, amounts: tuple[int, ...]) -> Settled:
        """Charge what was used in place of the reservation."""
        return self._run(self._settle(group, lease, amounts))

    def orphan(self, group: str, lease: str, amounts: tuple[int, ...] | None = None) -> Settled:
        """Leave an open lease's reservation charged, or as much of it as the amounts.

        If its ask releases, free it.
        """
        return self._run(self._close(group, lease, b"x", amounts))

    def void(self, group: str, lease: str) -> Settled:
        """Free an open lease's reservation."""
        return self._run(self._close(group, lease, b"v"))

    def record(self, ask: Ask, amounts: tuple[int, ...]) -> Settled:
        """Charge what was used without a lease before."""
        return self._run(self._record(ask, amounts))

    def balances(self, group: str, accounts: tuple[str, ...]) -> tuple[Balance, ...]:
        """Accounts as they stand."""
        return self._run(self._balances(group, accounts))

    def set_limit(self, group: str, limit_name: str, limit: int | None) -> None:
        """Set a limit that goes before the asks' own; None takes it back."""
        self._run(self._set_limit(group, limit_name, limit))

    def limits(self, group: str) -> dict[str, int]:
        """The limits set at run time."""
        return self._run(self._limits(group))

    def alerts(self, group: str | None = None, most: int = 100) -> tuple[Alert, ...]:
        """Alerts raised, newest first: the last 1,000 of each group.

        Without a group the whole keyspace is scanned for them: an operator's question.
        """
        return self._run(self._alerts(group, most))

    def accept_loss(self) -> None:
        """Go on after keys were lost, here and in every other process, with what there is.

        In a cluster it writes to each of the 16,384 hash slots: about two seconds.
        """
        self._run(self._store.accept_loss())

    async def anow_s(self) -> float:
        """As `now_s`."""
        return await self._arun(self._now_s())

    async def areserve(self, ask: Ask) -> Answer:
        """As `reserve`."""
        return await self._arun(self._reserve(ask))

    async def asettle(self, group: str, lease: str, amounts: tuple[int, ...]) -> Settled:
        """As `settle`."""
        return await self._arun(self._settle(group, lease, amounts))

    async def aorphan(
        self, group: str, lease: str, amounts: tuple[int, ...] | None = None
    ) -> Settled:
        """As `orphan`."""
        return await self._arun(self._close(group, lease, b"x", amounts))

    async def avoid(self, group: str, lease: str) -> Settled:
        """As `void`."""
        return await self._arun(self._close(group, lease, b"v"))

    async def arecord(self, ask: Ask, amounts: tuple[int, ...]) -> Settled:
        """As `record`."""
        return await self._arun(self._record(ask, amounts))

    async def abalances(self, group: str, accounts: tuple[str, ...]) -> tuple[Balance, ...]:
        """As `balances`."""
        return await self._arun(self._balances(group, accounts))

    async def aset_limit(self, group: str, limit_name: str, limit: int | None) -> None:
        """As `set_limit`."""
        await self._arun(self._set_limit(group, limit_name, limit))

    async def alimits(self, group: str) -> dict[str, int]:
        """As `limits`."""
        return await self._arun(self._limits(group))

    async def aalerts(self, group: str | None = None, most: int = 100) -> tuple[Alert, ...]:
        """As `alerts`."""
        return await self._arun(self._alerts(group, most))

    async def aaccept_loss(self) -> None:
        """As `accept_loss`."""
        await self._arun(self._store.accept_loss())

    def close(self) -> None:
        """Close the connections of threads; each event loop's go with their loop."""
        if self._process == os.getpid():
            self._threads.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        held = self._by_loop.pop(asyncio.get_running_loop(), None)
        if held is not None:
            await held[1].aclose()

    # --- operations: hops out, replies in ---

    def _now_s(self) -> Steps[float]:
        if self._clock is not None:
            return self._clock.now().timestamp()
        now_s, micros = yield from self._store.evaluate("now", 0, (STORE_KEY.encode(),), ())
        return int(now_s) + int(micros) / 1_000_000

    def _reserve(self, ask: Ask) -> Steps[Answer]:
        def arguments(names: Names, tag: bytes) -> Sequence[bytes]:
            return names.hashed(tag, ask.lease), packed_ask(names, tag, ask, ask.least)

        names, reply = yield from self._store.operate("reserve", ask.group, arguments)
        match reply[0]:
            case b"granted":
                alerts = alerts_of(names, ask.group, reply[3:])
                return Granted(tokens=int(reply[2]), alerts=alerts)
            case b"refused":
                line = ask.lines[int(reply[2]) - 1]
                return Refused(
                    balance=balance_of(line.account, reply[3:]),
                    wanted=line.fixed + line.per_token * ask.least,
                    ends_s=line.ends_s,
                )
            case b"stale":
                return Stale(now_s=float(reply[2]))
        raise too_large()

    def _settle(self, group: str, lease: str, amounts: tuple[int, ...]) -> Steps[Settled]:
        check_parts(amounts)
        names, reply = yield from self._store.operate(
            "settle", group, lambda names, tag: (names.hashed(tag, lease), *_digits(amounts))
        )
        if reply[0] == b"uneven":
            raise uneven()
        return settled_of(names, group, reply)

    def _close(
        self, group: str, lease: str, state: bytes, amounts: tuple[int, ...] | None = None
    ) -> Steps[Settled]:
        told = (state,) if amounts is None else (state, *_digits(amounts))
        check_parts(amounts or ())
        names, reply = yield from self._store.operate(
            "close", group, lambda names, tag: (names.hashed(tag, lease), *told)
        )
        if reply[0] == b"uneven":
            raise uneven()
        return settled_of(names, group, reply)

    def _record(self, ask: Ask, amounts: tuple[int, ...]) -> Steps[Settled]:
        check_parts(amounts)
        if len(amounts) != len(ask.lines):
            raise uneven()

        def arguments(names: Names, tag: bytes) -> Sequence[bytes]:
            lease, told = names.hashed(tag, ask.lease), packed_ask(names, tag, ask, 0)
            return lease, told, *_digits(amounts)

        names, reply = yield from self._store.operate("record", ask.group, arguments)
        return settled_of(names, ask.group, reply)

    def _balances(self, group: str, accounts: tuple[str, ...]) -> Steps[tuple[Balance, ...]]:
        def arguments(names: Names, tag: bytes) -> Sequence[bytes]:
            return [names.sealed(tag, account)[:ID] for account in accounts]

        more = True
        while more:
            _, reply = yield from self._store.operate("balances", group, arguments)
            more = reply[2] == b"1"
        return tuple(balance_of(*pair) for pair in zip(accounts, rows(reply[3:]), strict=True))

    def _set_limit(self, group: str, limit_name: str, limit: int | None) -> Steps[None]:
        amounts = () if limit is None else (limit,)
        check_parts(amounts)
        told = b"".join(_digits(amounts))
        yield from self._store.operate(
            "set_limit", group, lambda names, tag: (names.sealed(tag, limit_name), told)
        )

    def _limits(self, group: str) -> Steps[dict[str, int]]:
        names, reply = yield from self._store.operate("limits", group, lambda _names, _tag: ())
        tag = names.tag(group)
        return {names.unsealed(tag, name): int(limit) for name, limit in pairs(reply[2:])}

    def _alerts(self, group: str | None, most: int) -> Steps[tuple[Alert, ...]]:
        if group is not None:
            names, reply = yield from self._store.operate(
                "alerts", group, lambda _names, _tag: (b"%d" % most,)
            )
            return newest(names, reply[2] or (), most)
        names = yield from self._store.look()
        entries: list[Any] = []
        for address in self._store.routes.primaries():
            entries += yield from self._node_alerts(address, most)
        return newest(names, entries, most)

    def _node_alerts(self, address: Address, most: int) -> Steps[list[Any]]:
        """The newest entries of every group on a node."""
        ask, cursor = self._store.routes.ask_node, b""
        entries: list[Any] = []
        pattern = f"{PREFIX}{{*}}:alerts".encode()
        while cursor != b"0":
            scan = packed(b"SCAN", cursor or b"0", b"MATCH", pattern, b"COUNT", _SCANNED)
            cursor, keys = yield from ask(address, scan)
            for key in keys:
                read = packed(b"XREVRANGE", key, b"+", b"-", b"COUNT", b"%d" % most)
                entries += (yield from ask(address, read)) or []
        return entries

    # --- the two ways to wait ---

    def _run(self, steps: Steps[_T]) -> _T:
        if self._process != os.getpid():
            self._forget_clients()
        try:
            return self._threads.run(steps)
        except self._library.failures as error:
            raise self._store.error(self._library.told(error, self._timeout_s)) from error

    async def _arun(self, steps: Steps[_T]) -> _T:
        if self._process != os.getpid():
            self._forget_clients()
        loop = asyncio.get_running_loop()
        held = self._by_loop.get(loop) or await self._open_loop(loop)
        try:
            return await held[0].run(steps)
        except self._library.failures as error:
            raise self._store.error(self._library.told(error, self._timeout_s)) from error

    async def _open_loop(
        self, loop: asyncio.AbstractEventLoop
    ) -> tuple[LoopClient, AsyncGenerator[None]]:
        """A client for this loop, which is closed with it."""
        with self._lock:
            for other in [old for old in self._by_loop if old.is_closed()]:
                del self._by_loop[other]
        connect = self._library.async_connector(self._url, self._connect_timeout_s)
        client = LoopClient(self._library, connect, self._connect_timeout_s, self._timeout_s)
        keeper = client.kept_open()
        await anext(keeper)
        return self._by_loop.setdefault(loop, (client, keeper))

    def _forget_clients(self) -> None:
        """Begin without connections: those of a process before a fork are not ours."""
        self._process = os.getpid()
        self._lock = threading.Lock()
        connect = self._library.connector(self._url, self._connect_timeout_s, self._timeout_s)
        self._threads = ThreadsClient(self._library, connect)
        self._by_loop: dict[asyncio.AbstractEventLoop, tuple[LoopClient, AsyncGenerator[None]]] = {}


def _again(
    url: str, clock: Clock | None, secret: str | None, connect_timeout_s: float, timeout_s: float
) -> RedisLedger:
    return RedisLedger(
        url, clock, secret=secret, connect_timeout_s=connect_timeout_s, timeout_s=timeout_s
    )


def _digits(amounts: Sequence[int]) -> list[bytes]:
    return [b"%d" % amount for amount in amounts]
