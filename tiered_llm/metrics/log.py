"""What a decision log keeps, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tiered_llm.metrics.tally import Counters
    from tiered_llm.records import CallRecord


FORGOTTEN_S = 24 * 3600.0
"""Seconds after which what a process told and never took back is thrown away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How much is kept.

    Attributes:
        days: Days for which an hour's counters are kept.
        recent: Calls kept whole, newest first to read: for `why` and `--follow`.
        runs: Calls of which the id is remembered. Within these a run counts once and a
            feedback finds its call. Never less than `recent`.
        totals_of: Tenants whose totals are kept beside everybody's, from now on.
    """

    days: int = 90
    recent: int = 10_000
    runs: int = 50_000
    totals_of: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse what keeps nothing.

        Raises:
            ValueError: A bound below 1, or fewer runs than recent calls.
        """
        if min(self.days, self.recent) < 1 or self.runs < self.recent:
            msg = "days and recent are whole numbers from 1 up, and runs is not below recent"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What somebody said of an answer.

    Attributes:
        score: From 0, bad, to 1, good.
        comment: Their words, if any; kept with the call in the ring and nowhere else.
    """

    score: float
    comment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One recent call.

    Attributes:
        serial: Its place in the log; later ones have higher numbers.
        record: What is known of it.
        feedback: The last feedback on it.
    """

    serial: int
    record: CallRecord
    feedback: Feedback | None = None


class DecisionLog(Protocol):
    """Counters by hour and tenant, recent calls, and feedback on them.

    Safe for threads and forks and, where the store says so, processes. Methods wait for their
    store: on an event loop they belong into a thread. All raise `DecisionLogError` where the
    store cannot be reached. `tenant` is None for everybody together.
    """

    def write(self, records: Sequence[CallRecord]) -> int:
        """Count all records that were not counted yet, or none; how many were.

        A run counts once while it is among the last `Retention.runs`.
        """
        ...

    def hours(self, tenant: str | None, first: int, last: int) -> dict[int, Counters]:
        """The counters of each hour from the first to the last, both included; none if empty."""
        ...

    def totals(self, tenants: Sequence[str | None]) -> tuple[Counters, ...]:
        """The sums of all that was ever counted, of one moment, without the kinds of tasks.

        Of everybody, for None, and of tenants whom `totals_of` names. Nothing but a feedback that
        takes another's place lowers them, no retention either: who reads differences of them, as
        Prometheus does, would take a fall for a beginning. For the same reason a name that has a
        counter of its own there keeps it; there are at most `tally.MAX_NAMES` of faults and of
        errors.
        """
        ...

    def recent(
        self, most: int = 100, *, after: int = 0, tenant: str | None = None
    ) -> tuple[Entry, ...]:
        """The newest calls, oldest of them first, with serials above `after`."""
        ...

    def find(self, run_id: str) -> Entry | None:
        """One call, if it is still among the recent ones."""
        ...

    def feedback(self, run_id: str, feedback: Feedback) -> bool:
        """Count a feedback on a call's answer, in the call's own hour; the last one counts.

        Returns:
            False where the run is not remembered, or nobody answered it; nothing changed then.
        """
        ...

    def publish(
        self, process: str, told: Mapping[str, Any], at_s: float, lost: Mapping[str, int]
    ) -> None:
        """What one process alone knows, in place of what it told before.

        Args:
            process: The process's own name.
            told: Plain JSON values.
            at_s: When, in seconds since the epoch.
            lost: Records that it lost since it told the last time, by cause; they are added to
                the totals of everybody, which outlive it.
        """
        ...

    def published(self, since_s: float) -> tuple[Mapping[str, Any], ...]:
        """What each process told last, if it did so since then."""
        ...

    def withdraw(self, process: str) -> None:
        """The process has nothing to tell any more."""
        ...

    def close(self) -> None:
        """Give back what is open; a later operation opens it again."""
        ...
