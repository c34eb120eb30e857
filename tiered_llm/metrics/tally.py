"""What an hour keeps: whole numbers by name, which add up over hours, tenants and processes.

```
c/asked/answered/band        calls; band is the score's tenth, 0 to 9; "-" for none
t/asked/answered/task        calls by kind of task, where it is known
a/tier/outcome/m|e           attempts, by measured or estimated tokens
s/tier/outcome/m|e           their microseconds
k/tier/outcome/m|e/i|o       tokens in and out
b/tier/m|e                   tokens that budgets were charged
f/tier/fault                 faults
e/error                      errors that callers got
r                            microseconds of the router's own
h/tier/d|f/bucket            durations and times to first token of answers, in buckets
h/tier/d|f/sum               their sums in microseconds
x/tier/d|f                   the longest of them; the one family that is merged by the maximum
q/tier/band/n|s              feedback: how many, and their sum in millionths
d/cause                      records that processes lost; in the totals of everybody alone
```
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

from tiered_llm.metrics.histogram import LatencyHistogram, bucket_of, microseconds

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from tiered_llm.records import AttemptRecord, CallRecord
    from tiered_llm.tiers import Tier

Counters: TypeAlias = dict[str, int]

BANDS = 10
"""Score bands, each a tenth wide; 1.0 is in the last one."""

NOBODY = "-"
OTHER = "(other)"
MAX_COUNTERS = 1_000
"""Counters of one hour from which on kinds of tasks, faults and errors that are new there are
counted as `(other)`: names that applications make up must not fill the store."""

MAX_NAMES = 100
"""Names of faults, with their tiers, and of errors that a total keeps, each; the rest is `(other)`.
A total never begins anew: what has its own place there keeps it."""

MAX_NAME = 100
"""Characters that are kept of such a name."""

MILLION = 1_000_000


_FIXED_PARTS = {"t": 3, "f": 2, "e": 1}
"""Parts of a name before those that an application makes up, in the families that have such."""


def hour_of(at: datetime) -> int:
    """Whole hours from the epoch to a time."""
    return int(at.timestamp() // 3600)


def hour_starts(hour: int) -> datetime:
    """When an hour begins."""
    return datetime.fromtimestamp(hour * 3600, UTC)


def band_of(score: float) -> int:
    """The tenth of [0, 1] that a score is in."""
    return min(int(score * BANDS), BANDS - 1)


def tally(record: CallRecord, into: Counters | None = None) -> Counters:
    """One call's counters, added to others if any are given."""
    found: Counters = {} if into is None else into
    answered = NOBODY if record.answered is None else record.answered.value
    asked = NOBODY if record.asked is None else record.asked.value
    pair = f"{asked}/{answered}"
    _add(found, f"c/{pair}/{band_of(record.score)}", 1)
    if record.task_type:
        _add(found, f"t/{pair}/{_named(record.task_type)}", 1)
    if record.error:
        _add(found, f"e/{_named(record.error)}", 1)
    _add(found, "r", microseconds(record.router_s))
    for attempt in record.attempts:
        _tally_attempt(attempt, found)
    return found


def _tally_attempt(attempt: AttemptRecord, found: Counters) -> None:
    tier = attempt.tier.value
    end = f"{tier}/{attempt.outcome}"
    how = "e" if attempt.estimated else "m"
    _add(found, f"a/{end}/{how}", 1)
    _add(found, f"s/{end}/{how}", microseconds(attempt.latency_s))
    _add(found, f"k/{end}/{how}/i", attempt.input_tokens)
    _add(found, f"k/{end}/{how}/o", attempt.output_tokens)
    _add(found, f"b/{tier}/{how}", attempt.charged_tokens or 0)
    if attempt.fault:
        _add(found, f"f/{tier}/{_named(attempt.fault)}", 1)
    if attempt.outcome == "answered":
        _tally_duration(f"{tier}/d", attempt.latency_s, found)
        if attempt.first_token_s is not None:
            _tally_duration(f"{tier}/f", attempt.first_token_s, found)


def _named(name: str) -> str:
    """A name of bounded length, in which any store's encoding holds."""
    return name[:MAX_NAME].encode("utf-8", "replace").decode()


