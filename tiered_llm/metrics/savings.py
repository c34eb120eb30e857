"""What routing saved against all-heavy: tokens, cost units, money, GPU hours; a loss is negative.

The formulas are in docs/explanation/how-savings-are-computed.md, with an example that a test
computes again.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tiered_llm.metrics.tally import NOBODY, family

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tiered_llm.metrics.baseline import Baseline
    from tiered_llm.tiers import Tier, TierSpec

REFERENCE_GPU_GB = 80.0
"""Memory of the GPU that hours are counted of: an A100 or H100 of 80 GB."""

_MICRO = Decimal("0.000001")
_MILLION = Decimal(1_000_000)
_HOUR_S = Decimal(3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Attempts of one tier that ended in one way, with tokens measured or estimated."""

    spec: TierSpec
    failed: bool
    measured: bool
    input_tokens: int
    output_tokens: int
    seconds: Decimal

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sum:
    """What some attempts cost, and what their tokens would have cost on the baseline's tier."""

    cost_units: Decimal = Decimal(0)
    baseline_cost_units: Decimal = Decimal(0)
    usd: Decimal | None = Decimal(0)
    baseline_usd: Decimal | None = Decimal(0)
    gpu_s: Decimal = Decimal(0)
    baseline_gpu_s: Decimal = Decimal(0)

    def __add__(self, other: _Sum) -> _Sum:
        return _Sum(
            cost_units=self.cost_units + other.cost_units,
            baseline_cost_units=self.baseline_cost_units + other.baseline_cost_units,
            usd=_both(self.usd, other.usd),
            baseline_usd=_both(self.baseline_usd, other.baseline_usd),
            gpu_s=self.gpu_s + other.gpu_s,
            baseline_gpu_s=self.baseline_gpu_s + other.baseline_gpu_s,
        )

    def report(self) -> dict[str, Any]:
        """Plain values: what was spent, what would have been, what was saved, signed."""
        saved_usd = (
            None
            if self.usd is None or self.baseline_usd is None
            else _rounded(self.baseline_usd - self.usd)
        )
        return {
            "cost_units": _rounded(self.cost_units),
            "baseline_cost_units": _rounded(self.baseline_cost_units),
            "cost_units_saved": _rounded(self.baseline_cost_units - self.cost_units),
            "usd": _rounded(self.usd),
            "baseline_usd": _rounded(self.baseline_usd),
            "usd_saved": saved_usd,
            "gpu_hours": float(self.gpu_s / _HOUR_S),
            "baseline_gpu_hours": float(self.baseline_gpu_s / _HOUR_S),
            "gpu_hours_saved": float((self.baseline_gpu_s - self.gpu_s) / _HOUR_S),
        }


def savings(
    counters: Mapping[str, int],
    specs: Mapping[Tier, TierSpec],
    baseline: Baseline,
    reference_gpu_gb: float = REFERENCE_GPU_GB,
) -> dict[str, Any]:
    """Everything that a period saved.

    Args:
        counters: The period's.
        specs: The tiers' weights, prices and GPU memory, as they are now.
        baseline: The heaviest tier and its seconds for each token.
        reference_gpu_gb: Memory of the GPU that GPU hours are hours of.

    Returns:
        See docs/explanation/how-savings-are-computed.md.
    """
    parts = list(_parts(counters, specs))
    scale = Decimal(str(reference_gpu_gb))
    router_s = Decimal(counters.get("r", 0)) / _MILLION
    router = _router(router_s, baseline, scale)
    whole = _sum_of(parts, baseline, scale) + router
    saved = whole.baseline_cost_units - whole.cost_units
    return {
        "calls": sum(n for _, n in family(counters, "c", 3)),
        "failed_calls": sum(n for (_, end, _), n in family(counters, "c", 3) if end == NOBODY),
        "tokens": sum(part.tokens for part in parts),
        "tokens_saved": int(saved / baseline.spec.cost_weight),
        "cost_reduction_pct": (
            float(100 * saved / whole.baseline_cost_units) if whole.baseline_cost_units else 0.0
        ),
        **whole.report(),
        "measured": _report([p for p in parts if p.measured], baseline, scale),
        "estimated": _report([p for p in parts if not p.measured], baseline, scale),
        "failed_attempts": _spent([p for p in parts if p.failed], baseline, scale),
        "router": {"seconds": float(router_s), **_own(router)},
        "baseline": {
            "tier": baseline.tier.value,
            "model_id": baseline.spec.model_id,
            "s_per_token": float(baseline.s_per_token),
            "basis": baseline.basis,
            "attempts": baseline.attempts,
            "reference_gpu_gb": reference_gpu_gb,
        },
    }


