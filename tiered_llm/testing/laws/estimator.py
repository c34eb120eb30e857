"""The laws of estimators.

```python
import pytest
from tiered_llm.testing.laws.estimator import EstimatorLaws


class TestMyEstimator(EstimatorLaws):
    @pytest.fixture
    def estimator(self):
        return MyEstimator()
```
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tiered_llm.complexity import Estimator
from tiered_llm.types import AgentSpec, RoutingRequest

if TYPE_CHECKING:
    from tiered_llm.types import ComplexityEstimate

SAMPLE_REQUESTS = (
    RoutingRequest(),
    RoutingRequest(message="Hello"),
    RoutingRequest(message="What is the capital of France?", history_length=3),
    RoutingRequest(
        message="Write a SQL query that counts orders by month.",
        agent_capabilities=("sql",),
        task_type="agent_execution",
    ),
    RoutingRequest(message="Summarize the report.", context_tokens=30_000, input_tokens=30_100),
    RoutingRequest(
        message="Analyze the security implications of a zero-trust architecture with mutual TLS",
        context_tokens=2_048,
        agent_capabilities=("security_analysis",),
        agent_spec=AgentSpec(name="auditor", criticality="high"),
    ),
    RoutingRequest(message="Vergleiche beide Verfahren und begründe die Wahl. " * 40),
    RoutingRequest(message="分析零信任架构的安全影响", history_length=200),
)
"""Requests of every kind, from an empty one to a critical one."""

HOSTILE_TEXTS = {
    "empty": ("", 1),
    "spaces": (" ", 100_000),
    "newlines": ("\n", 100_000),
    "one enormous word": ("a", 10_000_000),
    "ten megabytes of prose": ("The quick brown fox jumps over the lazy dog. ", 230_000),
    "base64": ("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0NTY3ODkrLw", 20_000),
    "brackets": ("((([[[{{{", 20_000),
    "near matches": ("zero-zero-tru ", 20_000),
    "emoji": ("👩‍👩‍👧‍👦🔥", 5_000),
    "Chinese": ("请分析系统的安全性。", 10_000),
    "Thai": ("วิเคราะห์ความปลอดภัย", 10_000),
    "Arabic": ("حلل أمن البنية ", 10_000),
    "stacked accents": ("a" + "\u0301" * 50, 1_000),
    "lone surrogates": ("\ud800 \udfff", 1_000),
    "control characters": ("\x00\x1b[31m\u202e", 1_000),
    "code": ("def f(x: int) -> int:\n    return x ** 2  # ok\n", 2_000),
}
"""Texts that have broken estimators, as a unit and how often it is repeated."""

_CANARY = "xq7wcanary"


class EstimatorLaws:
    """What any estimator must hold; subclass it and give a fixture named `estimator`."""

    @pytest.fixture
    def estimator(self) -> Estimator:
        """The estimator under test."""
        msg = "override the fixture `estimator` with one that returns yours"
        raise NotImplementedError(msg)

    def test_it_is_an_estimator(self, estimator: Estimator) -> None:
        """It has `estimate_request`."""
        assert isinstance(estimator, Estimator)

    @pytest.mark.parametrize("request_", SAMPLE_REQUESTS, ids=range(len(SAMPLE_REQUESTS)))
    def test_values_are_in_range(self, estimator: Estimator, request_: RoutingRequest) -> None:
        """The score and every factor are in [0, 1]."""
        estimate = estimator.estimate_request(request_)
        assert 0.0 <= estimate.score <= 1.0
        assert all(0.0 <= value <= 1.0 for value in estimate.factors.values())

    @pytest.mark.parametrize("request_", SAMPLE_REQUESTS, ids=range(len(SAMPLE_REQUESTS)))
    def test_it_is_deterministic(self, estimator: Estimator, request_: RoutingRequest) -> None:
        """The same request gives the same estimate."""
        assert estimator.estimate_request(request_) == estimator.estimate_request(request_)

    def test_tiers_follow_the_score(self, estimator: Estimator) -> None:
        """Of two requests, the one with the higher score is never sent to the lighter tier."""
        estimates = sorted(_estimates(estimator), key=lambda estimate: estimate.score)
        ranks = [estimate.recommended_tier.rank for estimate in estimates]
        assert ranks == sorted(ranks)

    @pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS)
    def test_no_text_breaks_it(self, estimator: Estimator, text: tuple[str, int]) -> None:
        """Whatever the text, there is an estimate, and its score is in [0, 1]."""
        unit, times = text
        estimate = estimator.estimate_request(RoutingRequest(message=unit * times))
        assert 0.0 <= estimate.score <= 1.0

    def test_no_number_breaks_it(self, estimator: Estimator) -> None:
        """Counts may be huge, or negative where a caller subtracted wrongly."""
        for number in (-1, 0, 10**12):
            request = RoutingRequest(message="x", context_tokens=number, history_length=number)
            assert 0.0 <= estimator.estimate_request(request).score <= 1.0

    @pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS)
    def test_the_scan_is_told(self, estimator: Estimator, text: tuple[str, int]) -> None:
        """It claims to have read no more than there is, and less only where it says so."""
        unit, times = text
        message = unit * times
        estimate = estimator.estimate_request(RoutingRequest(message=message))
        assert 0 <= estimate.scanned_chars <= len(message)
        assert not estimate.truncated or estimate.scanned_chars < len(message)

    def test_requests_are_left_alone(self, estimator: Estimator) -> None:
        """An estimate changes nothing in the request."""
        for request in SAMPLE_REQUESTS:
            before = replace(request)
            estimator.estimate_request(request)
            assert request == before

    def test_factor_names_are_stable(self, estimator: Estimator) -> None:
        """Every estimate has the same factors, so that they can be compared and charted."""
        names = {tuple(estimate.factors) for estimate in _estimates(estimator)}
        assert len(names) == 1

    def test_shares_sum_to_the_score(self, estimator: Estimator) -> None:
        """Shares belong to factors and sum to the score, unless the sum had to be clamped."""
        for estimate in _estimates(estimator):
            assert set(estimate.shares) <= set(estimate.factors)
            total = min(1.0, max(0.0, sum(estimate.shares.values())))
            assert not estimate.shares or abs(total - estimate.score) < 1e-6  # noqa: PLR2004

    def test_estimates_are_plain_json(self, estimator: Estimator) -> None:
        """`to_dict()` survives JSON unchanged and names who made the estimate."""
        for estimate in _estimates(estimator):
            plain = estimate.to_dict()
            assert json.loads(json.dumps(plain)) == plain
            assert estimate.estimator

    def test_prompts_do_not_leak(self, estimator: Estimator) -> None:
        """No text of the request but listed words, and no tenant or session, is in the result."""
        request = RoutingRequest(
            message=f"Analyze security of {_CANARY}.",
            tenant_id=f"tenant-{_CANARY}",
            session_id=f"session-{_CANARY}",
        )
        estimate = estimator.estimate_request(request)
        assert _CANARY not in json.dumps(estimate.to_dict())
        assert _CANARY not in estimate.explain()

    def test_threads_do_not_disturb_it(self, estimator: Estimator) -> None:
        """Used by many threads at once, it gives what it gives to one."""
        with ThreadPoolExecutor(8) as pool:
            at_once = list(pool.map(estimator.estimate_request, SAMPLE_REQUESTS * 8))
        assert at_once == _estimates(estimator) * 8

    def test_the_async_twin_agrees(self, estimator: Estimator) -> None:
        """Where there is an `aestimate_request`, it gives the same score."""
        twin = getattr(estimator, "aestimate_request", None)
        if twin is not None:
            for request in SAMPLE_REQUESTS:
                estimate = asyncio.run(twin(request))
                assert estimate.score == estimator.estimate_request(request).score


def _estimates(estimator: Estimator) -> list[ComplexityEstimate]:
    return [estimator.estimate_request(request) for request in SAMPLE_REQUESTS]
