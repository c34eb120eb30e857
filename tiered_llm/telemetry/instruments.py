"""The instruments: what is counted of each call, and what is looked at when somebody collects."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

from opentelemetry import metrics
from opentelemetry.metrics import Observation

from tiered_llm.telemetry import names
from tiered_llm.telemetry.counting import (
    COUNTERS,
    Sums,
    Told,
    count_attempt,
    count_call,
    count_cost,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from opentelemetry.metrics import CallbackOptions, MeterProvider

    from tiered_llm.records import AttemptRecord, CallRecord
    from tiered_llm.tiers import Tier, TierSpec

OTHER = "other"
MOST_NAMES = 100
"""Names of faults and errors, which programs may make up, that are labels; the rest is `other`."""

BREAKER_STATES = ("closed", "open", "half_open", "cooldown")


class EndpointState(Protocol):
    """An endpoint as its breaker sees it; see `tiered_llm.fallback.EndpointHealth`."""

    @property
    def provider(self) -> str:
        """`ollama`, `vllm` and the like."""
        ...

    @property
    def endpoint(self) -> str:
        """Its URL, without secrets."""
        ...

    @property
    def model(self) -> str:
        """The model's name."""
        ...

    @property
    def state(self) -> str:
        """What its breaker does with calls."""
        ...


class HealthSource(Protocol):
    """What knows the breakers."""

    def snapshot(self) -> Iterable[EndpointState]:
        """The endpoints asked so far."""
        ...


class BudgetSource(Protocol):
    """What knows the budgets; see `tiered_llm.budgets.BudgetManager`."""

    def usage(self, tenant: str) -> Mapping[str, Any]:
        """A tenant's budgets in their present windows."""
        ...


class Instruments:
    """The instruments of one meter provider. Safe for threads."""

    def __init__(self, provider: MeterProvider | None) -> None:
        """Make them; of the global provider, whoever that will be, if none is given."""
        meter = metrics.get_meter(names.SCOPE, meter_provider=provider)
        bounds = list(names.DURATION_BOUNDS_S)
        self._sums = Sums()
        for name, (unit, description) in COUNTERS.items():
            meter.create_observable_counter(name, [self._sums.observer(name)], unit, description)
        self._duration = meter.create_histogram(
            names.DURATION, "s", "Answers, whole", explicit_bucket_boundaries_advisory=bounds
        )
        self._first = meter.create_histogram(
            names.FIRST_TOKEN,
            "s",
            "Streams, to content",
            explicit_bucket_boundaries_advisory=bounds,
        )
        self._health: WeakSet[HealthSource] = WeakSet()
        self._budgets: WeakKeyDictionary[BudgetSource, frozenset[str]] = WeakKeyDictionary()
        self._known: set[str] = set()
        gauge = meter.create_observable_gauge
        gauge(names.BREAKER, [self._observe_breakers], description="1 for a breaker's state")
        gauge(names.BUDGET_USED, [self._observed("share")], "1", "Part of a budget charged")
        gauge(names.BUDGET_RESERVED, [self._observed("reserved")], "{unit}", "Calls under way")

    def watch(
        self, health: HealthSource, budget: BudgetSource | None, tenants: Collection[str]
    ) -> None:
        """Look at these too when somebody collects, as long as they live."""
        self._health.add(health)
        if budget is not None and tenants:
            self._budgets[budget] = self._budgets.get(budget, frozenset()) | frozenset(tenants)

    def count(
        self, record: CallRecord, specs: Mapping[Tier, TierSpec], tenants: Collection[str]
    ) -> None:
        """Count one call."""
        label = (names.TENANT, tenant_label(record.tenant_id, tenants))
        told = Told((label,) if tenants else ())
        count_call(record, told, self._bounded)
        for attempt in record.attempts:
            count_attempt(attempt, told, self._bounded)
            count_cost(attempt, told, specs)
            self._time(attempt)
        self._sums.add(told)

    # --- inside ---

    def _time(self, attempt: AttemptRecord) -> None:
        if attempt.outcome != "answered":
            return
        tier = {names.TIER: attempt.tier.value}
        self._duration.record(attempt.latency_s, tier)
        if attempt.first_token_s is not None:
            self._first.record(attempt.first_token_s, tier)

    def _bounded(self, name: str) -> str:
        if name not in self._known:
            if len(self._known) >= MOST_NAMES:
                return OTHER
            self._known.add(name)
        return name

    def _observe_breakers(self, _: CallbackOptions) -> Iterator[Observation]:
        for health in list(self._health):
            for endpoint in health.snapshot():
                told = {
                    names.PROVIDER: endpoint.provider,
                    names.REQUEST_MODEL: endpoint.model,
                    names.SERVER_ADDRESS: endpoint.endpoint,
                }
                for state in BREAKER_STATES:
                    shut = {**told, names.BREAKER_STATE: state}
                    yield Observation(int(endpoint.state == state), shut)

    def _observed(self, what: str) -> Callable[[CallbackOptions], Iterator[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for budget, tenants in list(self._budgets.items()):
                for tenant in sorted(tenants):
                    for usage in budget.usage(tenant).values():
                        told = {
                            names.BUDGET_RULE: usage.rule,
                            names.BUDGET_PERIOD: usage.period,
                            names.TENANT: tenant,
                        }
                        yield Observation(float(getattr(usage, what)), told)

        return observe


def tenant_label(tenant: str | None, listed: Collection[str]) -> str:
    """A tenant as a label may show it: the listed ones by name."""
    return tenant if tenant in listed and tenant is not None else OTHER


_LOCK = threading.Lock()
_GLOBAL: list[Instruments] = []
_OF_PROVIDERS: WeakKeyDictionary[MeterProvider, Instruments] = WeakKeyDictionary()


def instruments_of(provider: MeterProvider | None) -> Instruments:
    """The instruments of a provider: one set, however many models use them."""
    with _LOCK:
        if provider is None:
            if not _GLOBAL:
                _GLOBAL.append(Instruments(None))
            return _GLOBAL[0]
        if provider not in _OF_PROVIDERS:
            _OF_PROVIDERS[provider] = Instruments(provider)
        return _OF_PROVIDERS[provider]
