"""`ModelMetricsCollector`: what calls hand their records to, and what reports are read from."""

from __future__ import annotations

import asyncio
import weakref
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

from tiered_llm.clock import SYSTEM_CLOCK
from tiered_llm.metrics.baseline import DEFAULT_S_PER_TOKEN
from tiered_llm.metrics.log import Feedback, Retention
from tiered_llm.metrics.opening import open_log, store_of
from tiered_llm.metrics.reading import MetricsReader, Valuation
from tiered_llm.metrics.savings import REFERENCE_GPU_GB
from tiered_llm.metrics.writer import Writer
from tiered_llm.records import CallRecord, check_score
from tiered_llm.settings import DEFAULT_SPECS, get_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from tiered_llm.clock import Clock
    from tiered_llm.metrics.gauges import HealthSource
    from tiered_llm.metrics.log import DecisionLog
    from tiered_llm.settings import Settings
    from tiered_llm.tiers import Tier, TierSpec
    from tiered_llm.types import RoutingDecision

_FLUSH_S = 5.0


class ModelMetricsCollector(MetricsReader):
    """Takes a record of each call, and reports on them by tenant and period.

    ```python
    metrics = ModelMetricsCollector(store="sqlite:///metrics.db")
    metrics.record_decision(decision)
    metrics.get_savings_estimate("acme", period_hours=24)["gpu_hours_saved"]
    ```

    Recording takes some microseconds, never waits and never raises for the store's sake: a
    thread writes. What the queue or the store does not take is counted in `dropped`. Records
    of a fork are the fork's own to write. The end of a process, by Ctrl-C or an error too,
    writes what is left for at most 3 s; a `kill -9` or a crash loses what was recorded in the
    last 0.2 s and the batch under way, uncounted.

    Reports see what this process recorded before them; `MetricsReader` says what they are.

    Attributes:
        log: Where records are kept.
    """

    def __init__(  # noqa: PLR0913  # each is one thing that an operator may set
        self,
        store: str = "memory://",
        *,
        specs: Mapping[Tier, TierSpec] = DEFAULT_SPECS,
        clock: Clock = SYSTEM_CLOCK,
        queue_size: int = 10_000,
        retention: Retention | None = None,
        log: DecisionLog | None = None,
        reference_gpu_gb: float = REFERENCE_GPU_GB,
        default_s_per_token: Decimal = DEFAULT_S_PER_TOKEN,
    ) -> None:
        """Open nothing yet.

        Args:
            store: `memory://`, `sqlite:///path` or `redis://host:6379/0`.
            specs: The tiers' weights, prices and GPU memory, for the reports.
            clock: What periods are told by.
            queue_size: Records that may wait for the store; more are dropped.
            retention: How much the store keeps.
            log: A log of your own, in place of the store's.
            reference_gpu_gb: Memory of the GPU that GPU hours are hours of.
            default_s_per_token: Seconds that the heaviest tier takes for an output token,
                where too little of its traffic was measured.

        Raises:
            ConfigurationError: The store's URL is wrong, or what it needs is not installed.
            ValueError: A bound that is not above 0, or no specs.
        """
        if queue_size < 1:
            msg = "queue_size is a whole number from 1 up"
            raise ValueError(msg)
        valuation = Valuation(
            specs=dict(specs),
            reference_gpu_gb=reference_gpu_gb,
            default_s_per_token=Decimal(default_s_per_token),
        )
        chosen = open_log(store, clock, retention or Retention()) if log is None else log
        super().__init__(chosen, valuation, clock)
        self._writer = Writer(chosen, queue_size, clock)
        weakref.finalize(self, self._writer.stop).atexit = False  # the writer sees to the exit

    @classmethod
    def from_settings(cls, settings: Settings | None = None, **more: Any) -> Self:
        """A collector with the settings' store, weights, prices and tenants.

        Args:
            settings: `get_settings()` if left out.
            more: Other arguments of the constructor; they go before the settings.
        """
        settings = settings or get_settings()
        given = {
            "store": store_of(settings),
            "specs": {**DEFAULT_SPECS, **settings.tiers},
            "retention": Retention(
                days=settings.metrics.days,
                recent=settings.metrics.recent,
                runs=max(settings.metrics.recent, Retention().runs),
                totals_of=frozenset(settings.telemetry.tenants),
            ),
        }
        return cls(**{**given, **more})

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy of a model shares its collector."""
        return self

    def __reduce__(self) -> Any:
        """Refuse to travel: another process records by itself.

        Raises:
            TypeError: Always.
        """
        msg = "a ModelMetricsCollector stays in its process: build one there, on the same store"
        raise TypeError(msg)

    # --- recording ---

    def record(self, record: CallRecord) -> None:
        """Hand over the record of one call. Never waits, never raises."""
        self._writer.put(record)

    def record_decision(self, decision: RoutingDecision, run_id: str | UUID | None = None) -> str:
        """Hand over a decision that the application has filled in, as one answered attempt.

        Its tokens count as estimated: it tells their sum alone.

        Returns:
            The run's id, drawn if none was given: `record_feedback` takes it.

        Raises:
            ValueError: The decision holds numbers that no call can have.
        """
        record = CallRecord.from_decision(decision, run_id)
        self._writer.put(record)
        return record.run_id

    def record_feedback(
        self, run_id: str | UUID, score: float | bool, comment: str | None = None
    ) -> bool:
        """Take a judgement of a call's answer; a later one takes its place.

        Args:
            run_id: The run's id, as in the record.
            score: From 0, bad, to 1, good; True and False are thumbs.
            comment: Words, kept with the call while it is among the recent ones.

        Returns:
            False where the run is not among those remembered, or nobody answered it.

        Raises:
            ValueError: The score is not in [0, 1].
            DecisionLogError: The store cannot be written.
        """
        check_score("score", score)
        self.flush(_FLUSH_S)
        return self.log.feedback(str(run_id), Feedback(score=float(score), comment=comment))

    @property
    def dropped(self) -> int:
        """Records that this process lost: the queue was full, or the store refused them."""
        return self._writer.full + self._writer.refused

    @property
    def dropped_by(self) -> dict[str, int]:
        """The same by cause: `queue_full` and `store`."""
        return self._writer.lost()

    def watch_health(self, health: HealthSource) -> None:
        """Tell the log of these breakers as well, for whoever reads all processes together."""
        self._writer.gauges.watch(health)

    def flush(self, timeout_s: float = _FLUSH_S) -> bool:
        """Wait until all that was recorded before is kept or lost; False if that is late."""
        return self._writer.flush(timeout_s)

    def _settle(self) -> None:
        self.flush(_FLUSH_S)

    def close(self, timeout_s: float = _FLUSH_S) -> bool:
        """Flush, end the thread and close the store; a later record opens them again."""
        done = self._writer.close(timeout_s)
        if done:
            self.log.close()
        return done

    # --- the twins on the event loop ---

    async def arecord_feedback(
        self, run_id: str | UUID, score: float | bool, comment: str | None = None
    ) -> bool:
        """As `record_feedback`."""
        return await asyncio.to_thread(self.record_feedback, run_id, score, comment)

    async def aflush(self, timeout_s: float = _FLUSH_S) -> bool:
        """As `flush`."""
        return await asyncio.to_thread(self.flush, timeout_s)

    async def aclose(self, timeout_s: float = _FLUSH_S) -> bool:
        """As `close`."""
        return await asyncio.to_thread(self.close, timeout_s)
