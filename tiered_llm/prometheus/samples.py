"""Counters of the log → metric families, named as OpenTelemetry's exporter would name them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from tiered_llm.metrics.histogram import STEPS
from tiered_llm.metrics.tally import MILLION, durations, family
from tiered_llm.telemetry import names
from tiered_llm.telemetry.counting import COUNTERS, NOBODY
from tiered_llm.telemetry.instruments import OTHER
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from decimal import Decimal

    from tiered_llm.tiers import TierSpec

MOST_NAMES: Final = 50
"""Names of faults and of errors, which programs may make up, that are labels: the most frequent
ones; the rest is `other`."""

_BOUNDS = tuple(
    (f"{bound:.2f}".rstrip("0").rstrip("."), (at + 3) * STEPS)
    for at, bound in enumerate(names.DURATION_BOUNDS_S)
)
"""The convention's boundaries, and the number of the log's bucket that ends there."""

_KINDS = {"i": "input", "o": "output"}


def prometheus_name(name: str, unit: str = "") -> str:
    """A name as Prometheus has it, with its unit: `tiered_llm_router_time_seconds`."""
    return name.replace(".", "_") + ("_seconds" if unit == "s" else "")


def label(name: str) -> str:
    """An attribute's name as a label."""
    return name.replace(".", "_")


class Family:
    """One counter under construction: values by labels, which add up."""

    def __init__(self, name: str, *labels: str) -> None:
        """Take the counter's name, with its unit and meaning, and its labels."""
        unit, about = COUNTERS.get(name, ("", _ABOUT.get(name, "")))
        self.name, self._shown, self._about = name, prometheus_name(name, unit), about
        self._labels = labels
        self._values: Counter[tuple[str, ...]] = Counter()

    def add(self, value: Any, *labels: str) -> None:
        """Add to one series."""
        self._values[labels] += value

    def take(self, other: Family, *labels: str) -> None:
        """Take another's series, each with some labels more at its end."""
        for key, value in other._values.items():
            self._values[(*key, *labels)] += value

    def labelled(self, *more: str) -> Family:
        """One like it, without series yet, that has some labels more."""
        return Family(self.name, *self._labels, *more)

    def less(self, other: Family) -> Family:
        """The same without what another has: never below nothing."""
        rest = self.labelled()
        for key, value in self._values.items():
            rest.add(max(0, value - other._values[key]), *key)
        return rest

    def bounded(self, most: int = MOST_NAMES) -> Family:
        """With the most frequent values of its last label, the rest as `other`."""
        sums: Counter[str] = Counter()
        for key, value in self._values.items():
            sums[key[-1]] += value
        kept = {name for name, _ in sums.most_common(most)}
        values: Counter[tuple[str, ...]] = Counter()
        for (*first, last), value in self._values.items():
            values[(*first, last if last in kept else OTHER)] += value
        self._values = values
        return self

    def metric(self) -> CounterMetricFamily:
        """As prometheus_client takes it."""
        metric = CounterMetricFamily(
            self._shown, self._about, labels=list(map(label, self._labels))
        )
        for labels, value in sorted(self._values.items()):
            metric.add_metric(list(labels), float(value))
        return metric


_ABOUT: Final = {
    names.FEEDBACK: "Answers that were judged",
    names.FEEDBACK_SCORE: "Sum of the judgements, each from 0 to 1",
}


def tenant_families(
    counters: Mapping[str, int], specs: Mapping[Tier, TierSpec]
) -> dict[str, Family]:
    """What is told of a tenant, too: calls, tokens, cost."""
    decisions = Family(names.DECISIONS, names.TIER, names.ANSWERED_TIER)
    for (asked, answered, _), count in family(counters, "c", 3):
        decisions.add(count, _tier(asked), _tier(answered))
    tokens = Family(names.TOKENS, names.TIER, names.OUTCOME, names.TOKEN_TYPE, names.ESTIMATED)
    for (tier, outcome, how, kind), count in family(counters, "k", 4):
        tokens.add(count, tier, outcome, _KINDS[kind], "true" if how == "e" else "false")
    charged = Family(names.CHARGED, names.TIER)
    for (tier, _), count in family(counters, "b", 2):
        charged.add(count, tier)
    return {
        names.DECISIONS: decisions,
        names.TOKENS: tokens,
        names.CHARGED: charged,
        **_costs(counters, specs),
    }


