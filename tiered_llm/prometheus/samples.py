"""Counters of the log → metric families, named as OpenTelemetry's exporter would name them."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from itertools import permutations, product
from typing import TYPE_CHECKING, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from tiered_llm.metrics.gauges import LOSSES
from tiered_llm.metrics.histogram import STEPS
from tiered_llm.metrics.tally import MAX_NAMES, MILLION, durations, family, total
from tiered_llm.metrics.tally import OTHER as OTHER_NAMES
from tiered_llm.telemetry import names
from tiered_llm.telemetry.counting import COUNTERS, NOBODY
from tiered_llm.telemetry.instruments import OTHER
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tiered_llm.tiers import TierSpec

TENANT_SERIES: Final = 63
"""Series that `tenant_families` make, at most."""

FIXED_SERIES: Final = TENANT_SERIES + 2 * MAX_NAMES + 200
"""Series of everybody's, at most, without breakers and budgets."""

_OUTCOMES = ("answered", "failed", "abandoned")
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
    """One counter under construction: values by labels, which add up.

    They are whole numbers or decimals until the end. A float's last digit depends on the order
    of adding, and Prometheus takes a counter that falls by a last digit for one that began anew.
    """

    def __init__(self, name: str, *labels: str) -> None:
        """Take the counter's name, with its unit and meaning, and its labels."""
        unit, about = COUNTERS.get(name) or _COUNTERS[name]
        self.name, self._shown, self._about = name, prometheus_name(name, unit), about
        self._labels = labels
        self._values: dict[tuple[str, ...], int | Decimal] = {}

    def add(self, value: int | Decimal, *labels: str) -> None:
        """Add to one series."""
        self._values[labels] = self._values.get(labels, 0) + value

    def take(self, other: Family, *labels: str) -> None:
        """Take another's series, each with some labels more at its end."""
        for key, value in other._values.items():
            self.add(value, *key, *labels)

    def labelled(self, *more: str) -> Family:
        """One like it, without series yet, that has some labels more."""
        return Family(self.name, *self._labels, *more)

    def less(self, other: Family) -> Family:
        """The same without what another has: never below nothing."""
        rest = self.labelled()
        for key, value in self._values.items():
            rest.add(max(0, value - other._values.get(key, 0)), *key)
        return rest

    def metric(self) -> CounterMetricFamily:
        """As prometheus_client takes it."""
        metric = CounterMetricFamily(
            self._shown, self._about, labels=list(map(label, self._labels))
        )
        for labels, value in sorted(self._values.items()):
            metric.add_metric(list(labels), float(value))
        return metric


_COUNTERS: Final = {
    names.FEEDBACK: ("{call}", "Answers that were judged"),
    names.DROPPED: ("{call}", "Records that processes lost, and could tell of"),
}


def tenant_families(
    counters: Mapping[str, int], specs: Mapping[Tier, TierSpec]
) -> dict[str, Family]:
    """What is told of a tenant, too: calls, tokens, cost."""
    decisions = Family(names.DECISIONS, names.TIER, names.ANSWERED_TIER)
    for asked, answered in product(_tiers(specs), (*_tiers(specs), NOBODY)):
        decisions.add(0, asked, answered)
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
    for asked, answered in permutations(_tiers(specs), 2):
        fallbacks.add(0, asked, answered)
    for (asked, answered, _), count in family(counters, "c", 3):
        if answered not in {"-", asked}:
            fallbacks.add(count, _tier(asked), answered)
    attempts = Family(names.ATTEMPTS, names.TIER, names.OUTCOME)
    for tier, outcome in product(_tiers(specs), _OUTCOMES):
        attempts.add(0, tier, outcome)
    for (tier, outcome, _), count in family(counters, "a", 3):
        attempts.add(count, tier, outcome)
    router = Family(names.ROUTER_TIME)
    router.add(Decimal(counters.get("r", 0)) / MILLION)
    yield from (fallbacks, attempts, _gpu_time(counters, specs, reference_gpu_gb), router)
    yield from _named_families(counters)


def feedback_score(counters: Mapping[str, int]) -> GaugeMetricFamily:
    """The sum of judgements: no counter, for who thinks better of it may lower it."""
    scores: Counter[str] = Counter()
    for (tier, _, what), value in family(counters, "q", 3):
        scores[tier] += value if what == "s" else 0
    about = "Sum of the judgements that count, each from 0 to 1"
    values = [((tier,), score / MILLION) for tier, score in sorted(scores.items())]
    return gauge(names.FEEDBACK_SCORE, about, (names.TIER,), values)


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
    name: str,
    about: str,
    labels: Iterable[str],
    values: Iterable[tuple[tuple[str, ...], float]],
    unit: str = "",
) -> GaugeMetricFamily:
    """A gauge with its series."""
    metric = GaugeMetricFamily(prometheus_name(name, unit), about, labels=list(map(label, labels)))
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
        units.add(spec.cost_weight * count, tier)
        base.add(heaviest.cost_weight * needed)
        price, base_price = _price(spec, kind), _price(heaviest, kind)
        if price is not None and base_price is not None:
            usd.add(price * count / MILLION, tier)
            base_usd.add(base_price * needed / MILLION)
    return {
        names.COST_UNITS: units,
        names.BASELINE_COST_UNITS: base,
        names.COST_USD: usd,
        names.BASELINE_COST_USD: base_usd,
    }


def _price(spec: TierSpec, kind: str) -> Decimal | None:
    """Dollars for a million tokens; None unless both prices are known, as in telemetry."""
    read, written = spec.input_usd_per_million, spec.output_usd_per_million
    if read is None or written is None:
        return None
    return read if kind == "i" else written


def _gpu_time(
    counters: Mapping[str, int], specs: Mapping[Tier, TierSpec], reference_gpu_gb: float
) -> Family:
    gpu = Family(names.GPU_TIME, names.TIER)
    for tier, spec in specs.items():
        us = total(counters, f"s/{tier.value}/")
        if us:
            share = Decimal(str(spec.gpu_memory_gb)) / Decimal(str(reference_gpu_gb))
            gpu.add(us * share / MILLION, tier.value)
    return gpu


def _named_families(counters: Mapping[str, int]) -> Iterator[Family]:
    """Those whose labels programs may make up, which the log bounds."""
    faults = Family(names.FAULTS, names.TIER, names.ERROR_TYPE)
    for (tier, fault), count in family(counters, "f", 2):
        faults.add(count, tier, _name(fault))
    errors = Family(names.ERRORS, names.ERROR_TYPE)
    for (error,), count in family(counters, "e", 1):
        errors.add(count, _name(error))
    lost = Family(names.DROPPED, names.DROP_CAUSE)
    for cause in LOSSES:
        lost.add(counters.get(f"d/{cause}", 0), cause)
    judged = Family(names.FEEDBACK, names.TIER)
    for (tier, _, what), value in family(counters, "q", 3):
        if what == "n":
            judged.add(value, tier)
    yield from (faults, errors, lost, judged)


def _name(name: str) -> str:
    return OTHER if name == OTHER_NAMES else name


def _buckets(counts: Mapping[int, int], total: int) -> list[tuple[str, float]]:
    reached = [
        (bound, float(sum(count for bucket, count in counts.items() if bucket <= last)))
        for bound, last in _BOUNDS
    ]
    return [*reached, ("+Inf", float(total))]


def _tiers(specs: Mapping[Tier, TierSpec]) -> tuple[str, ...]:
    return tuple(tier.value for tier in specs)


def _tier(name: str) -> str:
    return NOBODY if name == "-" else name
