"""Names as the store sees them: hashed, sealed, and placed in a cluster's slots."""

from __future__ import annotations

import binascii
import hmac
import math
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import cache, lru_cache
from itertools import count
from typing import Final

from tiered_llm.budgets.errors import LedgerError

PREFIX: Final = "tiered-llm:"
"""What every key begins with; `~tiered-llm:*` is the pattern for an access list."""

STORE_KEY: Final = f"{PREFIX}{{store}}"
"""The generation of a store that is no cluster, and the secret of one that is."""

ID: Final = 22
"""Characters of a hash: 128 bits."""

SLOTS: Final = 16_384
_CACHED: Final = 4_096
_BLOCK: Final = 32  # bytes of a digest


class Names:
    """Names as the store sees them: hashed where they are only looked up, else sealed.

    Sealing is deterministic (a hash of the text is both its check and where the mask begins,
    as in RFC 5297's SIV), so that a sealed name is found again by sealing it again.
    """

    def __init__(self, secret: str) -> None:
        """Derive a key for each use from the secret."""
        self.secret = secret
        raw = secret.encode("utf-8", "surrogatepass")
        self._hash_key, self._mask_key = (_digest(raw, use) for use in (b"hash", b"mask"))
        self.mark = "." + _text(_digest(raw, b"mark")[:6]).decode()
        self.tag = lru_cache(_CACHED)(self._tag)
        self.sealed = lru_cache(_CACHED)(self._sealed)
        self.line = lru_cache(_CACHED)(self._line)

    def fresh_id(self) -> str:
        """An id for a generation under this secret."""
        return secrets.token_hex(8) + self.mark

    def hashed(self, tag: bytes, name: str) -> bytes:
        """A lease's name in the group of this tag."""
        return self._hash(b"lease" + tag, name)

    def unsealed(self, context: bytes, sealed: bytes) -> str:
        """The name that was sealed.

        Raises:
            LedgerError: It was not sealed with this secret.
        """
        check, masked = _raw(sealed[:ID]), _raw(sealed[ID:])
        text = self._masked(check, masked)
        if not hmac.compare_digest(check, self._check(context, text)):
            msg = "a name in the Redis was sealed with another secret: remove its key"
            raise LedgerError(msg)
        return text.decode("utf-8", "surrogatepass")

    def _tag(self, group: str) -> bytes:
        return self._hash(b"group", group)

    def _sealed(self, context: bytes, name: str) -> bytes:
        text = name.encode("utf-8", "surrogatepass")
        check = self._check(context, text)
        return _text(check) + _text(self._masked(check, text))

    def _line(
        self, tag: bytes, account: str, limit_name: str, thresholds: tuple[int, ...]
    ) -> tuple[bytes, bytes, bytes]:
        """A line's account, its label, which tells of it to an operator, and its limit's name."""
        sealed = self._sealed(tag, account)
        percents = " ".join(map(str, thresholds)).encode()
        return sealed[:ID], b"%b|%b|" % (percents, sealed), self._sealed(tag, limit_name)

    def _hash(self, use: bytes, name: str) -> bytes:
        message = use + b"\0" + name.encode("utf-8", "surrogatepass")
        return _text(_digest(self._hash_key, message)[:16])

    def _check(self, context: bytes, text: bytes) -> bytes:
        return _digest(self._hash_key, b"seal" + context + b"\0" + text)[:16]

    def _masked(self, check: bytes, text: bytes) -> bytes:
        blocks = range(math.ceil(len(text) / _BLOCK))
        mask = b"".join(_digest(self._mask_key, check + n.to_bytes(8, "big")) for n in blocks)
        return bytes(a ^ b for a, b in zip(text, mask, strict=False))


def slot_of(tag: bytes) -> int:
    """Where a cluster keeps a hash tag: CRC16 (XMODEM), as its specification has it."""
    return binascii.crc_hqx(tag, 0) % SLOTS


@cache
def slot_keys() -> tuple[str, ...]:
    """For each slot of a cluster the key of its generation, which lies in it."""
    found: dict[int, str] = {}
    for number in count():
        found.setdefault(slot_of(str(number).encode()), f"{PREFIX}{{{number}}}:generation")
        if len(found) == SLOTS:
            return tuple(found[slot] for slot in range(SLOTS))
    raise AssertionError


def _digest(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _raw(text: bytes) -> bytes:
    return urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def _text(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")
