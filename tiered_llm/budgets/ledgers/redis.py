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
  `LedgerError` until an operator calls `accept_loss`. In a cluster each hash slot has its own.

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
import binascii
import hashlib
import hmac
import math
import os
import secrets
import struct
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from tiered_llm.budgets.errors import LedgerError
from tiered_llm.budgets.ledger import (
    MAX_PARTS,
    Alert,
    Answer,
    Ask,
    Balance,
    Granted,
    Refused,
    Settled,
    Stale,
)
from tiered_llm.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from tiered_llm.clock import Clock

PREFIX: Final = "tiered-llm:"
"""What every key begins with; `~tiered-llm:*` is the pattern for an access list."""

_T = TypeVar("_T")
_Steps: TypeAlias = Generator[tuple[Any, ...], Any, _T]
"""An operation: yields commands, is sent their replies, returns its answer."""

_STORE_KEY: Final = f"{PREFIX}{{store}}"
_SLOTS: Final = 16_384
_ID: Final = 22  # characters of a hash: 128 bits
_CACHED_NAMES: Final = 4_096
_HEAD: Final = struct.Struct("<2d")
_LINE: Final = struct.Struct("<6dB22sI")
_LENGTH: Final = struct.Struct("<I")
_CONNECTIONS: Final = 32  # of one event loop; more calls than that wait for their turn
_SCAN: Final = "scan"
_LOST: Final = (
    "has lost what it held, and budgets with it: it was emptied, restored from an old dump, or"
    " a replica that lagged took over; see what was spent, then call accept_loss()"
)
_ANOTHERS: Final = "holds budgets under another secret: give every process the same `secret`"
_EVICTS: Final = "may evict what was spent (maxmemory-policy {}): set it to noeviction"
_OURS: Final = frozenset({"cluster", "decode_responses", "encoding", "protocol"})


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
        timeout_s: float = 1.0,
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
            ConfigurationError: redis-py is not installed.
        """
        self._asked = (url, clock, secret, connect_timeout_s, timeout_s)
        self._library = _library()
        self._clock, self._secret = clock, secret
        parts = urlsplit(url)
        options = parse_qsl(parts.query)
        self._url = urlunsplit(
            parts._replace(query=urlencode([pair for pair in options if pair[0] not in _OURS]))
        )
        self._cluster = ("cluster", "true") in options
        self._where = f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
        self._connect_timeout_s, self._timeout_s = connect_timeout_s, timeout_s
        self._names: _Names | None = None
        self._seen: dict[str, _Generation] = {}
        self._lock = threading.Lock()
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

    def orphan(self, group: str, lease: str) -> Settled:
        """Leave an open lease's reservation charged."""
        return self._run(self._close(group, lease, "x"))

    def void(self, group: str, lease: str) -> Settled:
        """Free an open lease's reservation."""
        return self._run(self._close(group, lease, "v"))

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
        self._run(self._accept_loss())

    async def anow_s(self) -> float:
        """As `now_s`."""
        return await self._arun(self._now_s())

    async def areserve(self, ask: Ask) -> Answer:
        """As `reserve`."""
        return await self._arun(self._reserve(ask))

    async def asettle(self, group: str, lease: str, amounts: tuple[int, ...]) -> Settled:
        """As `settle`."""
        return await self._arun(self._settle(group, lease, amounts))

    async def aorphan(self, group: str, lease: str) -> Settled:
        """As `orphan`."""
        return await self._arun(self._close(group, lease, "x"))

    async def avoid(self, group: str, lease: str) -> Settled:
        """As `void`."""
        return await self._arun(self._close(group, lease, "v"))

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
        await self._arun(self._accept_loss())

    def close(self) -> None:
        """Close the connections of threads; each event loop's go with their loop."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        for key in [key for key in self._by_loop if key[0] is asyncio.get_running_loop()]:
            held = self._by_loop.pop(key, None)
            if held is not None:
                await held[2].aclose()

    # --- operations: commands out, replies in ---

    def _now_s(self) -> _Steps[float]:
        if self._clock is not None:
            return self._clock.now().timestamp()
        now_s, micros = yield from self._evaluate("now", (_STORE_KEY,), ())
        return int(now_s) + int(micros) / 1_000_000

    def _reserve(self, ask: Ask) -> _Steps[Answer]:
        names, reply = yield from self._operate(
            "reserve",
            ask.group,
            lambda names, tag: (
                names.hashed(tag, ask.lease),
                _lines(names, tag, ask, ask.least),
            ),
        )
        match reply[0]:
            case b"granted":
                alerts = _raised(names, ask.group, reply[3:])
                return Granted(tokens=int(reply[2]), alerts=alerts)
            case b"refused":
                line = ask.lines[int(reply[2]) - 1]
                return Refused(
                    balance=_balance(line.account, reply[3:]),
                    wanted=line.fixed + line.per_token * ask.least,
                    ends_s=line.ends_s,
                )
            case b"stale":
                return Stale(now_s=float(reply[2]))
        raise _too_large()

    def _settle(self, group: str, lease: str, amounts: tuple[int, ...]) -> _Steps[Settled]:
        _check(amounts)
        names, reply = yield from self._operate(
            "settle", group, lambda names, tag: (names.hashed(tag, lease), *amounts)
        )
        if reply[0] == b"uneven":
            msg = "settle takes one amount for each line of the ask"
            raise ValueError(msg)
        return _settled(names, group, reply)

    def _close(self, group: str, lease: str, state: str) -> _Steps[Settled]:
        names, reply = yield from self._operate(
            "close", group, lambda names, tag: (names.hashed(tag, lease), state)
        )
        return _settled(names, group, reply)

    def _record(self, ask: Ask, amounts: tuple[int, ...]) -> _Steps[Settled]:
        _check(amounts)
        if len(amounts) != len(ask.lines):
            msg = "record takes one amount for each line of the ask"
            raise ValueError(msg)
        names, reply = yield from self._operate(
            "record",
            ask.group,
            lambda names, tag: (
                names.hashed(tag, ask.lease),
                _lines(names, tag, ask, 0),
                *amounts,
            ),
        )
        return _settled(names, ask.group, reply)

    def _balances(self, group: str, accounts: tuple[str, ...]) -> _Steps[tuple[Balance, ...]]:
        more = True
        while more:
            _, reply = yield from self._operate(
                "balances",
                group,
                lambda names, tag: tuple(names.sealed(tag, account)[:_ID] for account in accounts),
            )
            more = reply[2] == b"1"
        return tuple(_balance(*pair) for pair in zip(accounts, _rows(reply[3:]), strict=True))

    def _set_limit(self, group: str, limit_name: str, limit: int | None) -> _Steps[None]:
        if limit is not None:
            _check((limit,))
        yield from self._operate(
            "set_limit",
            group,
            lambda names, tag: (names.sealed(tag, limit_name), "" if limit is None else limit),
        )

    def _limits(self, group: str) -> _Steps[dict[str, int]]:
        names, reply = yield from self._operate("limits", group, lambda _names, _tag: ())
        tag = names.tag(group)
        return {names.unsealed(tag, name): int(limit) for name, limit in _pairs(reply[2:])}

    def _alerts(self, group: str | None, most: int) -> _Steps[tuple[Alert, ...]]:
        if group is not None:
            names, reply = yield from self._operate("alerts", group, lambda _n, _t: (most,))
            entries = reply[2] or []
        else:
            names = yield from self._look()
            entries = []
            for key in (yield (_SCAN, f"{PREFIX}{{*}}:alerts")):
                entries += (yield ("XREVRANGE", key, "+", "-", "COUNT", most)) or []
        found = [(entry, dict(_pairs(fields))) for entry, fields in entries]
        found.sort(key=_order, reverse=True)
        return tuple(_read_entry(names, fields) for _, fields in found[:most])

    def _accept_loss(self) -> _Steps[None]:
        names = yield from self._open_store()
        secret = "" if self._secret is not None else names.secret
        for key in (_STORE_KEY, *(_slot_keys() if self._cluster else ())):
            yield from self._evaluate("accept", (key,), (names.fresh_id(), secret))
        self._seen.clear()

    # --- generations ---

    def _operate(
        self, script: str, group: str, arguments: Callable[[_Names, str], Sequence[Any]]
    ) -> _Steps[tuple[_Names, list[Any]]]:
        """Run a group's script in the generation that this process knows."""
        while True:
            names = self._names or (yield from self._open_store())
            tag = names.tag(group)
            key = _slot_key(tag) if self._cluster else _STORE_KEY
            seen = self._seen.get(key) or (yield from self._open(names, key))
            clock = self._clock
            now = "" if clock is None else repr(clock.now().timestamp())
            head = (seen.count, now, names.sealed("", group))
            keys = (f"{key}:{seen.id}", f"{PREFIX}{{{tag}}}")
            reply = yield from self._evaluate(script, keys, head + tuple(arguments(names, tag)))
            if type(reply) is bytes:
                reply = reply.split()
            if reply[0] != b"lost":
                seen.count = max(
                    seen.count, int(reply[1])
                )  # of two threads one may win: it grows again
                return names, reply
            yield from self._look_again(key, seen)

    def _look(self) -> _Steps[_Names]:
        """See whether the store is of the generation that this process knows."""
        names = self._names or (yield from self._open_store())
        seen = self._seen.get(_STORE_KEY) or (yield from self._open(names, _STORE_KEY))
        kept = yield from self._evaluate("open", (_STORE_KEY,), ("", ""))
        if not kept or kept[0] != seen.id.encode() or kept[2] < seen.count:
            yield from self._look_again(_STORE_KEY, seen)
        return names

    def _look_again(self, key: str, seen: _Generation) -> _Steps[None]:
        """Follow to a later generation, which an operator has begun.

        Raises:
            LedgerError: There is none: keys were lost.
        """
        kept = yield from self._evaluate("open", (key,), ("", ""))
        if kept and int(kept[1]) > seen.since:
            self._names = None  # its secret may be another
            self._seen[key] = _Generation(kept[0].decode(), int(kept[1]), kept[2])
        elif not kept or kept[0] != seen.id.encode() or kept[2] < seen.count:
            raise self._error(_LOST)

    def _open_store(self) -> _Steps[_Names]:
        """Meet the store: its kind, whether it keeps what it is given, and its secret."""
        yield from self._examine()
        proposed = "" if self._secret is not None else secrets.token_hex(32)
        names = _Names(self._secret or proposed)
        reply = yield from self._evaluate("open", (_STORE_KEY,), (names.fresh_id(), proposed))
        kept = reply[3].decode()
        if kept and self._secret is None:
            names = _Names(kept)
        self._accept_id(names, reply[0].decode())
        self._names = names
        return names

    def _examine(self) -> _Steps[None]:
        """Read what the server says of itself, if it may be asked."""
        try:
            told = yield ("INFO",)
        except self._library.NoPermissionError:
            return
        for said in [told] if "redis_version" in told else list(told.values()):
            policy = said.get("maxmemory_policy", "noeviction")
            if said.get("maxmemory", 0) and policy != "noeviction":
                raise self._error(_EVICTS.format(policy))
            self._cluster = self._cluster or bool(said.get("cluster_enabled", 0))

    def _open(self, names: _Names, key: str) -> _Steps[_Generation]:
        reply = yield from self._evaluate("open", (key,), (names.fresh_id(), ""))
        met = _Generation(reply[0].decode(), int(reply[1]), reply[2])
        self._accept_id(names, met.id)
        return self._seen.setdefault(key, met)

    def _accept_id(self, names: _Names, generation_id: str) -> None:
        if not generation_id.endswith(names.mark):
            raise self._error(_ANOTHERS)

    def _evaluate(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> _Steps[Any]:
        """Run a script by its hash; send its text where the server does not know it."""
        text, digest = _script(script)
        try:
            return (yield ("EVALSHA", digest, len(keys), *keys, *arguments))
        except self._library.NoScriptError:
            return (yield ("EVAL", text, len(keys), *keys, *arguments))

    # --- the two ways to wait ---

    def _run(self, steps: _Steps[_T]) -> _T:
        step: Callable[[Any], tuple[Any, ...]] = steps.send
        reply: Any = None
        try:
            while True:
                command = step(reply)
                try:
                    reply, step = self._execute(command), steps.send
                except self._library.answered as error:
                    reply, step = error, steps.throw
        except StopIteration as stop:
            return cast("_T", stop.value)
        except self._library.failures as error:
            raise self._failure(error) from error

    def _execute(self, command: tuple[Any, ...]) -> Any:
        client = self._client()
        if command[0] is _SCAN:
            return list(client.scan_iter(match=command[1], count=1_000))
        return client.execute_command(*command)

    async def _arun(self, steps: _Steps[_T]) -> _T:
        step: Callable[[Any], tuple[Any, ...]] = steps.send
        reply: Any = None
        try:
            while True:
                command = step(reply)
                try:
                    reply, step = await self._aexecute(command), steps.send
                except self._library.answered as error:
                    reply, step = error, steps.throw
        except StopIteration as stop:
            return cast("_T", stop.value)
        except self._library.failures as error:
            raise self._failure(error) from error

    async def _aexecute(self, command: tuple[Any, ...]) -> Any:
        client, turn = await self._async_client()
        async with turn:
            if command[0] is _SCAN:
                return [key async for key in client.scan_iter(match=command[1], count=1_000)]
            try:
                return await self._in_time(client, command)
            except TimeoutError:
                return await self._in_time(client, command)

    async def _in_time(self, client: Any, command: tuple[Any, ...]) -> Any:
        """Wait for a reply, but not for ever.

        Not by redis-py's own timeout: it writes under `asyncio.wait_for`, which until
        Python 3.12 may swallow a cancellation, and which makes a task for each command.
        """
        async with asyncio.timeout(self._timeout_s):
            return await client.execute_command(*command)

    def _client(self) -> Any:
        if self._process != os.getpid():
            self._forget_clients()
        cluster = self._cluster
        client = self._clients.get(cluster)
        if client is None:
            fresh = self._library.client(
                self._url, self._connect_timeout_s, self._timeout_s, cluster=cluster
            )
            with self._lock:
                client = self._clients.setdefault(cluster, fresh)
        return client

    async def _async_client(self) -> tuple[Any, asyncio.Semaphore]:
        if self._process != os.getpid():
            self._forget_clients()
        key = (asyncio.get_running_loop(), self._cluster)
        held = self._by_loop.get(key)
        if held is None:
            with self._lock:
                for other in [old for old in self._by_loop if old[0].is_closed()]:
                    del self._by_loop[other]
            client = self._library.async_client(self._url, self._connect_timeout_s, cluster=key[1])
            keeper = _kept_open(client)
            await anext(keeper)
            turn = asyncio.Semaphore(_CONNECTIONS)
            held = self._by_loop.setdefault(key, (client, turn, keeper))
        return held[:2]

    def _forget_clients(self) -> None:
        """Begin without connections: those of a process before a fork are not ours."""
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._clients: dict[bool, Any] = {}
        self._by_loop: dict[
            tuple[asyncio.AbstractEventLoop, bool],
            tuple[Any, asyncio.Semaphore, AsyncGenerator[None]],
        ] = {}

    # --- what goes wrong ---

    def _error(self, what: str) -> LedgerError:
        return LedgerError(f"the Redis at {self._where} {what}")

    def _failure(self, error: Exception) -> LedgerError:
        return self._error(_told(error, self._library.errors, self._timeout_s))


def _told(error: Exception, errors: Any, timeout_s: float) -> str:
    """What is wrong, and what would be right; the order is from the special to the general."""
    words = f"{error} {error.__cause__}".lower()
    kinds: tuple[tuple[bool, str], ...] = (
        (
            isinstance(error, errors.AuthenticationError) or "noauth" in words,
            "refused the name or password: write redis://name:password@host:port/0",
        ),
        (
            isinstance(error, errors.NoPermissionError),
            f"does not permit this user enough: allow scripts and the keys ~{PREFIX}*",
        ),
        (
            "ssl" in words or "certificate" in words,
            "cannot be trusted by TLS: check its certificate and ssl_ca_certs in the URL",
        ),
        (isinstance(error, errors.BusyLoadingError), "is still loading its data: ask again"),
        (
            isinstance(error, (errors.TimeoutError, TimeoutError)),
            f"did not answer within {timeout_s:g} s, asked twice: see whether it hangs",
        ),
        (
            isinstance(error, errors.OutOfMemoryError) or str(error).startswith("OOM"),
            "is out of memory: raise its maxmemory",
        ),
        (
            isinstance(error, errors.ReadOnlyError) or str(error).startswith("READONLY"),
            "is a replica, which cannot be written to: name the primary",
        ),
        (
            isinstance(error, (errors.ConnectionError, errors.RedisClusterException, OSError)),
            "cannot be reached: see whether it runs there, or correct the URL",
        ),
    )
    for fits, text in kinds:
        if fits:
            return text
    return f"refused the command ({type(error).__name__}): Redis 7 or later is needed"


@dataclass(slots=True)
class _Generation:
    """What this process has seen of one generation: the store may never be behind it."""

    id: str
    since: int
    count: int


class _Names:
    """Names as the store sees them: hashed where they are only looked up, else sealed.

    Sealing is deterministic (a hash of the text is both its check and where the mask begins,
    as in RFC 5297's SIV), so that a sealed name is found again by sealing it again.
    """

    def __init__(self, secret: str) -> None:
        """Derive a key for each use from the secret."""
        self.secret = secret
        raw = secret.encode("utf-8", "surrogatepass")
        self._hash_key, self._mask_key = (_digest(raw, use) for use in (b"hash", b"mask"))
        self.mark = "." + _text(_digest(raw, b"mark")[:6])
        self.tag = lru_cache(_CACHED_NAMES)(self._tag)
        self.sealed = lru_cache(_CACHED_NAMES)(self._sealed)

    def fresh_id(self) -> str:
        """An id for a generation under this secret."""
        return secrets.token_hex(8) + self.mark

    def hashed(self, tag: str, name: str) -> str:
        """A lease's name in the group of this tag."""
        return self._hash(b"lease", tag, name.encode("utf-8", "surrogatepass"))

    def unsealed(self, context: str, sealed: bytes) -> str:
        """The name that was sealed.

        Raises:
            LedgerError: It was not sealed with this secret.
        """
        check, masked = _raw(sealed[:_ID]), _raw(sealed[_ID:])
        text = self._masked(check, masked)
        if not hmac.compare_digest(check, self._check(context, text)):
            msg = "a name in the Redis was sealed with another secret: remove its key"
            raise LedgerError(msg)
        return text.decode("utf-8", "surrogatepass")

    def _tag(self, group: str) -> str:
        return self._hash(b"group", "", group.encode("utf-8", "surrogatepass"))

    def _sealed(self, context: str, name: str) -> str:
        text = name.encode("utf-8", "surrogatepass")
        check = self._check(context, text)
        return _text(check) + _text(self._masked(check, text))

    def _hash(self, use: bytes, context: str, name: bytes) -> str:
        return _text(_digest(self._hash_key, use + context.encode() + b"\0" + name)[:16])

    def _check(self, context: str, text: bytes) -> bytes:
        return _digest(self._hash_key, b"seal" + context.encode() + b"\0" + text)[:16]

    def _masked(self, check: bytes, text: bytes) -> bytes:
        blocks = range(math.ceil(len(text) / 32))
        mask = b"".join(_digest(self._mask_key, check + n.to_bytes(8, "big")) for n in blocks)
        return bytes(a ^ b for a, b in zip(text, mask, strict=False))


class _Library:
    """What is used of redis-py, which is imported late."""

    def __init__(self) -> None:
        """Import it."""
        import redis
        import redis.asyncio
        from redis import exceptions

        self._sync, self._async, self.errors = redis, redis.asyncio, exceptions
        self.NoScriptError = exceptions.NoScriptError
        self.NoPermissionError = exceptions.NoPermissionError
        self.answered = (exceptions.NoScriptError, exceptions.NoPermissionError)
        self.failures = (exceptions.RedisError, exceptions.RedisClusterException, OSError)

    def client(self, url: str, connect_s: float, reply_s: float, *, cluster: bool) -> Any:
        """A client for threads."""
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        kind: Any = self._sync.RedisCluster if cluster else self._sync.Redis
        options = self._options(Retry(NoBackoff(), 3 if cluster else 1), connect_s, reply_s)
        return kind.from_url(url, **options)

    def async_client(self, url: str, connect_s: float, *, cluster: bool) -> Any:
        """A client for one event loop, which waits for replies for ever."""
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        kind: Any = self._async.RedisCluster if cluster else self._async.Redis
        again = Retry(NoBackoff(), 3 if cluster else 1)  # a cluster's map may be read anew between
        return kind.from_url(url, **self._options(again, connect_s, None))

    def _options(self, retry: Any, connect_s: float, reply_s: float | None) -> dict[str, Any]:
        errors: Any = self.errors
        return {
            "retry": retry,
            "retry_on_error": [errors.ConnectionError, errors.TimeoutError],
            "socket_connect_timeout": connect_s,
            "socket_timeout": reply_s,
        }


def _library() -> _Library:
    try:
        return _Library()
    except ImportError as error:
        problem = Problem(
            source="arguments",
            key="store",
            wrong="a store in Redis needs redis-py, which is not installed",
            right='pip install "tiered-llm[redis]"',
        )
        raise ConfigurationError([problem]) from error


def _again(
    url: str, clock: Clock | None, secret: str | None, connect_timeout_s: float, timeout_s: float
) -> RedisLedger:
    return RedisLedger(
        url, clock, secret=secret, connect_timeout_s=connect_timeout_s, timeout_s=timeout_s
    )


async def _kept_open(client: Any) -> AsyncGenerator[None]:
    """Hold a client for as long as its loop runs: the loop's end finishes its generators."""
    try:
        yield
    finally:
        await client.aclose()


@cache
def _script(name: str) -> tuple[str, str]:
    """A script's text and its hash; those that touch a group begin with the common part."""
    folder = files("tiered_llm.budgets.ledgers") / "lua"
    text = (folder / f"{name}.lua").read_text("utf-8")
    if name not in {"open", "accept", "now"}:
        text = (folder / "common.lua").read_text("utf-8") + text
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@cache
def _slot_keys() -> tuple[str, ...]:
    """For each slot of a cluster the key of its generation, which lies in it."""
    found: dict[int, str] = {}
    for number in count():
        found.setdefault(_slot(str(number)), f"{PREFIX}{{{number}}}:generation")
        if len(found) == _SLOTS:
            return tuple(found[slot] for slot in range(_SLOTS))
    raise AssertionError


def _slot_key(tag: str) -> str:
    return _slot_keys()[_slot(tag)]


def _slot(tag: str) -> int:
    """Where a cluster keeps a hash tag: CRC16 (XMODEM), as its specification has it."""
    return binascii.crc_hqx(tag.encode(), 0) % _SLOTS


def _lines(names: _Names, tag: str, ask: Ask, least: int) -> bytes:
    """An ask as the scripts read it."""
    texts = [_HEAD.pack(ask.most, ask.ttl_s)]
    for line in ask.lines:
        account = names.sealed(tag, line.account).encode()
        name = names.sealed(tag, line.limit_name).encode()
        label = b"%b|%b|" % (_thresholds(line.thresholds), account)
        texts += (
            _LINE.pack(
                line.starts_s,
                line.ends_s,
                line.fixed,
                line.per_token,
                line.fixed + line.per_token * least,
                -1 if line.limit is None else line.limit,
                line.refuses,
                account,
                len(label),
            ),
            label,
            _LENGTH.pack(len(name)),
            name,
        )
    return b"".join(texts)


@lru_cache(_CACHED_NAMES)
def _thresholds(percents: tuple[int, ...]) -> bytes:
    return " ".join(map(str, percents)).encode()


def _balance(account: str, columns: Sequence[bytes]) -> Balance:
    settled, reserved, orphaned, overrun = map(int, columns[:4])
    return Balance(
        account=account,
        settled=settled,
        reserved=reserved,
        orphaned=orphaned,
        overrun=overrun,
        limit=None if columns[4] == b"-1" else int(columns[4]),
    )


def _settled(names: _Names, group: str, reply: list[Any]) -> Settled:
    alerts = _raised(names, group, reply[4:])
    return Settled(ended=reply[2].decode(), overrun=int(reply[3]), alerts=alerts)


def _raised(names: _Names, group: str, words: Sequence[bytes]) -> tuple[Alert, ...]:
    if not words:
        return ()
    tag = names.tag(group)
    return tuple(_alert(group, names.unsealed(tag, row[0]), row[1:]) for row in _rows(words))


def _rows(words: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
    """Balances and alerts alike are five words each."""
    return (words[at : at + 5] for at in range(0, len(words), 5))


def _read_entry(names: _Names, entry: dict[bytes, bytes]) -> Alert:
    group = names.unsealed("", entry[b"group"])
    account = names.unsealed(names.tag(group), entry[b"account"])
    rest = [entry[name] for name in (b"threshold", b"charged", b"limit", b"at")]
    return _alert(group, account, rest)


def _alert(group: str, account: str, row: Sequence[bytes]) -> Alert:
    threshold, charged, limit = map(int, row[:3])
    return Alert(
        group=group,
        account=account,
        threshold=threshold,
        charged=charged,
        limit=limit,
        at_s=float(row[3]),
    )


def _order(found: tuple[bytes, dict[bytes, bytes]]) -> tuple[float, int, tuple[int, ...]]:
    """By time, and within an instant by operation and by place in the stream."""
    entry, fields = found
    place = tuple(map(int, entry.split(b"-")))
    return float(fields[b"at"]), int(fields[b"count"]), place


def _pairs(flat: Any) -> Iterable[tuple[bytes, bytes]]:
    """Field and value by turns, or a mapping, as the protocol's version has it."""
    if isinstance(flat, dict):
        return cast("Iterable[tuple[bytes, bytes]]", flat.items())
    return zip(flat[::2], flat[1::2], strict=True)


def _check(amounts: Iterable[int]) -> None:
    if not all(0 <= amount <= MAX_PARTS for amount in amounts):
        raise _too_large()


def _too_large() -> ValueError:
    return ValueError(f"an amount or limit lies outside 0 to {MAX_PARTS} parts")


def _digest(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _raw(text: bytes) -> bytes:
    return urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
