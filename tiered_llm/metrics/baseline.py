"""What the same calls would have taken on the heaviest tier: its seconds for each token."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiered_llm.tiers import Tier, TierSpec

INPUT_TOKENS_PER_OUTPUT_TOKEN = 100
"""Input tokens that take as long as one output token. A model reads a prompt's tokens side by
side and writes its own one after the other; published measurements of 70B models on data-centre
GPUs lie between about fifty and some hundreds."""

DEFAULT_S_PER_TOKEN = Decimal("0.03")
"""Seconds for an output token where no heavy traffic was measured: some 33 tokens a second for
one stream, as 70B models show on their usual GPUs."""

MIN_ATTEMPTS = 10
"""Measured answers of the heaviest tier from which on they are believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The tier that everything is compared with, and how fast it is.

    Attributes:
        spec: The tier, with its weight, prices and GPU memory.
        s_per_token: Seconds for one output token, or for a hundred input tokens.
        basis: Where that comes from: `tenant`, `all_tenants` or `default`.
        attempts: How many answers were measured.
    """

    spec: TierSpec
    s_per_token: Decimal
    basis: str
    attempts: int

    @property
    def tier(self) -> Tier:
        """The tier's name."""
        return self.spec.tier

    def seconds(self, input_tokens: int, output_tokens: int) -> Decimal:
        """How long the tier would have taken for so many tokens."""
        return self.s_per_token * work(input_tokens, output_tokens)


def work(input_tokens: int, output_tokens: int) -> Decimal:
    """Tokens as output tokens, by the time that they take."""
    return output_tokens + Decimal(input_tokens) / INPUT_TOKENS_PER_OUTPUT_TOKEN


def baseline_of(
    own: Mapping[str, int],
    everybody: Mapping[str, int],
    specs: Mapping[Tier, TierSpec],
    default_s_per_token: Decimal = DEFAULT_S_PER_TOKEN,
) -> Baseline:
    """The heaviest tier, timed on the tenant's traffic, on everybody's, or by default."""
    heaviest = specs[max(specs, key=lambda tier: tier.rank)]
    for basis, counters in (("tenant", own), ("all_tenants", everybody)):
        attempts, s_per_token = _measured(counters, heaviest.tier)
        if attempts >= MIN_ATTEMPTS and s_per_token:
            return Baseline(spec=heaviest, s_per_token=s_per_token, basis=basis, attempts=attempts)
    return Baseline(spec=heaviest, s_per_token=default_s_per_token, basis="default", attempts=0)


def _measured(counters: Mapping[str, int], tier: Tier) -> tuple[int, Decimal]:
    """Measured answers of a tier, and their seconds for each token; 0 if they had none."""
    end = f"{tier.value}/answered"
    attempts = counters.get(f"a/{end}/m", 0)
    tokens = work(counters.get(f"k/{end}/m/i", 0), counters.get(f"k/{end}/m/o", 0))
    seconds = Decimal(counters.get(f"s/{end}/m", 0)) / 1_000_000
    return attempts, seconds / tokens if tokens else Decimal(0)
