"""Reports, read from a decision log: of one tenant or of everybody, over a period."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tiered_llm.metrics.baseline import baseline_of
from tiered_llm.metrics.export import exported, rows_of
from tiered_llm.metrics.gauges import FRESH_S, merged
from tiered_llm.metrics.quality import quality
from tiered_llm.metrics.reports import distribution, faults, latency
from tiered_llm.metrics.savings import savings
from tiered_llm.metrics.tally import Counters, hour_of, hour_starts, merge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from decimal import Decimal
    from uuid import UUID

    from tiered_llm.clock import Clock
    from tiered_llm.metrics.export import Format
    from tiered_llm.metrics.log import DecisionLog, Entry
    from tiered_llm.tiers import Tier, TierSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Valuation:
    """What tokens and seconds are worth.

    Attributes:
        specs: The tiers' weights, prices and GPU memory.
        reference_gpu_gb: Memory of the GPU that GPU hours are hours of.
        default_s_per_token: Seconds that the heaviest tier takes for an output token, where
            too little of its traffic was measured.
    """

    specs: Mapping[Tier, TierSpec]
    reference_gpu_gb: float
    default_s_per_token: Decimal

    def __post_init__(self) -> None:
        """Refuse what cannot be counted with.

        Raises:
            ValueError: No specs, or a number that is not above 0.
        """
        if not self.specs or self.reference_gpu_gb <= 0 or self.default_s_per_token <= 0:
            msg = "specs has a tier, and reference_gpu_gb and default_s_per_token are above 0"
            raise ValueError(msg)


class MetricsReader:
    """The reports on a log.

    A period is hours of the clock in UTC, from the one that was `period_hours` ago to the
    present one, and each report says from when. `tenant_id` None is everybody together.
    Reports wait for the store; on an event loop call their twins, with an `a` before the name.
    All raise `DecisionLogError` where the store cannot be read, and `ValueError` for a period
    below one hour.

    Attributes:
        log: Where records are kept.
    """

    def __init__(self, log: DecisionLog, valuation: Valuation, clock: Clock) -> None:
        """Read nothing yet."""
        self.log, self._valuation, self._clock = log, valuation, clock

    def _settle(self) -> None:
        """Before a reading: whoever writes as well sees to it that what it has is written."""

    def get_tier_distribution(
        self, tenant_id: str | UUID | None = None, period_hours: int = 24
    ) -> dict[str, Any]:
        """Which tier was chosen and which answered, by task and by score."""
        return self._report(tenant_id, period_hours, distribution)

    def get_latency(
        self, tenant_id: str | UUID | None = None, period_hours: int = 24
    ) -> dict[str, Any]:
        """How long answers took, and to their first token, by tier."""
        return self._report(tenant_id, period_hours, lambda counters: {"tiers": latency(counters)})

    def get_faults(
        self, tenant_id: str | UUID | None = None, period_hours: int = 24
    ) -> dict[str, Any]:
        """Fallbacks, outcomes, faults by tier, and the errors that callers got."""
        return self._report(tenant_id, period_hours, faults)

    def get_quality(
        self, tenant_id: str | UUID | None = None, period_hours: int = 24
    ) -> dict[str, Any]:
        """Feedback by tier and score band, and where a tier does worse than the next one."""
        return self._report(tenant_id, period_hours, quality)

    def get_savings_estimate(
        self, tenant_id: str | UUID | None = None, period_hours: int = 24
    ) -> dict[str, Any]:
        """What routing saved against all-heavy, net and signed."""
        span, hours = self._read(tenant_id, period_hours)
        return span | self._savings(tenant_id, period_hours, _merged(hours.values()))

    def get_report(
        self, tenant_id: str | UUID | None = None, period_hours: int = 24
    ) -> dict[str, Any]:
        """All reports on one reading of the store."""
        span, hours = self._read(tenant_id, period_hours)
        return span | self._whole(tenant_id, period_hours, _merged(hours.values()))

    def export_metrics(
        self,
        tenant_id: str | UUID | None = None,
        period_hours: int = 24,
        format: Format = "json",
    ) -> str | bytes:
        """The hours of a period: JSON with the whole report, CSV, or Parquet as bytes.

        Raises:
            ConfigurationError: Parquet is wanted, and pyarrow is not installed.
            ValueError: No such format.
        """
        span, hours = self._read(tenant_id, period_hours)
        report = (
            span | self._whole(tenant_id, period_hours, _merged(hours.values()))
            if format == "json"
            else {}
        )
        return exported(format, report, rows_of(hours, self._valuation.specs))

    def get_totals(self, *tenant_ids: str | UUID | None) -> tuple[Counters, ...]:
        """All that was ever counted, by the names of `tiered_llm.metrics.tally`, at one moment.

        Of each of those that are named: None, for everybody, or a tenant whom
        `Retention.totals_of` names.
        """
        self._settle()
        return self.log.totals([_name(tenant) for tenant in tenant_ids])

    def get_worth(self, counters: Mapping[str, int]) -> dict[str, Any]:
        """What the calls behind some counters of everybody saved, as `get_savings_estimate`."""
        worth = self._valuation
        baseline = baseline_of(counters, {}, worth.specs, worth.default_s_per_token)
        return savings(counters, worth.specs, baseline, worth.reference_gpu_gb)

    def get_processes(self) -> dict[str, Any]:
        """What the processes that record know of themselves; see `tiered_llm.metrics.gauges`."""
        self._settle()
        return merged(self.log.published(self._clock.now().timestamp() - FRESH_S))

    @property
    def reference_gpu_gb(self) -> float:
        """Memory of the GPU that GPU hours are hours of."""
        return self._valuation.reference_gpu_gb

    @property
    def specs(self) -> Mapping[Tier, TierSpec]:
        """The tiers' weights, prices and GPU memory."""
        return self._valuation.specs

    def recent(
        self, most: int = 100, *, after: int = 0, tenant_id: str | UUID | None = None
    ) -> tuple[Entry, ...]:
        """The newest calls, oldest of them first; `after` a serial, those that came since."""
        self._settle()
        return self.log.recent(most, after=after, tenant=_name(tenant_id))

    def find(self, run_id: str | UUID) -> Entry | None:
        """One call, if it is still among the recent ones."""
        self._settle()
        return self.log.find(str(run_id))

    # --- the twins on the event loop ---

    async def aget_tier_distribution(
        self, tenant_id: str | UUID | None = None, period_hours: int = 24
    ) -> dict[str, Any]:
        """As `get_tier_distribution`."""
        return await asyncio.to_thread(self.get_tier_distribution, tenant_id, period_hours)

    async def aget_latency(
        self, tenant_id: str | UUID | None = None, period_hours: int = 24
    ) -> dict[str, Any]:
        """As `get_latency`."""
        return await asyncio.to_thread(self.get_latency, tenant_id, period_hours)

    async def aget_faults(
        self, tenant_id: str | UUID | None = None, period_hours: int = 24
    ) -> dict[str, Any]:
        """As `get_faults`."""
        return await asyncio.to_thread(self.get_faults, tenant_id, period_hours)

    async def aget_quality(
        self, tenant_id: str | UUID | None = None, period_hours: int = 24
    ) -> dict[str, Any]:
        """As `get_quality`."""
        return await asyncio.to_thread(self.get_quality, tenant_id, period_hours)

    async def aget_savings_estimate(
        self, tenant_id: str | UUID | None = None, period_hours: int = 24
    ) -> dict[str, Any]:
        """As `get_savings_estimate`."""
        return await asyncio.to_thread(self.get_savings_estimate, tenant_id, period_hours)

    async def aget_report(
        self, tenant_id: str | UUID | None = None, period_hours: int = 24
    ) -> dict[str, Any]:
        """As `get_report`."""
        return await asyncio.to_thread(self.get_report, tenant_id, period_hours)

    async def aexport_metrics(
        self,
        tenant_id: str | UUID | None = None,
        period_hours: int = 24,
        format: Format = "json",
    ) -> str | bytes:
        """As `export_metrics`."""
        return await asyncio.to_thread(self.export_metrics, tenant_id, period_hours, format)

    async def arecent(
        self, most: int = 100, *, after: int = 0, tenant_id: str | UUID | None = None
    ) -> tuple[Entry, ...]:
        """As `recent`."""
        return await asyncio.to_thread(self.recent, most, after=after, tenant_id=tenant_id)

    async def afind(self, run_id: str | UUID) -> Entry | None:
        """As `find`."""
        return await asyncio.to_thread(self.find, run_id)

    # --- inside ---

    def _report(
        self,
        tenant_id: str | UUID | None,
        period_hours: int,
        of: Callable[[Mapping[str, int]], dict[str, Any]],
    ) -> dict[str, Any]:
        span, hours = self._read(tenant_id, period_hours)
        return span | of(_merged(hours.values()))

    def _read(
        self, tenant_id: str | UUID | None, period_hours: int
    ) -> tuple[dict[str, Any], dict[int, Counters]]:
        """The period's own words, and its hours."""
        if not isinstance(period_hours, int) or period_hours < 1:
            msg = "period_hours is a whole number from 1 up"
            raise ValueError(msg)
        self._settle()
        now = self._clock.now()
        last = hour_of(now)
        first = max(0, last - period_hours)
        span = {
            "period_hours": period_hours,
            "from": hour_starts(first).isoformat(),
            "to": now.isoformat(),
        }
        return span, self.log.hours(_name(tenant_id), first, last)

    def _whole(
        self, tenant_id: str | UUID | None, period_hours: int, counters: Counters
    ) -> dict[str, Any]:
        return {
            "distribution": distribution(counters),
            "savings": self._savings(tenant_id, period_hours, counters),
            "latency": latency(counters),
            "faults": faults(counters),
            "quality": quality(counters),
        }

    def _savings(
        self, tenant_id: str | UUID | None, period_hours: int, counters: Counters
    ) -> dict[str, Any]:
        worth = self._valuation
        baseline = baseline_of(counters, {}, worth.specs, worth.default_s_per_token)
        if baseline.basis == "default" and tenant_id is not None:
            _, hours = self._read(None, period_hours)
            everybody = _merged(hours.values())
            baseline = baseline_of({}, everybody, worth.specs, worth.default_s_per_token)
        return savings(counters, worth.specs, baseline, worth.reference_gpu_gb)


def _merged(hours: Iterable[Counters]) -> Counters:
    found: Counters = {}
    for counters in hours:
        merge(found, counters)
    return found


def _name(tenant_id: str | UUID | None) -> str | None:
    return None if tenant_id is None else str(tenant_id)
