"""A decision log in Redis, shared by all processes of all machines.

A batch is one script, and so atomic. Every key carries the same hash tag. An hour goes by
itself when it is too old.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from tiered_llm.clock import SYSTEM_CLOCK, Clock
from tiered_llm.errors import ConfigurationError, Problem
from tiered_llm.metrics.errors import DecisionLogError
from tiered_llm.metrics.log import FORGOTTEN_S, Entry, Feedback, Retention
from tiered_llm.metrics.packing import record_from_json, record_to_json, run_key
from tiered_llm.metrics.tally import (
    MAX_COUNTERS,
    MAX_NAMES,
    MILLION,
    Counters,
    band_of,
    hour_of,
    lost_records,
    tally,
    tally_feedback,
)
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tiered_llm.records import CallRecord

PREFIX: Final = "{tiered_llm:metrics}"
_CONNECT_S, _REPLY_S = 2.0, 5.0
_PAGE = 500
_FIXED = tuple(f"{PREFIX}:{name}" for name in ("runs", "order", "ring", "said", "serial"))
_RUNS, _ORDER, _RING, _SAID, _SERIAL = _FIXED
_PROCESSES: Final = f"{PREFIX}:processes"
_EVER: Final = -1
"""Stands for an hour where totals are meant, which do not end."""


class RedisLog:
    """The log behind `redis://host:6379/0`. One Redis, not a cluster.

    Threads may share it, and forks: each process has its own connections.
    """

    def __init__(
        self, url: str, clock: Clock = SYSTEM_CLOCK, retention: Retention | None = None
    ) -> None:
        """Connect when it is first needed.

        Raises:
            ConfigurationError: redis-py is not installed, or the URL is none that it knows.
        """
        self._library = _imported()
        self._clock, self._retention = clock, retention or Retention()
        try:
            self._client = self._library.Redis.from_url(
                url, socket_connect_timeout=_CONNECT_S, socket_timeout=_REPLY_S
            )
        except ValueError as error:  # its message may quote the URL
            raise ConfigurationError([_problem("is not a URL that redis-py knows")]) from error
        self._scripts = {
            name: self._client.register_script(_script(name)) for name in ("write", "feedback")
        }

    def write(self, records: Sequence[CallRecord]) -> int:
        """Count all that were not counted yet."""
        if not records:
            return 0
        oldest = self._oldest()
        hours: dict[tuple[int, str | None], int] = {}
        kept = self._retention.totals_of
        calls = [_call(record, hours, oldest, kept) for record in records]
        lives = [0 if hour == _EVER else (hour + 1 - oldest) * 3600 for hour, _ in hours]
        batch = json.dumps({"calls": calls, "lives": lives})
        keep = (self._retention.recent, self._retention.runs, MAX_COUNTERS, MAX_NAMES)
        keys = (*_FIXED, *(_hour_key(*scope) for scope in hours))
        with self._told():
            return int(self._scripts["write"](keys=keys, args=(batch, *keep)))

    def hours(self, tenant: str | None, first: int, last: int) -> dict[int, Counters]:
        """The counters of each hour from the first to the last."""
        kept = range(max(first, self._oldest()), last + 1)
        with self._told(), self._client.pipeline(transaction=False) as asks:
            for hour in kept:
                asks.hgetall(_hour_key(hour, tenant))
            answers = asks.execute()
        return {
            hour: _counters(answer) for hour, answer in zip(kept, answers, strict=True) if answer
        }

    def totals(self, tenants: Sequence[str | None]) -> tuple[Counters, ...]:
        """The sums of all that was ever counted, of one moment."""
        with self._told(), self._client.pipeline(transaction=True) as asks:
            for tenant in tenants:
                asks.hgetall(_hour_key(_EVER, tenant))
            answers = asks.execute()
        return tuple(_counters(answer) for answer in answers)

    def recent(
        self, most: int = 100, *, after: int = 0, tenant: str | None = None
    ) -> tuple[Entry, ...]:
        """The newest calls, oldest of them first."""
        found: list[Entry] = []
        with self._told():
            top = int(self._client.get(_SERIAL) or 0)
            bottom = max(after, top - self._retention.recent)
            while top > bottom and len(found) < most:
                page = range(top, max(bottom, top - _PAGE), -1)
                found += [
                    entry
                    for entry in self._entries(page)
                    if tenant is None or entry.record.tenant_id == tenant
                ]
                top = page[-1] - 1
        return tuple(reversed(found[:most]))

    def find(self, run_id: str) -> Entry | None:
        """One call, if it is still among the recent ones."""
        with self._told():
            about = self._client.hget(_RUNS, run_key(run_id).hex())
            return None if about is None else next(self._entries([int(about.split()[0])]), None)

    def feedback(self, run_id: str, feedback: Feedback) -> bool:
        """Count a feedback in the call's own hour; the last one counts."""
        run = run_key(run_id).hex()
        while True:
            with self._told():
                about = self._client.hget(_RUNS, run)
                if about is None or about.split()[3] == b"-":
                    return False
                if self._take_feedback(run, about.decode(), feedback):
                    return True

    def publish(
        self, process: str, told: Mapping[str, Any], at_s: float, lost: Mapping[str, int]
    ) -> None:
        """What one process alone knows, and what it lost."""
        with self._told(), self._client.pipeline(transaction=True) as work:
            work.hset(_PROCESSES, process, json.dumps({"at": at_s, "told": told}))
            for name, count in lost_records(lost).items():
                work.hincrby(_hour_key(_EVER, None), name, count)
            if work.execute()[0]:  # a new process: a time to look for those that took no leave
                for name, (at, _) in self._processes().items():
                    if at < at_s - FORGOTTEN_S:
                        self._client.hdel(_PROCESSES, name)

    def published(self, since_s: float) -> tuple[Mapping[str, Any], ...]:
        """What each process told last, if it did so since then."""
        with self._told():
            return tuple(told for at, told in self._processes().values() if at >= since_s)

    def withdraw(self, process: str) -> None:
        """The process has nothing to tell any more."""
        with self._told():
            self._client.hdel(_PROCESSES, process)

    def close(self) -> None:
        """Close the connections; a later operation opens one."""
        self._client.close()

    # --- inside ---

    def _processes(self) -> dict[str, tuple[float, Mapping[str, Any]]]:
        found: Any = self._client.hgetall(_PROCESSES)
        told = {name.decode(): json.loads(each) for name, each in found.items()}
        return {name: (each["at"], each["told"]) for name, each in told.items()}

    def _oldest(self) -> int:
        return hour_of(self._clock.now()) - self._retention.days * 24

    def _entries(self, serials: Sequence[int]) -> Iterator[Entry]:
        records = self._client.hmget(_RING, serials)
        said = self._client.hmget(_SAID, serials)
        for serial, record, feedback in zip(serials, records, said, strict=True):
            if record is not None:
                known = None if feedback is None else Feedback(**json.loads(feedback))
                yield Entry(serial=serial, record=record_from_json(record), feedback=known)

    def _take_feedback(self, run: str, about: str, feedback: Feedback) -> bool:
        serial, hour, tenant, tier, band, old = about.split(" ")
        new = round(feedback.score * MILLION)
        change = tally_feedback(Tier(tier), int(band), new, None if old == "-" else int(old))
        scopes = {"-", tenant}
        hours = [f"{PREFIX}:hour:{hour}:{scope}" for scope in scopes]
        totals = [f"{PREFIX}:total:{scope}" for scope in scopes]
        keys = [_RUNS, _RING, _SAID, *hours, *totals]
        after = " ".join((serial, hour, tenant, tier, band, str(new)))
        words = json.dumps({"score": feedback.score, "comment": feedback.comment})
        arguments = (run, about, after, serial, words, json.dumps(change))
        return bool(self._scripts["feedback"](keys=keys, args=arguments))

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (self._library.RedisError, OSError) as error:
            msg = f"the Redis of decisions did not answer as it should ({type(error).__name__})"
            raise DecisionLogError(msg) from error


