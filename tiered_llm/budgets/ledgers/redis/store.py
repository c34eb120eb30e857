"""The store as a process meets it: its secret, its generations, and scripts run in them.

A *generation* counts operations. A process that has seen more of them than the store has
knows that keys were lost.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tiered_llm.budgets.errors import LedgerError, LedgerLostError
from tiered_llm.budgets.ledgers.redis.names import (
    PREFIX,
    STORE_KEY,
    Names,
    slot_keys,
    slot_of,
)
from tiered_llm.budgets.ledgers.redis.routes import Routes
from tiered_llm.budgets.ledgers.redis.wire import packed, script, told_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tiered_llm.budgets.ledgers.redis.library import Library
    from tiered_llm.budgets.ledgers.redis.routes import Steps
    from tiered_llm.clock import Clock

_INFO: Final = packed(b"INFO")
_LOST: Final = (
    "has lost what it held, and budgets with it: it was emptied, restored from an old dump, or"
    " a replica that lagged took over; see what was spent, then call accept_loss()"
)
_ANOTHERS: Final = "holds budgets under another secret: give every process the same `secret`"
_EVICTS: Final = "may evict what was spent (maxmemory-policy {}): set it to noeviction"


@dataclass(slots=True)
class _Generation:
    """What this process has seen of one generation: the store may never be behind it."""

    id: str
    since: int
    count: int


class Store:
    """Runs scripts in the generation that this process knows."""

    def __init__(
        self,
        library: Library,
        clock: Clock | None,
        secret: str | None,
        where: str,
        *,
        cluster: bool,
    ) -> None:
        """Ask nobody yet."""
        self._library, self._clock, self._secret, self._where = library, clock, secret, where
        self.routes = Routes(library, cluster=cluster)
        self._names: Names | None = None
        self._seen: dict[str, _Generation] = {}

    def operate(
        self, name: str, group: str, arguments: Callable[[Names, bytes], Sequence[bytes]]
    ) -> Steps[tuple[Names, list[Any]]]:
        """Run a group's script; the reply begins with how it went and the operations counted.

        Raises:
            LedgerLostError: Keys were lost, may be, or are another's.
        """
        while True:
            names = self._names or (yield from self._open_store())
            tag = names.tag(group)
            slot, key = 0, STORE_KEY
            if self.routes.cluster:
                slot = slot_of(tag)
                key = slot_keys()[slot]
            seen = self._seen.get(key) or (yield from self._open(names, key, slot))
            clock = self._clock
            now = b"" if clock is None else repr(clock.now().timestamp()).encode()
            keys = (f"{key}:{seen.id}".encode(), b"%b{%b}" % (PREFIX.encode(), tag))
            head = (b"%d" % seen.count, now, names.sealed(b"", group))
            reply = yield from self.evaluate(name, slot, keys, (*head, *arguments(names, tag)))
            if type(reply) is bytes:
                reply = reply.split()
            if reply[0] != b"lost":
                # of two threads one may win: it grows again
                seen.count = max(seen.count, int(reply[1]))
                return names, reply
            yield from self._look_again(key, slot, seen)

    def evaluate(
        self, name: str, slot: int, keys: Sequence[bytes], arguments: Sequence[bytes]
    ) -> Steps[Any]:
        """Run a script by its hash; send its text where the server does not know it."""
        known = script(name)
        try:
            return (yield from self.routes.ask(known.by_hash(keys, arguments), slot))
        except self._library.errors.NoScriptError:
            return (yield from self.routes.ask(known.by_text(keys, arguments), slot))

    def look(self) -> Steps[Names]:
        """See whether the store is of the generation that this process knows."""
        names = self._names or (yield from self._open_store())
        seen = self._seen.get(STORE_KEY) or (yield from self._open(names, STORE_KEY, 0))
        kept = yield from self._generation(STORE_KEY, 0)
        if not kept or kept[0] != seen.id.encode() or kept[2] < seen.count:
            yield from self._look_again(STORE_KEY, 0, seen)
        return names

    def accept_loss(self) -> Steps[None]:
        """Begin a new generation over what there is, in each slot of a cluster."""
        names = yield from self._open_store()
        secret = b"" if self._secret is not None else names.secret.encode()
        places = [(_store_slot(), STORE_KEY)]
        if self.routes.cluster:
            places += enumerate(slot_keys())
        for slot, key in places:
            arguments = (names.fresh_id().encode(), secret)
            yield from self.evaluate("accept", slot, (key.encode(),), arguments)
        self._seen.clear()

    def error(self, what: str, kind: type[LedgerError] = LedgerError) -> LedgerError:
        """An error that says which server it is about."""
        return kind(f"the Redis at {self._where} {what}")

    # --- inside ---

    def _look_again(self, key: str, slot: int, seen: _Generation) -> Steps[None]:
        """Follow to a later generation, which an operator has begun.

        Raises:
            LedgerLostError: There is none: keys were lost.
        """
        kept = yield from self._generation(key, slot)
        if kept and int(kept[1]) > seen.since:
            self._names = None  # its secret may be another
            self._seen[key] = _Generation(kept[0].decode(), int(kept[1]), kept[2])
        elif not kept or kept[0] != seen.id.encode() or kept[2] < seen.count:
            raise self.error(_LOST, LedgerLostError)

    def _generation(self, key: str, slot: int) -> Steps[list[Any]]:
        """What is kept of a generation, or nothing."""
        slot = _store_slot() if key == STORE_KEY else slot
        kept: list[Any] = yield from self.evaluate("open", slot, (key.encode(),), (b"", b""))
        return kept

    def _open_store(self) -> Steps[Names]:
        """Meet the store: its kind, whether it keeps what it is given, and its secret."""
        yield from self._examine()
        proposed = "" if self._secret is not None else secrets.token_hex(32)
        names = Names(self._secret or proposed)
        arguments = (names.fresh_id().encode(), proposed.encode())
        key = (STORE_KEY.encode(),)
        reply = yield from self.evaluate("open", _store_slot(), key, arguments)
        kept = reply[3].decode()
        if kept and self._secret is None:
            names = Names(kept)
        self._accept_id(names, reply[0].decode())
        self._names = names
        return names

    def _examine(self) -> Steps[None]:
        """Read what the servers say of themselves, if they may be asked."""
        try:
            told = told_of((yield from self.routes.ask(_INFO)))
            self.routes.cluster = self.routes.cluster or told.get("cluster_enabled") == "1"
            if not self.routes.cluster:
                self._check_policy(told)
                return
            yield from self.routes.look_around()
            for address in self.routes.primaries():
                self._check_policy(told_of((yield from self.routes.ask_node(address, _INFO))))
        except self._library.errors.NoPermissionError:
            if self.routes.cluster:
                yield from self.routes.look_around()

    def _check_policy(self, told: dict[str, str]) -> None:
        policy = told.get("maxmemory_policy", "noeviction")
        if told.get("maxmemory", "0") != "0" and policy != "noeviction":
            raise self.error(_EVICTS.format(policy), LedgerLostError)

    def _open(self, names: Names, key: str, slot: int) -> Steps[_Generation]:
        slot = _store_slot() if key == STORE_KEY else slot
        arguments = (names.fresh_id().encode(), b"")
        reply = yield from self.evaluate("open", slot, (key.encode(),), arguments)
        met = _Generation(reply[0].decode(), int(reply[1]), reply[2])
        self._accept_id(names, met.id)
        return self._seen.setdefault(key, met)

    def _accept_id(self, names: Names, generation_id: str) -> None:
        if not generation_id.endswith(names.mark):
            raise self.error(_ANOTHERS, LedgerLostError)


def _store_slot() -> int:
    return slot_of(b"store")
