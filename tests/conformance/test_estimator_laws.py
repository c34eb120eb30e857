"""The shipped estimator, and estimators such as a user might write, held to the laws."""

from __future__ import annotations

import pytest

from tiered_llm.complexity import ComplexityEstimator
from tiered_llm.settings import ComplexitySettings
from tiered_llm.testing.laws.estimator import EstimatorLaws
from tiered_llm.tiers import Tier
from tiered_llm.types import ComplexityEstimate


class PromptLength:
    """The simplest estimator there is: long prompts are hard."""

    def estimate_request(self, request):
        score = min(1.0, len(request.message) / 4_000)
        tier = Tier.LIGHT if score < 0.3 else Tier.HEAVY
        return ComplexityEstimate(score=score, recommended_tier=tier, estimator="length/1")

    async def aestimate_request(self, request):
        return self.estimate_request(request)


class TestComplexityEstimator(EstimatorLaws):
    @pytest.fixture
    def estimator(self):
        return ComplexityEstimator()


class TestShortSighted(EstimatorLaws):
    @pytest.fixture
    def estimator(self):
        settings = ComplexitySettings(max_scan_chars=10, keywords={"fox": 1.0}, light_below=0.05)
        return ComplexityEstimator(settings)


class TestPromptLength(EstimatorLaws):
    @pytest.fixture
    def estimator(self):
        return PromptLength()