def _parts(counters: Mapping[str, int], specs: Mapping[Tier, TierSpec]) -> Iterable[_Part]:
    for tier, spec in specs.items():
        for end in ("answered", "abandoned", "failed"):
            for how in "me":
                name = f"{tier.value}/{end}/{how}"
                yield _Part(
                    spec=spec,
                    failed=end == "failed",
                    measured=how == "m",
                    input_tokens=counters.get(f"k/{name}/i", 0),
                    output_tokens=counters.get(f"k/{name}/o", 0),
                    seconds=Decimal(counters.get(f"s/{name}", 0)) / _MILLION,
                )


def _sum_of(parts: Iterable[_Part], baseline: Baseline, scale: Decimal) -> _Sum:
    return sum((_priced(part, baseline, scale) for part in parts), _Sum())


def _priced(part: _Part, baseline: Baseline, scale: Decimal) -> _Sum:
    """One part; what a failed attempt spent, the baseline would not have needed."""
    spent = _Sum(
        cost_units=part.spec.cost_weight * part.tokens,
        usd=_usd(part.spec, part.input_tokens, part.output_tokens),
        gpu_s=part.seconds * _gpu_share(part.spec, scale),
    )
    if part.failed:
        return spent
    own = part.spec.tier is baseline.tier
    seconds = part.seconds if own else baseline.seconds(part.input_tokens, part.output_tokens)
    return spent + _Sum(
        baseline_cost_units=baseline.spec.cost_weight * part.tokens,
        baseline_usd=_usd(baseline.spec, part.input_tokens, part.output_tokens),
        baseline_gpu_s=seconds * _gpu_share(baseline.spec, scale),
    )


def _router(seconds: Decimal, baseline: Baseline, scale: Decimal) -> _Sum:
    """The router's time as if the baseline's GPUs had written tokens meanwhile: the dearest way."""
    tokens = seconds / baseline.s_per_token
    price = baseline.spec.output_usd_per_million
    return _Sum(
        cost_units=baseline.spec.cost_weight * tokens,
        usd=Decimal(0) if price is None else tokens * price / _MILLION,
        gpu_s=seconds * _gpu_share(baseline.spec, scale),
    )


def _report(parts: list[_Part], baseline: Baseline, scale: Decimal) -> dict[str, Any]:
    tokens = {
        "input_tokens": sum(part.input_tokens for part in parts),
        "output_tokens": sum(part.output_tokens for part in parts),
    }
    return tokens | _sum_of(parts, baseline, scale).report()


def _spent(parts: list[_Part], baseline: Baseline, scale: Decimal) -> dict[str, Any]:
    return {"tokens": sum(p.tokens for p in parts), **_own(_sum_of(parts, baseline, scale))}


def _own(spent: _Sum) -> dict[str, Any]:
    report = spent.report()
    return {name: report[name] for name in ("cost_units", "usd", "gpu_hours")}


def _usd(spec: TierSpec, input_tokens: int, output_tokens: int) -> Decimal | None:
    """Dollars; None where tokens were used and a price is not known."""
    prices = (spec.input_usd_per_million, spec.output_usd_per_million)
    total = Decimal(0)
    for price, tokens in zip(prices, (input_tokens, output_tokens), strict=True):
        if tokens and price is None:
            return None
        total += tokens * (price or 0) / _MILLION
    return total


def _gpu_share(spec: TierSpec, scale: Decimal) -> Decimal:
    return Decimal(str(spec.gpu_memory_gb)) / scale


def _both(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else one + other


def _rounded(value: Decimal | None) -> Any:
    """A millionth exact, without trailing zeros' noise in what is whole."""
    if value is None:
        return None
    rounded = value.quantize(_MICRO)
    return rounded.quantize(Decimal(1)) if rounded == rounded.to_integral_value() else rounded
