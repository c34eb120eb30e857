"""Counters and records as bytes: JSON, the counters' compressed with a dictionary of their names.

An hour of a tenant with one call is about 110 bytes, which is what lets a million calls of a
thousand tenants stay small: most hours of most tenants hold one or two.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import fields
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from tiered_llm.records import AttemptRecord, CallRecord
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERSION = b"\1"
_WINDOW = -12  # no header, a window of 4 KB: an hour's counters are seldom more
_MEMORY = 5

RECORD_BYTES = 8_192
"""The longest record that is kept whole; of a longer one factors, reasons and budget are left out,
and what its texts have beyond `_TEXT` characters."""

_TEXT = 200

_JSON = json.JSONEncoder(separators=(",", ":"), default=str)
_RECORD = tuple(f.name for f in fields(CallRecord))
_ATTEMPT = tuple(f.name for f in fields(AttemptRecord))


def _dictionary() -> bytes:
    """Names as they stand in an hour's JSON, the most frequent ones last, as zlib likes it."""
    names = []
    for tier in ("heavy", "standard", "light"):
        names += [f'"f/{tier}/timeout":1,', f'"x/{tier}/f":', f'"h/{tier}/f/sum":']
        names += [f'"h/{tier}/f/{bucket}":1,' for bucket in (30, 40)]
        for end in ("failed", "abandoned", "answered"):
            for how in "em":
                names.append(f'"a/{tier}/{end}/{how}":1,')
                names += [f'"s/{tier}/{end}/{how}":', f'"k/{tier}/{end}/{how}/i":']
                names.append(f'"k/{tier}/{end}/{how}/o":')
        names += [f'"h/{tier}/d/{bucket}":1,' for bucket in (30, 40)]
        names += [f'"h/{tier}/d/sum":', f'"x/{tier}/d":']
        names += [f'"t/{tier}/{tier}/', f'{{"c/{tier}/{tier}/1":1,', '"r":']
    return "".join(names).encode()


_DICTIONARY = _dictionary()


def pack(counters: Mapping[str, int]) -> bytes:
    """Counters as bytes."""
    text = _JSON.encode(counters).encode()
    packer = zlib.compressobj(6, zlib.DEFLATED, _WINDOW, _MEMORY, zdict=_DICTIONARY)
    return _VERSION + packer.compress(text) + packer.flush()


def unpack(data: bytes) -> dict[str, int]:
    """Counters from bytes.

    Raises:
        ValueError: The bytes are none that `pack` made.
    """
    if data[:1] != _VERSION:
        msg = "counters of a release that this one does not know"
        raise ValueError(msg)
    try:
        text = zlib.decompressobj(_WINDOW, zdict=_DICTIONARY).decompress(data[1:])
        counters: dict[str, int] = json.loads(text)
    except (zlib.error, ValueError) as error:
        msg = "counters that are damaged"
        raise ValueError(msg) from error
    return counters


def run_key(run_id: str) -> bytes:
    """A run's id in sixteen bytes: as good as itself, for ids that are random (RFC 7693)."""
    return blake2b(run_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def record_to_plain(record: CallRecord) -> dict[str, Any]:
    """A record as plain JSON values."""
    plain = {name: getattr(record, name) for name in _RECORD}
    plain["at"] = record.at.isoformat()
    plain["factors"], plain["budget"] = dict(record.factors), dict(record.budget)
    plain["attempts"] = [
        {name: getattr(attempt, name) for name in _ATTEMPT} for attempt in record.attempts
    ]
    return plain


def record_to_json(record: CallRecord) -> str:
    """A record as JSON, of bounded length."""
    text = _JSON.encode(record_to_plain(record))
    if len(text) <= RECORD_BYTES:
        return text
    plain = record_to_plain(record) | {"factors": {}, "reasons": [], "budget": {}}
    plain["attempts"] = [_cut(attempt) for attempt in plain["attempts"][:20]]
    return _JSON.encode(_cut(plain))


def _cut(plain: dict[str, Any]) -> dict[str, Any]:
    return {
        key: str(value[:_TEXT]) if isinstance(value, str) else value for key, value in plain.items()
    }


def record_from_json(text: str | bytes) -> CallRecord:
    """A record from its JSON."""
    plain = json.loads(text)
    plain["at"] = datetime.fromisoformat(plain["at"])
    plain["reasons"] = tuple(plain["reasons"])
    plain["attempts"] = tuple(
        AttemptRecord(**{**attempt, "tier": Tier(attempt["tier"])}) for attempt in plain["attempts"]
    )
    return CallRecord(**plain)
