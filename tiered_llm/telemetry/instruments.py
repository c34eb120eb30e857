"""The instruments: what is counted of each call, and what is looked at when somebody collects."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

from opentelemetry import metrics
from opentelemetry.metrics import Observation

from tiered_llm.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from opentelemetry.metrics import CallbackOptions, MeterProvider

    from tiered_llm.records import AttemptRecord, CallRecord
    from tiered_llm.tiers import Tier, TierSpec

NOBODY = "none"
OTHER = "other"
MOST_NAMES = 100
"""Names of faults and errors, which programs may make up, that are labels; the rest is `other`."""

_MILLION = Decimal(1_000_000)
_BREAKER_STATES = ("closed", "open", "half_open", "cooldown")


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
        count, bounds = meter.create_counter, list(names.DURATION_BOUNDS_S)
        self._decisions = count(names.DECISIONS, "{decision}", "Calls, by tier chosen and answered")
        self._fallbacks = count(names.FALLBACK_COUNT, "{call}", "Calls that another tier answered")
        self._attempts = count(names.ATTEMPTS, "{attempt}", "Requests to tiers")
        self._faults = count(names.FAULTS, "{fault}", "Attempts that failed")
        self._errors = count(names.ERRORS, "{error}", "Errors that callers got")
        self._tokens = count(names.TOKENS, "{token}", "Tokens read and written")
        self._charged = count(names.CHARGED, "{token}", "Tokens that budgets were charged")
        self._units = count(names.COST_UNITS, "{unit}", "Tokens times the tier's weight")
        self._base_units = count(
            names.BASELINE_COST_UNITS, "{unit}", "The same tokens, all on the heaviest tier"
        )
        self._usd = count(names.COST_USD, "{USD}", "Price of the tokens, where it is known")
        self._base_usd = count(names.BASELINE_COST_USD, "{USD}", "Price on the heaviest tier")
        self._gpu = count(names.GPU_TIME, "s", "Model time times the tier's GPU share")
        self._router = count(names.ROUTER_TIME, "s", "Time of estimating and routing")
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
        whose = {names.TENANT: tenant_label(record.tenant_id, tenants)} if tenants else {}
        asked = NOBODY if record.asked is None else record.asked.value
        answered = NOBODY if record.answered is None else record.answered.value
        ways = {names.TIER: asked, names.ANSWERED_TIER: answered, **whose}
        self._decisions.add(1, ways)
        if record.answered is not None and record.answered is not record.asked:
            self._fallbacks.add(1, ways)
        if record.error is not None:
            self._errors.add(1, {names.ERROR_TYPE: self._bounded(record.error)})
        self._router.add(record.router_s)
        for attempt in record.attempts:
            self._attempt(attempt, specs, whose)

    # --- inside ---

    def _attempt(
        self, attempt: AttemptRecord, specs: Mapping[Tier, TierSpec], whose: dict[str, str]
    ) -> None:
        tier = {names.TIER: attempt.tier.value}
        ended = {**tier, names.OUTCOME: attempt.outcome}
        self._attempts.add(1, ended)
        if attempt.fault is not None:
            self._faults.add(1, {**tier, names.ERROR_TYPE: self._bounded(attempt.fault)})
        used = {**ended, names.ESTIMATED: "true" if attempt.estimated else "false", **whose}
        for kind, tokens in (("input", attempt.input_tokens), ("output", attempt.output_tokens)):
            if tokens:
                self._tokens.add(tokens, {**used, names.TOKEN_TYPE: kind})
        if attempt.charged_tokens:
            self._charged.add(attempt.charged_tokens, {**tier, **whose})
        if attempt.outcome == "answered":
            self._duration.record(attempt.latency_s, tier)
            if attempt.first_token_s is not None:
                self._first.record(attempt.first_token_s, tier)
        self._cost(attempt, specs, {**tier, **whose}, whose)

    def _cost(
        self,
        attempt: AttemptRecord,
        specs: Mapping[Tier, TierSpec],
        of_tier: dict[str, str],
        of_all: dict[str, str],
    ) -> None:
        """What it cost, and what its tokens would have cost; a failed one would not have been."""
        own = specs.get(attempt.tier)
        if own is None:
            return
        tokens = attempt.input_tokens + attempt.output_tokens
        heaviest = specs[max(specs, key=lambda tier: tier.rank)]
        failed = attempt.outcome == "failed"
        self._units.add(float(own.cost_weight * tokens), of_tier)
        self._gpu.add(attempt.latency_s * own.gpu_memory_gb / names.REFERENCE_GPU_GB, of_tier)
        if not failed:
            self._base_units.add(float(heaviest.cost_weight * tokens), of_all)
        usd, base_usd = _usd(own, attempt), _usd(heaviest, attempt)
        if usd is not None and base_usd is not None:
            self._usd.add(float(usd), of_tier)
            self._base_usd.add(0.0 if failed else float(base_usd), of_all)

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
                for state in _BREAKER_STATES:
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


def _usd(spec: TierSpec, attempt: AttemptRecord) -> Decimal | None:
    read, written = spec.input_usd_per_million, spec.output_usd_per_million
    if read is None or written is None:
        return None
    return (read * attempt.input_tokens + written * attempt.output_tokens) / _MILLION


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
