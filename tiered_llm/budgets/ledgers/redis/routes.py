"""Where commands go: to one server, or to the node of a cluster that owns a slot.

Operations are generators, so that threads and event loops share all but the waiting: they
yield hops, are sent replies or thrown what went wrong, and return their answers.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from tiered_llm.budgets.ledgers.redis.names import SLOTS
from tiered_llm.budgets.ledgers.redis.wire import packed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiered_llm.budgets.ledgers.redis.library import Address, Library

_T = TypeVar("_T")
_ASKING: Final = packed(b"ASKING")
_SLOTS: Final = packed(b"CLUSTER", b"SLOTS")
_TRIES: Final = 2
_REDIRECTS: Final = 8


class Hop(NamedTuple):
    """A packed command on its way.

    Attributes:
        address: The node.
        command: The bytes to send.
        replies: How many come back; the last one counts.
    """

    address: Address
    command: bytes
    replies: int = 1


Steps: TypeAlias = Generator[Hop, Any, _T]
"""An operation."""


class Routes:
    """One server, or a cluster whose map is learnt from its nodes."""

    def __init__(self, library: Library, *, cluster: bool) -> None:
        """Say whether it is known to be a cluster."""
        self.cluster = cluster
        self._library = library
        self._owners: list[Address] = [None] * SLOTS

    def primaries(self) -> tuple[Address, ...]:
        """Every node that owns slots, as far as is known."""
        return tuple(dict.fromkeys(self._owners))

    def ask(self, command: bytes, slot: int = 0) -> Steps[Any]:
        """Send a command to the owner of a slot; once more where the reply was lost.

        A cluster's redirections are followed, and its map is read anew after a loss.
        """
        hop, left = Hop(self._owners[slot], command), _TRIES
        for _ in range(_REDIRECTS):
            try:
                return (yield hop)
            except self._library.broken:
                left -= 1
                if not left:
                    raise
                if self.cluster:
                    yield from self.look_around()
                hop = Hop(self._owners[slot], command)
            except self._library.refused as error:
                hop = self._redirected(error, command, slot)
        return (yield hop)

    def ask_node(self, address: Address, command: bytes) -> Steps[Any]:
        """Send a command to one node; once more where the reply was lost."""
        hop = Hop(address, command)
        try:
            return (yield hop)
        except self._library.broken:
            return (yield hop)

    def look_around(self) -> Steps[None]:
        """Learn the map from the first node that tells it; keep the old one if none does."""
        for address in dict.fromkeys((*self.primaries(), None)):
            try:
                told = yield Hop(address, _SLOTS)
            except self._library.failures:
                continue
            self._learn(told, address)
            return

    def _learn(self, told: Iterable[Any], teller: Address) -> None:
        owners: list[Address] = [None] * SLOTS
        for first, last, (host, port, *_), *_replicas in told:
            owner = (host.decode(), port) if host else _beside(teller, port)
            owners[first : last + 1] = [owner] * (last + 1 - first)
        self._owners = owners

    def _redirected(self, error: Exception, command: bytes, slot: int) -> Hop:
        """The next hop where a node says who has the slot, for good or for this one command.

        Raises:
            Exception: The error, where it says anything else.
        """
        kind, address = _redirection(self._library.errors, error)
        if not kind:
            raise error
        if kind == "MOVED":
            self.cluster, self._owners[slot] = True, address
            return Hop(address, command)
        return Hop(address, _ASKING + command, 2)


def _redirection(errors: Any, error: Exception) -> tuple[str, Address]:
    """MOVED or ASK and where to, or nothing: `[MOVED] 3999 127.0.0.1:6381`."""
    kind, _, rest = str(error).partition(" ")
    if isinstance(error, errors.AskError):  # of which MovedError is one
        kind, rest = ("MOVED" if isinstance(error, errors.MovedError) else "ASK"), str(error)
    if kind not in {"MOVED", "ASK"}:
        return "", None
    host, _, port = rest.split()[-1].rpartition(":")
    return kind, (host, int(port))


def _beside(teller: Address, port: int) -> Address:
    """A node that does not tell its name is reached where the teller was."""
    return None if teller is None else (teller[0], port)