def _tally_duration(name: str, seconds: float, found: Counters) -> None:
    us = microseconds(seconds)
    _add(found, f"h/{name}/{bucket_of(seconds)}", 1)
    _add(found, f"h/{name}/sum", us)
    _add(found, f"x/{name}", us)


def tally_feedback(tier: Tier, band: int, new: int, old: int | None) -> Counters:
    """What a feedback changes, in millionths: one that replaces another is not one more."""
    found: Counters = {}
    _add(found, f"q/{tier.value}/{band}/n", 1 if old is None else 0)
    _add(found, f"q/{tier.value}/{band}/s", new - (old or 0))
    return found


def merge(into: Counters, others: Mapping[str, int]) -> Counters:
    """Add counters to others, in place."""
    for key, value in others.items():
        _add(into, _kept(into, key), value)
    return into


def _add(into: Counters, key: str, value: int) -> None:
    if not value:
        return
    if key[0] == "x":
        into[key] = max(into.get(key, 0), value)
    else:
        into[key] = into.get(key, 0) + value


def _kept(into: Counters, key: str) -> str:
    """The key, or its family's "other" where there are too many already."""
    if len(into) < MAX_COUNTERS or key in into or key[0] not in _FIXED_PARTS:
        return key
    return _other(key)


def _other(key: str) -> str:
    fixed = _FIXED_PARTS[key[0]]
    return "/".join((*key.split("/", fixed)[:fixed], OTHER))


def deltas(records: Iterable[CallRecord]) -> dict[tuple[int, str | None], Counters]:
    """What a batch adds to each hour of each tenant, and to each hour of everybody (None)."""
    found: dict[tuple[int, str | None], Counters] = {}
    for record in records:
        tally(record, found.setdefault((hour_of(record.at), record.tenant_id), {}))
    for (hour, tenant), counters in list(found.items()):
        if tenant is not None:
            merge(found.setdefault((hour, None), {}), counters)
    return found


def totals_by(
    deltas: Mapping[tuple[int, str | None], Counters], kept: Container[str]
) -> dict[str | None, Counters]:
    """What a batch adds to the totals: everybody's, and those of the tenants that are kept."""
    found: dict[str | None, Counters] = {}
    for (_, tenant), counters in deltas.items():
        if tenant is None or tenant in kept:
            into = found.setdefault(tenant, {})
            for key, value in counters.items():
                _add(into, key, value)
    return found


def merge_total(into: Counters, others: Mapping[str, int]) -> Counters:
    """Add counters to a total, in place.

    Kinds of tasks are not totalled. Names that are made up are bounded family by family, so that
    errors of many names do not take the place of a fault.
    """
    for key, value in others.items():
        if key[0] != "t":
            _add(into, _kept_for_ever(into, key), value)
    return into


def _kept_for_ever(into: Counters, key: str) -> str:
    if key in into or key[0] not in _FIXED_PARTS:
        return key
    names = sum(1 for known in into if known[0] == key[0])
    return key if names < MAX_NAMES else _other(key)


def lost_records(lost: Mapping[str, int]) -> Counters:
    """What records that were lost, by cause, add to the totals of everybody."""
    return {f"d/{cause}": count for cause, count in lost.items() if count}


# --- reading ---


def family(counters: Mapping[str, int], name: str, parts: int) -> Iterator[tuple[list[str], int]]:
    """A family's counters: the parts of each name, the last one whole, and its value."""
    start = f"{name}/"
    for key, value in counters.items():
        if key.startswith(start):
            yield key[len(start) :].split("/", parts - 1), value


def total(counters: Mapping[str, int], start: str) -> int:
    """The sum of all counters whose names begin so."""
    return sum(value for key, value in counters.items() if key.startswith(start))


def durations(counters: Mapping[str, int], tier: Tier, kind: str = "d") -> LatencyHistogram:
    """A tier's durations (`d`) or times to first token (`f`)."""
    name = f"{tier.value}/{kind}"
    buckets = {
        int(parts[0]): value
        for parts, value in family(counters, f"h/{name}", 1)
        if parts[0] != "sum"
    }
    return LatencyHistogram(
        counts=buckets,
        sum_us=counters.get(f"h/{name}/sum", 0),
        max_us=counters.get(f"x/{name}", 0),
    )
