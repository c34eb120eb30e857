"""What is sent and what comes back: packed commands, asks, and the replies of the scripts."""

from __future__ import annotations

import hashlib
import struct
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from tiered_llm.budgets.ledger import MAX_PARTS, Alert, Balance, Settled

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tiered_llm.budgets.ledger import Ask
    from tiered_llm.budgets.ledgers.redis.names import Names

_HEAD: Final = struct.Struct("<2dB")
_LINE: Final = struct.Struct("<6dB22sI")
_LENGTH: Final = struct.Struct("<I")
_ALONE: Final = frozenset({"open", "accept", "now"})  # scripts that touch no group


def packed(*words: bytes) -> bytes:
    """A command as the protocol has it."""
    return b"*%d\r\n%b" % (len(words), _strings(words))


def _strings(words: Iterable[bytes]) -> bytes:
    return b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


class Script:
    """A Lua script and the commands that run it, by its hash or by its text."""

    def __init__(self, text: bytes) -> None:
        """Take its text; its hash is how the server knows it."""
        self._text = text
        digest = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
        self._by_hash = _strings((b"EVALSHA", digest))

    def by_hash(self, keys: Sequence[bytes], arguments: Sequence[bytes]) -> bytes:
        """Run it where the server knows it."""
        return self._run(self._by_hash, keys, arguments)

    def by_text(self, keys: Sequence[bytes], arguments: Sequence[bytes]) -> bytes:
        """Run it, and make it known."""
        return self._run(_strings((b"EVAL", self._text)), keys, arguments)

    @staticmethod
    def _run(head: bytes, keys: Sequence[bytes], arguments: Sequence[bytes]) -> bytes:
        rest = _strings((b"%d" % len(keys), *keys, *arguments))
        return b"*%d\r\n%b%b" % (3 + len(keys) + len(arguments), head, rest)


@cache
def script(name: str) -> Script:
    """A script of `lua/`; those that touch a group begin with the common part."""
    folder = files("tiered_llm.budgets.ledgers") / "lua"
    text = (folder / f"{name}.lua").read_bytes()
    return Script(text if name in _ALONE else (folder / "common.lua").read_bytes() + text)


def packed_ask(names: Names, tag: bytes, ask: Ask, least: int) -> bytes:
    """An ask as the scripts read it."""
    texts = [_HEAD.pack(ask.most, ask.ttl_s, ask.releases)]
    for line in ask.lines:
        account, label, name = names.line(tag, line.account, line.limit_name, line.thresholds)
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


def balance_of(account: str, columns: Sequence[bytes]) -> Balance:
    """An account from its five columns."""
    settled, reserved, orphaned, overrun = map(int, columns[:4])
    return Balance(
        account=account,
        settled=settled,
        reserved=reserved,
        orphaned=orphaned,
        overrun=overrun,
        limit=None if columns[4] == b"-1" else int(columns[4]),
    )


def settled_of(names: Names, group: str, reply: Sequence[bytes]) -> Settled:
    """What became of a settle, a void, an orphan or a record."""
    alerts = alerts_of(names, group, reply[4:])
    return Settled(ended=reply[2].decode(), overrun=int(reply[3]), alerts=alerts)  # type: ignore[arg-type]


def alerts_of(names: Names, group: str, words: Sequence[bytes]) -> tuple[Alert, ...]:
    """The alerts that an operation raised."""
    if not words:
        return ()
    tag = names.tag(group)
    return tuple(_alert(group, names.unsealed(tag, row[0]), row[1:]) for row in rows(words))


def rows(words: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
    """Balances and alerts alike are five words each."""
    return (words[at : at + 5] for at in range(0, len(words), 5))


def newest(names: Names, entries: Iterable[Any], most: int) -> tuple[Alert, ...]:
    """The newest alerts of streams' entries."""
    found = [(entry, dict(pairs(fields))) for entry, fields in entries]
    found.sort(key=_order, reverse=True)
    return tuple(_read_entry(names, fields) for _, fields in found[: max(0, most)])


def pairs(flat: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Field and value by turns."""
    return zip(flat[::2], flat[1::2], strict=True)


def told_of(info: bytes) -> dict[str, str]:
    """What a server says of itself."""
    lines = (line.partition(":") for line in info.decode("utf-8", "replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def check_parts(amounts: Iterable[int]) -> None:
    """Refuse what is not exact in the store.

    Raises:
        ValueError: One lies outside 0 to `MAX_PARTS`.
    """
    if not all(0 <= amount <= MAX_PARTS for amount in amounts):
        raise too_large()


def too_large() -> ValueError:
    """An amount is not exact in the store."""
    return ValueError(f"an amount or limit lies outside 0 to {MAX_PARTS} parts")


def uneven() -> ValueError:
    """There are not as many amounts as lines."""
    return ValueError("as many amounts are needed as the ask has lines")


def _read_entry(names: Names, entry: dict[bytes, bytes]) -> Alert:
    group = names.unsealed(b"", entry[b"group"])
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
