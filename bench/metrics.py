"""What recording costs its caller, and what a month of decisions takes in a SQLite file.

    python bench/metrics.py [--json] [--decisions 1000000]

The month: that many decisions over 30 days and 1,000 tenants, drawn evenly, which is the worst
case: hours of tenants hold one or two calls each. Exits with 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import TYPE_CHECKING

from tiered_llm.metrics import AttemptRecord, CallRecord, ModelMetricsCollector
from tiered_llm.metrics.logs.sqlite import SqliteLog
from tiered_llm.tiers import Tier
from tiered_llm.types import RoutingDecision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_RECORD_US = 20.0
MOST_MB = 200.0
MOST_REPORT_S = 1.0
TENANTS, DAYS = 1_000, 30
_BATCH = 2_000
_STANDARD_FROM, _HEAVY_FROM = 0.3, 0.7
_ESTIMATED, _STREAMED, _RETRIED = 0.05, 0.5, 0.03
_ENDS = datetime(2026, 6, 30, 23, 59, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement.

    Attributes:
        what: What was measured.
        value: The number.
        unit: Its unit.
        bound: What was promised, if anything was.
    """

    what: str
    value: float
    unit: str
    bound: float | None = None

    @property
    def met(self) -> bool:
        """Whether it was kept."""
        return self.bound is None or self.value <= self.bound


class MonthsEnd:
    """A clock that stands at the month's end."""

    def now(self) -> datetime:
        """The month's last minute."""
        return _ENDS

    def monotonic_s(self) -> float:
        """Time goes on."""
        return perf_counter()

    def sleep(self, seconds: float) -> None:
        """Nobody waits."""

    async def asleep(self, seconds: float) -> None:
        """Nobody waits."""


def record_of(serial: int, draw: random.Random, at: datetime) -> CallRecord:
    """A call as an application makes it: three tiers, some fallbacks, some streams."""
    score = draw.random()
    tier = (
        Tier.LIGHT
        if score < _STANDARD_FROM
        else Tier.STANDARD
        if score < _HEAVY_FROM
        else Tier.HEAVY
    )
    answered = AttemptRecord(
        tier=tier,
        model_id=f"ollama/{tier.value}",
        input_tokens=draw.randrange(100, 4_000),
        output_tokens=draw.randrange(10, 800),
        estimated=draw.random() < _ESTIMATED,
        latency_s=draw.lognormvariate(1, 1),
        first_token_s=draw.lognormvariate(-1, 0.7) if draw.random() < _STREAMED else None,
    )
    attempts: tuple[AttemptRecord, ...] = (answered,)
    if draw.random() < _RETRIED:
        failed = AttemptRecord(tier=tier, outcome="failed", fault="timeout", latency_s=30.0)
        attempts = (failed, answered)
    return CallRecord(
        run_id=f"{draw.getrandbits(128):032x}",
        at=at,
        tenant_id=f"tenant-{draw.randrange(TENANTS):08d}",
        thread_id=f"thread-{serial}",
        task_type=draw.choice(("chat", "agent_execution", "security_analysis", None)),
        score=score,
        factors={"message": score, "context": 0.2, "keywords": 0.1},
        reasons=("score_thresholds: pick light: 0.12 is below 0.30",),
        asked=tier,
        answered=tier,
        attempts=attempts,
        router_s=0.000_2,
        policy_version="b1946ac92492",
    )


def month(decisions: int) -> Iterator[list[CallRecord]]:
    """Batches in the order of time."""
    draw = random.Random(5)  # noqa: S311  # a sample, not a secret
    starts, step = _ENDS - timedelta(days=DAYS), timedelta(days=DAYS) / decisions
    for first in range(0, decisions, _BATCH):
        serials = range(first, min(first + _BATCH, decisions))
        yield [record_of(serial, draw, starts + step * serial) for serial in serials]