def other_families(
    counters: Mapping[str, int], specs: Mapping[Tier, TierSpec], reference_gpu_gb: float
) -> Iterator[Family]:
    """What is told of everybody together alone."""
    fallbacks = Family(names.FALLBACK_COUNT, names.TIER, names.ANSWERED_TIER)
    for (asked, answered, _), count in family(counters, "c", 3):
        if answered not in {"-", asked}:
            fallbacks.add(count, _tier(asked), answered)
    attempts = Family(names.ATTEMPTS, names.TIER, names.OUTCOME)
    for (tier, outcome, _), count in family(counters, "a", 3):
        attempts.add(count, tier, outcome)
    faults = Family(names.FAULTS, names.TIER, names.ERROR_TYPE)
    for (tier, fault), count in family(counters, "f", 2):
        faults.add(count, tier, fault)
    errors = Family(names.ERRORS, names.ERROR_TYPE)
    for (error,), count in family(counters, "e", 1):
        errors.add(count, error)
    gpu = Family(names.GPU_TIME, names.TIER)
    for (tier, _, _), us in family(counters, "s", 3):
        share = specs[Tier(tier)].gpu_memory_gb / reference_gpu_gb if Tier(tier) in specs else 0.0
        gpu.add(us / MILLION * share, tier)
    router = Family(names.ROUTER_TIME)
    router.add(counters.get("r", 0) / MILLION)
    yield from (fallbacks, attempts, faults.bounded(), errors.bounded(), gpu, router)
    yield from _feedback(counters)


def histograms(counters: Mapping[str, int]) -> Iterator[HistogramMetricFamily]:
    """Durations of answers and times to the first token, in the convention's buckets."""
    for name, kind, about in (
        (names.DURATION, "d", "Answers, whole"),
        (names.FIRST_TOKEN, "f", "Streams, to the first content"),
    ):
        metric = HistogramMetricFamily(
            prometheus_name(name, "s"), about, labels=[label(names.TIER)]
        )
        for tier in Tier:
            found = durations(counters, tier, kind)
            if found.total:
                metric.add_metric(
                    [tier.value], _buckets(found.counts, found.total), found.sum_us / MILLION
                )
        yield metric


def gauge(
    name: str, about: str, labels: Iterable[str], values: Iterable[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    """A gauge with its series."""
    metric = GaugeMetricFamily(prometheus_name(name), about, labels=list(map(label, labels)))
    for told, value in values:
        metric.add_metric(list(told), value)
    return metric


def _costs(counters: Mapping[str, int], specs: Mapping[Tier, TierSpec]) -> dict[str, Family]:
    """Cost units and dollars, and those of the baseline, which needs no failed attempts."""
    units, base = Family(names.COST_UNITS, names.TIER), Family(names.BASELINE_COST_UNITS)
    usd, base_usd = Family(names.COST_USD, names.TIER), Family(names.BASELINE_COST_USD)
    heaviest = specs[max(specs, key=lambda tier: tier.rank)]
    for (tier, outcome, _, kind), count in family(counters, "k", 4):
        spec = specs.get(Tier(tier))
        if spec is None:
            continue
        needed = 0 if outcome == "failed" else count
        units.add(float(spec.cost_weight * count), tier)
        base.add(float(heaviest.cost_weight * needed))
        prices = (_price(spec, kind), _price(heaviest, kind))
        if prices[0] is not None and prices[1] is not None:
            usd.add(float(prices[0] * count / MILLION), tier)
            base_usd.add(float(prices[1] * needed / MILLION))
    return {
        names.COST_UNITS: units,
        names.BASELINE_COST_UNITS: base,
        names.COST_USD: usd,
        names.BASELINE_COST_USD: base_usd,
    }


def _price(spec: TierSpec, kind: str) -> Decimal | None:
    return spec.input_usd_per_million if kind == "i" else spec.output_usd_per_million


def _feedback(counters: Mapping[str, int]) -> Iterator[Family]:
    judged, scores = Family(names.FEEDBACK, names.TIER), Family(names.FEEDBACK_SCORE, names.TIER)
    for (tier, _, what), value in family(counters, "q", 3):
        if what == "n":
            judged.add(value, tier)
        else:
            scores.add(value / MILLION, tier)
    yield from (judged, scores)


def _buckets(counts: Mapping[int, int], total: int) -> list[tuple[str, float]]:
    reached = [
        (bound, float(sum(count for bucket, count in counts.items() if bucket <= last)))
        for bound, last in _BOUNDS
    ]
    return [*reached, ("+Inf", float(total))]


def _tier(name: str) -> str:
    return NOBODY if name == "-" else name