def _call(
    record: CallRecord,
    hours: dict[tuple[int, str | None], int],
    oldest: int,
    totals_of: frozenset[str],
) -> dict[str, Any]:
    """What the script is told of a call; new hours are numbered as its KEYS are."""
    hour = hour_of(record.at)
    tenant = record.tenant_id
    kept: list[tuple[int, str | None]] = [(_EVER, None)]
    if tenant in totals_of:
        kept.append((_EVER, tenant))
    if hour >= oldest:
        kept += [(hour, None)] if tenant is None else [(hour, None), (hour, tenant)]
    for scope in kept:
        hours.setdefault(scope, len(_FIXED) + 1 + len(hours))
    tier = "-" if record.answered is None else record.answered.value
    about = f"{hour} {_scope(record.tenant_id)} {tier} {band_of(record.score)} -"
    return {
        "run": run_key(record.run_id).hex(),
        "about": about,
        "record": record_to_json(record),
        "hours": [hours[scope] for scope in kept],
        "counters": tally(record),
    }


def _counters(answer: Mapping[bytes, bytes]) -> Counters:
    return {name.decode(): int(value) for name, value in answer.items()}


def _hour_key(hour: int, tenant: str | None) -> str:
    when = "total" if hour == _EVER else f"hour:{hour}"
    return f"{PREFIX}:{when}:{_scope(tenant)}"


def _scope(tenant: str | None) -> str:
    """A tenant in a key: its digest, since keys show up in tools; "-" for everybody."""
    return "-" if tenant is None else run_key(tenant).hex()


@cache
def _script(name: str) -> str:
    return (files("tiered_llm.metrics.logs") / "lua" / f"{name}.lua").read_text("utf-8")


def _imported() -> Any:
    try:
        import redis
    except ImportError as error:
        raise ConfigurationError([_problem("needs redis-py, which is not installed")]) from error
    return redis


def _problem(wrong: str) -> Problem:
    right = 'write redis://host:6379/0, and install "tiered-llm[redis]"'
    return Problem(source="arguments", key="store", wrong=wrong, right=right)
