"""The page: totals of all processes, read from their log when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiered_llm.budgets.nearness import accounts_near
from tiered_llm.errors import ConfigurationError, Problem
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
    Family,
    gauge,
    histograms,
    other_families,
    tenant_families,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from prometheus_client.core import Metric

    from tiered_llm.budgets import BudgetManager
    from tiered_llm.metrics import MetricsReader

MOST_TENANTS = 100
"""Tenants that may be listed: each has some thirty series."""


class MetricsPage:
    """Renders everything that is known of the calls recorded in one log.

    It is made anew from the log for each reading, and so is right behind several workers, after a
    restart, and costs a call nothing. How many series there are depends on tiers, faults and
    listed tenants alone: at most about 600 and 40 for each listed tenant.
    """

    def __init__(
        self,
        metrics: MetricsReader,
        *,
        budget: BudgetManager | None = None,
        tenants: Iterable[str] = (),
    ) -> None:
        """Read nothing yet.

        Args:
            metrics: Where calls are recorded; a collector, or a reader of its log.
            budget: Whose alerts are shown, and the listed tenants' use.
            tenants: Tenants that have series of their own; all others are `other`. Name them in
                the collector's `Retention.totals_of` too, from when on their totals are kept.

        Raises:
            ConfigurationError: More tenants than `MOST_TENANTS`.
        """
        self._metrics, self._budget = metrics, budget
        self._tenants = tuple(dict.fromkeys(map(str, tenants)))
        if len(self._tenants) > MOST_TENANTS:
            wrong = f"{len(self._tenants)} tenants are listed"
            right = f"list at most {MOST_TENANTS}: each has series of its own"
            problem = Problem(source="arguments", key="tenants", wrong=wrong, right=right)
            raise ConfigurationError([problem])

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
        counters, specs = self._metrics.get_totals(), self._metrics.specs
        for each in self._of_tenants(tenant_families(counters, specs)):
            yield each.metric()
        for each in other_families(counters, specs, names.REFERENCE_GPU_GB):
            yield each.metric()
        yield from histograms(counters)
        yield from self._of_processes()
        if self._budget is not None:
            yield from self._of_budgets(self._budget)

    # --- inside ---

    def _of_tenants(self, everybody: dict[str, Family]) -> Iterable[Family]:
        if not self._tenants:
            return everybody.values()
        listed = {
            tenant: tenant_families(self._metrics.get_totals(tenant), self._metrics.specs)
            for tenant in self._tenants
        }
        found = []
        for name, whole in everybody.items():
            labelled = whole.labelled(names.TENANT)
            rest = whole
            for tenant, families in listed.items():
                labelled.take(families[name], tenant)
                rest = rest.less(families[name])
            labelled.take(rest, OTHER)
            found.append(labelled)
        return found

    def _of_processes(self) -> Iterator[Metric]:
        told = self._metrics.get_processes()
        shut = (names.PROVIDER, names.REQUEST_MODEL, names.SERVER_ADDRESS, names.BREAKER_STATE)
        states = [
            ((*address, state), float(state == now))
            for address, now in sorted(told["breakers"].items())
            for state in BREAKER_STATES
        ]
        yield gauge(names.BREAKER, "1 for the worst state that a process sees", shut, states)
        # no counter: what a process lost is gone from the sum when the process is
        lost = [((cause,), float(count)) for cause, count in sorted(told["dropped"].items())]
        about = "Records lost by the processes that are there"
        yield gauge(names.DROPPED, about, (names.DROP_CAUSE,), lost)
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
        yield gauge(names.BUDGET_NEAR, about, near, accounts_near(budget))


class _Registry:
    """What an encoder asks of a registry."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        """All of them."""
        return self._metrics
