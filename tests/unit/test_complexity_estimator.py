"""The estimator: acceptance of the original design, its laws, its mix of tiers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiered_llm.complexity import ComplexityEstimator, Estimator
from tiered_llm.complexity.factors import FACTORS
from tiered_llm.complexity.words import CAPABILITIES, KEYWORDS
from tiered_llm.settings import ComplexitySettings
from tiered_llm.tiers import Tier
from tiered_llm.types import RoutingRequest

ESTIMATOR = ComplexityEstimator()

ANALYSES = [
    "Analyze the security implications of a zero-trust architecture with mutual TLS",
    "Analyse the security implications of a zero-trust architecture with mutual TLS.",
    (
        "Analyze the security implications of implementing a zero-trust architecture "
        "with mutual TLS authentication"
    ),
    "Please analyse security implications: zero trust architecture, mTLS",
    "analyze the security of our zero trust architecture using mutual tls",
]


def score(message="", **known):
    return ESTIMATOR.estimate_request(RoutingRequest(message=message, **known)).score


async def test_a_greeting_is_light():
    estimate = await ESTIMATOR.estimate(message="Hello", context_length=0)
    assert estimate.score < 0.3
    assert estimate.recommended_tier == "light"


@pytest.mark.parametrize("message", ANALYSES)
async def test_a_security_analysis_is_heavy(message):
    estimate = await ESTIMATOR.estimate(
        message=message, context_length=2048, agent_capabilities=["security_analysis"]
    )
    assert estimate.score > 0.7
    assert estimate.recommended_tier == "heavy"


async def test_the_seed_call():
    estimate = await ESTIMATOR.estimate(
        message=ANALYSES[0],
        context_length=1024,
        agent_capabilities=["security_analysis", "architecture"],
        history_length=5,
    )
    assert set(estimate.factors) == set(FACTORS)
    assert estimate.score == pytest.approx(sum(estimate.shares.values()))
    assert "zero-trust" in estimate.words
    assert estimate.explain().startswith(f"{estimate.score:.2f}, heavy: ")


@pytest.mark.parametrize(
    "message",
    [
        "",
        "Hi!",
        "Thanks, that helped.",
        "What is the capital of France and how many people live there?",
        "What is TLS?",
        "Is this email spam? Answer yes or no.",
        "Translate 'good morning, how are you?' into Italian.",
        "Extract the names, dates and amounts from the invoice below as JSON.",
        "Wie wird das Wetter morgen in Berlin?",
        "¿A qué hora abre la tienda los domingos?",
        "今天天气怎么样？",  # noqa: RUF001 -- meant as it is
    ],
)
def test_everyday_questions_are_light(message):
    assert score(message) < 0.3


@pytest.mark.parametrize(
    ("message", "known"),
    [
        ("Find the open tickets of this week and draft a reply to each.", {"context_tokens": 900}),
        ("Write a Python function that merges two sorted lists, with unit tests.", {}),
        ("Summarize the attached contract for a manager.", {"context_tokens": 6_000}),
        ("Book the cheapest flight that arrives before noon.", {"history_length": 8}),
    ],
)
def test_agent_tasks_are_standard(message, known):
    capabilities = ("tools", "code")
    assert 0.3 <= score(message, agent_capabilities=capabilities, **known) < 0.7


@pytest.mark.parametrize(
    "message",
    [
        "Design a multi-region architecture with event sourcing; discuss trade-offs.",
        "Analysiere die Sicherheit der Architektur und bewerte die Verschlüsselung.",
        "Analysez la sécurité de cette architecture et évaluez les menaces.",
        "分析零信任架构的安全影响，并评估风险。",  # noqa: RUF001 -- meant as it is
        "ゼロトラストアーキテクチャのセキュリティを分析してください。",
        "Проанализируйте безопасность архитектуры и шифрование.",
    ],
)
def test_hard_asks_are_not_light_in_any_language(message):
    assert score(message) >= 0.3


TEXTS = st.one_of(st.text(max_size=200), st.sampled_from(ANALYSES))
COUNTS = st.integers(0, 10**7)
CAPABILITY = st.one_of(st.sampled_from(sorted(CAPABILITIES)), st.text(max_size=12))


@given(TEXTS, st.sampled_from(sorted(KEYWORDS)))
def test_a_keyword_never_lowers_the_score(message, keyword):
    assert score(message) <= score(f"{message} {keyword}")


@given(TEXTS, st.text(max_size=100))
def test_more_text_never_lowers_the_score(message, more):
    assert score(message) <= score(f"{message}\n{more}")


@given(TEXTS, COUNTS, COUNTS)
def test_longer_context_never_lowers_the_score(message, tokens, more):
    assert score(message, context_tokens=tokens) <= score(message, context_tokens=tokens + more)


@given(TEXTS, COUNTS, COUNTS)
def test_more_history_never_lowers_the_score(message, length, more):
    assert score(message, history_length=length) <= score(message, history_length=length + more)


@given(TEXTS, st.lists(CAPABILITY, max_size=4), CAPABILITY)
def test_one_more_capability_never_lowers_the_score(message, capabilities, one_more):
    known, more = tuple(capabilities), (*capabilities, one_more)
    assert score(message, agent_capabilities=known) <= score(message, agent_capabilities=more)


@given(TEXTS, COUNTS, COUNTS, st.lists(CAPABILITY, max_size=4))
def test_the_score_and_factors_stay_in_range(message, tokens, length, capabilities):
    estimate = ESTIMATOR.estimate_request(
        RoutingRequest(
            message=message,
            context_tokens=tokens,
            history_length=length,
            agent_capabilities=tuple(capabilities),
        )
    )
    assert 0.0 <= estimate.score <= 1.0
    assert all(0.0 <= value <= 1.0 for value in estimate.factors.values())


def test_a_cut_scan_is_visible():
    estimate = ComplexityEstimator(ComplexitySettings(max_scan_chars=100)).estimate_request(
        RoutingRequest(message="word " * 100)
    )
    assert estimate.truncated
    assert estimate.scanned_chars == 100
    assert "only the first 100 characters" in estimate.explain()


def test_a_keyword_beyond_the_scan_is_not_seen():
    settings = ComplexitySettings(max_scan_chars=50)
    request = RoutingRequest(message=" " * 60 + "security")
    assert ComplexityEstimator(settings).estimate_request(request).words == ()


def test_word_lists_are_replaced_and_extended():
    own = ComplexityEstimator(ComplexitySettings(keywords={"frobnicate": 1.0}))
    assert own.estimate_request(RoutingRequest(message="frobnicate security")).words == (
        "frobnicate",
    )
    more = ComplexityEstimator(
        ComplexitySettings(
            extra_keywords={"frobnicate": 1.0}, extra_capabilities={"Frob Handling": 1.0}
        )
    ).estimate_request(
        RoutingRequest(message="frobnicate security", agent_capabilities=("frob_handling",))
    )
    assert more.words == ("frobnicate", "security")
    assert more.factors["capability_criticality"] == 1.0


def test_weights_and_thresholds_are_settings():
    weights = dict.fromkeys(FACTORS, 0.0) | {"context_requirement": 1.0}
    settings = ComplexitySettings(weights=weights, light_below=0.1, heavy_from=0.5)
    estimator = ComplexityEstimator(settings)
    tiers = [
        estimator.estimate_request(RoutingRequest(message="x", context_tokens=n)).recommended_tier
        for n in (0, 128, 8_192)
    ]
    assert tiers == [Tier.LIGHT, Tier.STANDARD, Tier.HEAVY]


def test_the_score_never_is_nan():
    assert not any(math.isnan(score(text)) for text in ("", "\x00", "\ud800"))


def test_it_is_an_estimator():
    assert isinstance(ESTIMATOR, Estimator)
    assert not isinstance(object(), Estimator)
