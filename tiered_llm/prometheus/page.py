"""The page: totals of all processes, read from their log when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiered_llm.budgets.nearness import accounts_near
from tiered_llm.budgets.plan import PERIODS
from tiered_llm.clock import SYSTEM_CLOCK
from tiered_llm.errors import ConfigurationError, Problem
from tiered_llm.metrics.gauges import worst
from tiered_llm.telemetry import names
from tiered_llm.telemetry.instruments import BREAKER_STATES, OTHER

try:
    from prometheus_client.exposition import choose_encoder
except ImportError as error:
    raise ConfigurationError(
        [
            Problem(
                source="environment",
                key="prometheus",
                wrong="prometheus_client is not installed",
                right='install "tiered-llm[prometheus]"',
            )
        ]
    ) from error

from tiered_llm.prometheus.samples import (
    FIXED_SERIES,
    TENANT_SERIES,
    Family,
    feedback_score,
    gauge,
    histograms,
    other_families,
    tenant_families,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from prometheus_client.core import Metric

    from tiered_llm.budgets import BudgetManager
    from tiered_llm.clock import Clock
    from tiered_llm.metrics import MetricsReader
    from tiered_llm.metrics.tally import Counters

MAX_SERIES = 10_000
"""Series of a page, at most, unless it is told otherwise: some hundred and forty listed tenants."""

_SPARED = 20
"""How many times as long as it took a slow reading is kept: it takes a twentieth of the time."""

_LEAST_ROOM = 100
"""Series that are kept free for breakers and for accounts near their limits."""


class MetricsPage:
    """Renders everything that is known of the calls recorded in one log.

    It is made anew from the log for each reading, and so is right behind several workers, after a
    restart, and costs a call nothing. Its counters never fall. It has at most `max_series`
    series, whatever is recorded: names that programs make up are bounded by the log, endpoints
    and budget rules beyond the bound are shown together as `other`.
    """

    def __init__(
        self,
        metrics: MetricsReader,
        *,
        budget: BudgetManager | None = None,
        tenants: Iterable[str] = (),
        max_series: int = MAX_SERIES,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Read nothing yet.

        Args:
            metrics: Where calls are recorded; a collector, or a reader of its log.
            budget: Whose alerts are shown, and the listed tenants' use.
            tenants: Tenants that have series of their own; all others are `other`. Name them in
                the collector's `Retention.totals_of` too, from when on their totals are kept.
            max_series: Series that the page may have.
            clock: What tells how long a reading of all accounts takes, which is then kept for
                twenty times as long.

        Raises:
            ConfigurationError: The listed tenants may need more series.
        """
        self._metrics, self._budget, self._clock = metrics, budget, clock
        self._tenants = tuple(dict.fromkeys(map(str, tenants)))
        each = TENANT_SERIES
        if budget is not None:
            each += 2 * len(budget.plan.rules) * len(PERIODS)
        self._near: tuple[float, list[tuple[tuple[str, str, str], float]]] = (float("-inf"), [])
        self._room = max_series - FIXED_SERIES - each * len(self._tenants)
        if self._room < _LEAST_ROOM:
            raise ConfigurationError([_too_many(len(self._tenants), each, max_series)])

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The page and its content type, as the `Accept` header wants it.

        Raises:
            DecisionLogError: The log cannot be read.
            LedgerError: The budgets cannot be read.
        """
        encoder, content_type = choose_encoder(accept)
        found = list(self.collect())
        page: bytes = encoder(_Registry(found))
        return page, content_type

    def collect(self) -> Iterator[Metric]:
        """The metric families, as prometheus_client's own collectors give them."""
        everybody, *listed = self._metrics.get_totals(None, *self._tenants)
        for each in self._of_tenants(everybody, listed):
            yield each.metric()
        reference_gpu_gb = self._metrics.reference_gpu_gb
        for each in other_families(everybody, self._metrics.specs, reference_gpu_gb):
            yield each.metric()
        yield from histograms(everybody)
        yield feedback_score(everybody)
        yield self._baseline(everybody)
        yield from self._of_processes()
        if self._budget is not None:
            yield from self._of_budgets(self._budget)

    # --- inside ---

    def _of_tenants(self, everybody: Counters, listed: Sequence[Counters]) -> Iterable[Family]:
        specs = self._metrics.specs
        whole = tenant_families(everybody, specs)
        if not self._tenants:
            return whole.values()
        parts = [tenant_families(counters, specs) for counters in listed]
        return [
            self._by_tenant(all_of, [part[name] for part in parts])
            for name, all_of in whole.items()
        ]

    def _by_tenant(self, everybody: Family, listed: Sequence[Family]) -> Family:
        found, rest = everybody.labelled(names.TENANT), everybody
        for tenant, own in zip(self._tenants, listed, strict=True):
            found.take(own, tenant)
            rest = rest.less(own)
        found.take(rest, OTHER)
        return found

    def _baseline(self, everybody: Counters) -> Metric:
        hours = self._metrics.get_worth(everybody)["baseline_gpu_hours"]
        about = (
            "GPU time of the same calls on the heaviest tier, estimated from what it took so far"
        )
        return gauge(names.BASELINE_GPU_TIME, about, (), [((), hours * 3600)], unit="s")

    def _of_processes(self) -> Iterator[Metric]:
        told = self._metrics.get_processes()
        breakers = _bounded_breakers(told["breakers"], self._room // 2 // len(BREAKER_STATES))
        shut = (names.PROVIDER, names.REQUEST_MODEL, names.SERVER_ADDRESS, names.BREAKER_STATE)
        states = [
            ((*address, state), float(state == now))
            for address, now in breakers.items()
            for state in BREAKER_STATES
        ]
        yield gauge(names.BREAKER, "1 for the worst state that a process sees", shut, states)
        alive = [((), float(told["processes"]))]
        yield gauge(names.PROCESSES, "Processes that record, lately", (), alive)

    def _of_budgets(self, budget: BudgetManager) -> Iterator[Metric]:
        whose = (names.BUDGET_RULE, names.BUDGET_PERIOD, names.TENANT)
        usages: list[tuple[tuple[str, ...], Any]] = [
            ((usage.rule, usage.period, tenant), usage)
            for tenant in self._tenants
            for usage in budget.usage(tenant).values()
            if usage.limit is not None
        ]
        used = [(key, float(usage.share)) for key, usage in usages]
        reserved = [(key, float(usage.reserved)) for key, usage in usages]
        yield gauge(names.BUDGET_USED, "Part of a budget that is charged", whose, used)
        yield gauge(names.BUDGET_RESERVED, "Reserved for calls under way", whose, reserved)
        about = "Accounts that have come to a per cent of their limit in the present window"
        near = (names.BUDGET_RULE, names.BUDGET_PERIOD, names.BUDGET_THRESHOLD)
        rows = _bounded_rows(self._accounts_near(budget), self._room // 2)
        yield gauge(names.BUDGET_NEAR, about, near, rows)

    def _accounts_near(self, budget: BudgetManager) -> list[tuple[tuple[str, str, str], float]]:
        until_s, found = self._near
        began_s = self._clock.monotonic_s()
        if began_s >= until_s:
            found = accounts_near(budget)
            ended_s = self._clock.monotonic_s()
            self._near = (ended_s + _SPARED * (ended_s - began_s), found)
        return found


def _too_many(tenants: int, each: int, max_series: int) -> Problem:
    needed = FIXED_SERIES + _LEAST_ROOM + each * tenants
    if not tenants:
        right = f"a page needs max_series of {needed} or more"
        return Problem(source="arguments", key="max_series", wrong=str(max_series), right=right)
    wrong = f"{tenants} tenants are listed, which may make {needed} series"
    right = f"list fewer, or raise max_series, which is {max_series}"
    return Problem(source="arguments", key="tenants", wrong=wrong, right=right)


def _bounded_breakers(
    breakers: Mapping[tuple[str, ...], str], most: int
) -> dict[tuple[str, ...], str]:
    """In order; those beyond the bound as one, in the worst of their states."""
    shown = sorted(breakers.items())
    if len(shown) <= most:
        return dict(shown)
    rest = worst(*(state for _, state in shown[most - 1 :]))
    return {**dict(shown[: most - 1]), (OTHER, OTHER, OTHER): rest}


def _bounded_rows(
    rows: Sequence[tuple[tuple[str, ...], float]], most: int
) -> Sequence[tuple[tuple[str, ...], float]]:
    """Those beyond the bound as one."""
    if len(rows) <= most:
        return rows
    rest = sum(count for _, count in rows[most - 1 :])
    return [*rows[: most - 1], ((OTHER, OTHER, OTHER), rest)]


class _Registry:
    """What an encoder asks of a registry."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        """All of them."""
        return self._metrics
