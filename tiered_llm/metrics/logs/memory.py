"""A decision log of one process; it is gone with it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tiered_llm.clock import SYSTEM_CLOCK, Clock
from tiered_llm.metrics import forks
from tiered_llm.metrics.log import Entry, Feedback, Retention
from tiered_llm.metrics.packing import pack, run_key, unpack
from tiered_llm.metrics.tally import (
    MILLION,
    Counters,
    band_of,
    deltas,
    hour_of,
    lost_records,
    merge,
    merge_total,
    tally_feedback,
    totals_by,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tiered_llm.records import CallRecord
    from tiered_llm.tiers import Tier

MAX_ROWS = 200_000
"""Hours of tenants that are kept; beyond, the oldest go first. Hours of everybody stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is remembered of a call after it has left the ring.

    Attributes:
        serial: Its place in the log.
        hour: The hour that it was counted in.
        tenant: Who paid.
        tier: The tier that answered.
        band: Its score's band.
        score: The feedback on it in millionths, if there is one.
    """

    serial: int
    hour: int
    tenant: str | None
    tier: Tier | None
    band: int
    score: int | None = None


class MemoryLog:
    """The log behind `memory://`. Bounded by `Retention` and `MAX_ROWS`: about 90 MB when full."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK, retention: Retention | None = None) -> None:
        """Begin empty."""
        self._clock, self._retention = clock, retention or Retention()
        self._lock = threading.RLock()
        self._hours: dict[int, dict[str | None, bytes]] = {}
        self._rows = 0
        self._runs: OrderedDict[bytes, Run] = OrderedDict()
        self._ring: OrderedDict[bytes, Entry] = OrderedDict()
        self._serial = 0
        self._totals: dict[str | None, Counters] = {}
        self._told: dict[str, tuple[float, Mapping[str, Any]]] = {}
        forks.watch(self)

    def write(self, records: Sequence[CallRecord]) -> int:
        """Count all that were not counted yet."""
        with self._lock:
            fresh: dict[bytes, CallRecord] = {}
            for record in records:
                key = run_key(record.run_id)
                if key not in self._runs:
                    fresh.setdefault(key, record)
            added = deltas(fresh.values())
            for (hour, tenant), counters in added.items():
                self._add(hour, tenant, counters)
            for whose, counters in totals_by(added, self._retention.totals_of).items():
                merge_total(self._totals.setdefault(whose, {}), counters)
            for key, record in fresh.items():
                self._remember(key, record)
            self._forget()
            return len(fresh)

    def hours(self, tenant: str | None, first: int, last: int) -> dict[int, Counters]:
        """The counters of each hour from the first to the last."""
        first = max(first, self._oldest())
        with self._lock:
            wanted = sorted(hour for hour in self._hours if first <= hour <= last)
            rows = {hour: self._hours[hour].get(tenant) for hour in wanted}
        return {hour: unpack(data) for hour, data in rows.items() if data is not None}

    def totals(self, tenants: Sequence[str | None]) -> tuple[Counters, ...]:
        """The sums of all that was ever counted, of one moment."""
        with self._lock:
            return tuple(dict(self._totals.get(tenant, {})) for tenant in tenants)

    def recent(
        self, most: int = 100, *, after: int = 0, tenant: str | None = None
    ) -> tuple[Entry, ...]:
        """The newest calls, oldest of them first."""
        found: list[Entry] = []
        with self._lock:
            for entry in reversed(self._ring.values()):
                if entry.serial <= after or len(found) >= most:
                    break
                if tenant is None or entry.record.tenant_id == tenant:
                    found.append(entry)
        return tuple(reversed(found))

    def find(self, run_id: str) -> Entry | None:
        """One call, if it is still among the recent ones."""
        with self._lock:
            return self._ring.get(run_key(run_id))

    def feedback(self, run_id: str, feedback: Feedback) -> bool:
        """Count a feedback in the call's own hour; the last one counts."""
        key, score = run_key(run_id), round(feedback.score * MILLION)
        with self._lock:
            run = self._runs.get(key)
            if run is None or run.tier is None:
                return False
            change = tally_feedback(run.tier, run.band, score, run.score)
            for tenant in {None, run.tenant}:
                self._add(run.hour, tenant, change)
                if tenant in self._totals:
                    merge(self._totals[tenant], change)
            self._runs[key] = replace(run, score=score)
            if key in self._ring:
                self._ring[key] = replace(self._ring[key], feedback=feedback)
            return True

    def publish(
        self, process: str, told: Mapping[str, Any], at_s: float, lost: Mapping[str, int]
    ) -> None:
        """What one process alone knows, and what it lost."""
        with self._lock:
            self._told[process] = (at_s, told)
            merge_total(self._totals.setdefault(None, {}), lost_records(lost))

    def published(self, since_s: float) -> tuple[Mapping[str, Any], ...]:
        """What each process told last, if it did so since then."""
        with self._lock:
            return tuple(told for at_s, told in self._told.values() if at_s >= since_s)

    def withdraw(self, process: str) -> None:
        """The process has nothing to tell any more."""
        with self._lock:
            self._told.pop(process, None)

    def close(self) -> None:
        """Nothing is open."""

    # --- inside ---

    def _oldest(self) -> int:
        return hour_of(self._clock.now()) - self._retention.days * 24

    def _add(self, hour: int, tenant: str | None, counters: Counters) -> None:
        if hour < self._oldest():
            return
        rows = self._hours.setdefault(hour, {})
        kept = rows.get(tenant)
        self._rows += kept is None
        rows[tenant] = pack(counters if kept is None else merge(unpack(kept), counters))

    def _remember(self, key: bytes, record: CallRecord) -> None:
        self._serial += 1
        self._runs[key] = Run(
            serial=self._serial,
            hour=hour_of(record.at),
            tenant=record.tenant_id,
            tier=record.answered,
            band=band_of(record.score),
        )
        self._ring[key] = Entry(serial=self._serial, record=record)

    def _forget(self) -> None:
        while len(self._ring) > self._retention.recent:
            self._ring.popitem(last=False)
        while len(self._runs) > self._retention.runs:
            self._runs.popitem(last=False)
        oldest = self._oldest()
        for hour in [hour for hour in self._hours if hour < oldest]:
            self._rows -= len(self._hours.pop(hour))
        if self._rows > MAX_ROWS:
            self._thin()

    def _thin(self) -> None:
        """Let the oldest tenants' hours go."""
        for hour in sorted(self._hours):
            if self._rows <= MAX_ROWS:
                return
            rows = self._hours[hour]
            kept: dict[str | None, bytes] = {w: data for w, data in rows.items() if w is None}
            self._rows -= len(rows) - len(kept)
            self._hours[hour] = kept

    # --- forks ---

    def hold(self) -> None:
        """Before a fork: let what runs end."""
        self._lock.acquire()

    def let_go(self) -> None:
        """After a fork, in the parent."""
        self._lock.release()

    def start_over(self) -> None:
        """After a fork, in the child, which goes on with a copy."""
        self._told = {}
        self._lock = threading.RLock()
