"""The estimator: five factors, their weights, one score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tiered_llm.complexity import factors
from tiered_llm.complexity.lexicon import Lexicon
from tiered_llm.complexity.text import read_text
from tiered_llm.complexity.words import CAPABILITIES, KEYWORDS
from tiered_llm.settings import ComplexitySettings
from tiered_llm.tiers import Tier
from tiered_llm.types import ComplexityEstimate, RoutingRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tiered_llm.complexity.text import Reading


@runtime_checkable
class Estimator(Protocol):
    """Whatever can say how hard a request seems.

    `estimate_request` must be quick, since it runs before every call; the same request must
    give the same estimate, and no request may make it raise. An estimator that has to wait,
    for a model or a service, may offer `async def aestimate_request(self, request)` as well:
    asynchronous calls use it where it is present. `tiered_llm.testing.laws` holds an
    estimator of your own to all of this.
    """

    def estimate_request(self, request: RoutingRequest) -> ComplexityEstimate:
        """Estimate one request, without side effects."""
        ...


class ComplexityEstimator:
    """Scores a request by five weighted factors; deterministic, offline, a few microseconds.

    ```python
    estimator = ComplexityEstimator()
    estimate = await estimator.estimate(message="Hello", context_length=0)
    estimate.score, estimate.recommended_tier, estimate.explain()
    ```

    Safe to share between threads and event loops: nothing changes after construction.
    """

    name = "complexity/1"

    def __init__(self, settings: ComplexitySettings | None = None) -> None:
        """Prepare the word lists of the settings, or of the defaults."""
        self.settings = settings or ComplexitySettings()
        given = self.settings
        self._weights = tuple(given.weights.get(name, 0.0) for name in factors.FACTORS)
        self._lexicon = Lexicon(_merge(KEYWORDS, given.keywords, given.extra_keywords))
        capabilities = _merge(CAPABILITIES, given.capabilities, given.extra_capabilities)
        self._capabilities = {
            factors.capability_key(name): criticality for name, criticality in capabilities.items()
        }

    async def estimate(
        self,
        message: str,
        context_length: int = 0,
        agent_capabilities: Iterable[str] = (),
        history_length: int = 0,
    ) -> ComplexityEstimate:
        """Estimate a message.

        Args:
            message: The latest ask.
            context_length: Retrieved context, in tokens.
            agent_capabilities: What the asking agent can do, as plain words.
            history_length: Messages before this one.
        """
        return self.estimate_request(
            RoutingRequest(
                message=message,
                context_tokens=context_length,
                agent_capabilities=tuple(agent_capabilities),
                history_length=history_length,
            )
        )

    def estimate_request(self, request: RoutingRequest) -> ComplexityEstimate:
        """Estimate a request from its message, context, capabilities and history.

        Pure, never raises; linear in the message up to `max_scan_chars`, constant beyond.
        """
        reading = read_text(request.message, self.settings.max_scan_chars)
        found = self._lexicon.find(reading)
        values = self._values(request, reading, factors.keyword_signals(found.values()))
        shares = [value * weight for value, weight in zip(values, self._weights, strict=True)]
        score = min(1.0, max(0.0, sum(shares)))
        return ComplexityEstimate(
            score=score,
            factors=dict(zip(factors.FACTORS, values, strict=True)),
            shares=dict(zip(factors.FACTORS, shares, strict=True)),
            recommended_tier=self._tier(score),
            words=tuple(found),
            scanned_chars=reading.scanned_chars,
            truncated=reading.truncated,
            estimator=self.name,
        )

    def _values(
        self, request: RoutingRequest, reading: Reading, keywords: float
    ) -> tuple[float, ...]:
        """The factors' values, in the order of `FACTORS`."""
        given = self.settings
        return (
            factors.message_complexity(
                word_count=reading.word_count,
                distinct_letters=reading.distinct_letters,
                sentences=reading.sentences,
                longest_sentence=reading.longest_sentence,
            ),
            factors.context_requirement(request.context_tokens, given.context_saturation_tokens),
            factors.capability_criticality(
                request.agent_capabilities, self._capabilities, keywords
            ),
            factors.conversation_depth(request.history_length, given.history_saturation),
            keywords,
        )

    def _tier(self, score: float) -> Tier:
        if score < self.settings.light_below:
            return Tier.LIGHT
        return Tier.STANDARD if score < self.settings.heavy_from else Tier.HEAVY


def _merge(
    default: Mapping[str, float], own: Mapping[str, float] | None, extra: Mapping[str, float]
) -> dict[str, float]:
    return {**(default if own is None else own), **extra}