def measure_recording(store: str, calls: int) -> list[Row]:
    """Time each call of `record` and of `record_decision`, with the writer at work."""
    draw = random.Random(7)  # noqa: S311  # a sample, not a secret
    now = datetime.now(UTC)
    records = [record_of(serial, draw, now) for serial in range(calls)]
    decision = RoutingDecision(
        selected_tier=Tier.LIGHT, tenant_id="acme", tokens_used=1_000, latency_ms=400.0
    )
    ways: dict[str, Callable[[ModelMetricsCollector, int], object]] = {
        "record": lambda collector, at: collector.record(records[at]),
        "record, made for it": lambda collector, at: collector.record(made_of(records[at])),
        "record_decision": lambda collector, _: collector.record_decision(decision),
    }
    rows, name = [], store.partition(":")[0]
    for what, handed in ways.items():
        collector = ModelMetricsCollector(store=store, queue_size=2 * calls)
        times = sorted(_timed(handed, collector, at) for at in range(calls))
        assert collector.flush(120.0)
        assert collector.dropped == 0
        collector.close()
        middle, p99 = (
            round(each * 1e6, 2) for each in (median(times), quantiles(times, n=100)[98])
        )
        rows += [
            Row(what=f"{name}: {what}, median", value=middle, unit="µs", bound=MOST_RECORD_US),
            Row(what=f"{name}: {what}, p99", value=p99, unit="µs"),
        ]
    return rows


def made_of(record: CallRecord) -> CallRecord:
    """The same call under an id of its own, made anew with its attempts, as a caller does."""
    parts = {name: getattr(record, name) for name in CallRecord.__dataclass_fields__}
    parts["run_id"] = f"again-{record.run_id}"
    parts["attempts"] = tuple(replace(attempt) for attempt in record.attempts)
    return CallRecord(**parts)


def _timed(
    hand: Callable[[ModelMetricsCollector, int], object], collector: ModelMetricsCollector, at: int
) -> float:
    start = perf_counter()
    hand(collector, at)
    return perf_counter() - start


def measure_month(path: Path, decisions: int) -> list[Row]:
    """Write a month, look at the file, and time the reports on it."""
    log = SqliteLog(path, MonthsEnd())
    written, spent = 0, 0.0
    for batch in month(decisions):
        start = perf_counter()
        written += log.write(batch)
        spent += perf_counter() - start
    assert written == decisions
    log.close()
    megabytes = sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*")) / 1e6
    reader = ModelMetricsCollector(log=SqliteLog(path, MonthsEnd()), clock=MonthsEnd())
    rows = [
        Row(
            what=f"{decisions:,} decisions in the file",
            value=round(megabytes, 1),
            unit="MB",
            bound=MOST_MB,
        ),
        Row(what="writing one of them", value=round(spent / decisions * 1e6, 1), unit="µs"),
    ]
    for whose, tenant in (("everybody", None), ("a tenant", "tenant-00000007")):
        start = perf_counter()
        report = reader.get_report(tenant, 24 * DAYS)
        seconds = round(perf_counter() - start, 3)
        assert report["distribution"]["calls"] > 0
        assert tenant or report["distribution"]["calls"] == decisions
        rows.append(
            Row(what=f"the whole report over {whose}", value=seconds, unit="s", bound=MOST_REPORT_S)
        )
    reader.close()
    return rows


def main() -> int:
    """Measure, print, and tell whether the bounds were kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--decisions", type=int, default=1_000_000, help="decisions of the month")
    parser.add_argument("--calls", type=int, default=20_000, help="calls that are timed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        rows = [
            *measure_recording("memory://", given.calls),
            *measure_recording(f"sqlite:///{Path(place) / 'calls.db'}", given.calls),
            *measure_month(Path(place) / "month.db", given.decisions),
        ]
    if given.json:
        print(json.dumps([{**asdict(row), "met": row.met} for row in rows], indent=2))
    else:
        for row in rows:
            bound = f" (at most {row.bound:g}{'' if row.met else ': MISSED'})" if row.bound else ""
            print(f"{row.what:42} {row.value:9.2f} {row.unit}{bound}")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
