"""What a call adds to the counters, and the sums that whoever collects is shown.

The SDK takes some ten microseconds for an addition to a counter, and a call makes about ten of
them. So the sums are kept here, one addition costs less than one, and the SDK looks at them.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeAlias

from opentelemetry.metrics import Observation

from tiered_llm.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from opentelemetry.metrics import CallbackOptions

    from tiered_llm.records import AttemptRecord, CallRecord
    from tiered_llm.tiers import Tier, TierSpec

NOBODY: Final = "none"

_MILLION = Decimal(1_000_000)

COUNTERS: Final[dict[str, tuple[str, str]]] = {
    names.DECISIONS: ("{decision}", "Calls, by the tier chosen and the tier that answered"),
    names.FALLBACK_COUNT: ("{call}", "Calls that another tier than the chosen one answered"),
    names.ATTEMPTS: ("{attempt}", "Requests to tiers"),
    names.FAULTS: ("{fault}", "Attempts that failed"),
    names.ERRORS: ("{error}", "Errors that callers got"),
    names.TOKENS: ("{token}", "Tokens read and written"),
    names.CHARGED: ("{token}", "Tokens that budgets were charged"),
    names.COST_UNITS: ("{unit}", "Tokens times their tier's weight"),
    names.BASELINE_COST_UNITS: ("{unit}", "The same tokens, all on the heaviest tier"),
    names.COST_USD: ("{USD}", "Price of the tokens, where prices are known"),
    names.BASELINE_COST_USD: ("{USD}", "Their price, all on the heaviest tier"),
    names.GPU_TIME: ("s", "Model time times the tier's share of the reference GPU"),
    names.ROUTER_TIME: ("s", "Time of estimating and routing"),
}
"""Each counter's unit and meaning."""

Labels: TypeAlias = tuple[tuple[str, str], ...]


class Told:
    """What one call adds."""

    __slots__ = ("added", "whose")

    def __init__(self, whose: Labels) -> None:
        """Add nothing yet; `whose` is the tenant's label, where there is one."""
        self.whose = whose
        self.added: list[tuple[str, Labels, float]] = []

    def add(self, name: str, value: float, *labels: tuple[str, str], of: Labels = ()) -> None:
        """Add to a counter."""
        self.added.append((name, (*labels, *of), value))


class Sums:
    """Sums by counter and labels. Safe for threads."""

    def __init__(self) -> None:
        """Start with none."""
        self._lock = threading.RLock()  # a garbage-collected stream may count within a count
        self._sums: dict[str, dict[Labels, float]] = defaultdict(dict)

    def add(self, told: Told) -> None:
        """Take up one call."""
        with self._lock:
            for name, labels, value in told.added:
                sums = self._sums[name]
                sums[labels] = sums.get(labels, 0) + value

    def observer(self, name: str) -> Callable[[CallbackOptions], Iterator[Observation]]:
        """Shows a counter's sums to whoever collects."""

        def observe(_: CallbackOptions) -> Iterator[Observation]:
            with self._lock:
                found = list(self._sums[name].items())
            return (Observation(value, dict(labels)) for labels, value in found)

        return observe


def count_call(record: CallRecord, told: Told, bounded: Callable[[str], str]) -> None:
    """The call itself: where it was to go, who answered, what its caller got."""
    asked = (names.TIER, NOBODY if record.asked is None else record.asked.value)
    answered = (names.ANSWERED_TIER, NOBODY if record.answered is None else record.answered.value)
    told.add(names.DECISIONS, 1, asked, answered, of=told.whose)
    if record.answered is not None and record.answered is not record.asked:
        told.add(names.FALLBACK_COUNT, 1, asked, answered, of=told.whose)
    if record.error is not None:
        told.add(names.ERRORS, 1, (names.ERROR_TYPE, bounded(record.error)))
    told.add(names.ROUTER_TIME, record.router_s)


def count_attempt(attempt: AttemptRecord, told: Told, bounded: Callable[[str], str]) -> None:
    """A request to a tier: how it ended, and its tokens."""
    tier, outcome = (names.TIER, attempt.tier.value), (names.OUTCOME, attempt.outcome)
    told.add(names.ATTEMPTS, 1, tier, outcome)
    if attempt.fault is not None:
        told.add(names.FAULTS, 1, tier, (names.ERROR_TYPE, bounded(attempt.fault)))
    how = (names.ESTIMATED, "true" if attempt.estimated else "false")
    for kind, tokens in (("input", attempt.input_tokens), ("output", attempt.output_tokens)):
        if tokens:
            labels = (tier, outcome, (names.TOKEN_TYPE, kind), how)
            told.add(names.TOKENS, tokens, *labels, of=told.whose)
    if attempt.charged_tokens:
        told.add(names.CHARGED, attempt.charged_tokens, tier, of=told.whose)


def count_cost(attempt: AttemptRecord, told: Told, specs: Mapping[Tier, TierSpec]) -> None:
    """What it cost, and what its tokens would have; of a failed one the baseline needs none."""
    own = specs.get(attempt.tier)
    if own is None:
        return
    heaviest = specs[max(specs, key=lambda tier: tier.rank)]
    tier, failed = (names.TIER, attempt.tier.value), attempt.outcome == "failed"
    tokens = attempt.input_tokens + attempt.output_tokens
    told.add(names.COST_UNITS, float(own.cost_weight * tokens), tier, of=told.whose)
    told.add(names.GPU_TIME, attempt.latency_s * own.gpu_memory_gb / names.REFERENCE_GPU_GB, tier)
    if not failed:
        base = float(heaviest.cost_weight * tokens)
        told.add(names.BASELINE_COST_UNITS, base, of=told.whose)
    usd, base_usd = _usd(own, attempt), _usd(heaviest, attempt)
    if usd is not None and base_usd is not None:
        told.add(names.COST_USD, float(usd), tier, of=told.whose)
        told.add(names.BASELINE_COST_USD, 0.0 if failed else float(base_usd), of=told.whose)


def _usd(spec: TierSpec, attempt: AttemptRecord) -> Decimal | None:
    read, written = spec.input_usd_per_million, spec.output_usd_per_million
    if read is None or written is None:
        return None
    return (read * attempt.input_tokens + written * attempt.output_tokens) / _MILLION
