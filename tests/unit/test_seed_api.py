"""The calls of the original design, as they were written there."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from tiered_llm import (
    AllTiersFailedError,
    BudgetManager,
    ComplexityEstimator,
    ConfigurationError,
    FallbackChain,
    ModelMetricsCollector,
    ModelRouter,
    NoCapableTierError,
    RoutingDecision,
    Tier,
    TierSpec,
    get_settings,
)
from tiered_llm.testing import FakeChatModel, Fault

HARD = "Analyze the security implications of a zero-trust architecture with mutual TLS"


@pytest.fixture
def settings(clean_environment):
    return get_settings()


@pytest.fixture
def router(settings):
    return ModelRouter(settings)


@pytest.fixture
def estimator():
    return ComplexityEstimator()


async def test_a_greeting_is_light(estimator):
    complexity = await estimator.estimate(message="Hello")
    assert complexity.score < 0.3
    assert complexity.recommended_tier == "light"


async def test_a_security_analysis_is_heavy(estimator):
    complexity = await estimator.estimate(
        message=HARD, context_length=2048, agent_capabilities=["security_analysis"]
    )
    assert complexity.score > 0.7
    assert complexity.recommended_tier == "heavy"


async def test_an_estimate_has_the_seeds_fields(estimator):
    complexity = await estimator.estimate(
        message="Draw up a migration plan.",
        context_length=1024,
        agent_capabilities=["security_analysis", "architecture"],
        history_length=5,
    )
    assert isinstance(complexity.score, float)
    assert 0.0 <= complexity.score <= 1.0
    assert set(complexity.factors) == {
        "message_complexity",
        "context_requirement",
        "capability_criticality",
        "conversation_depth",
        "keyword_signals",
    }
    assert complexity.recommended_tier in {"light", "standard", "heavy"}


def test_the_settings_have_the_seeds_defaults(settings):
    assert settings.routing_enabled is True
    assert settings.token_budget_daily == 1_000_000
    assert settings.token_budget_monthly == 20_000_000


@pytest.mark.parametrize(
    ("tier", "model_id", "cost_weight", "gpu_memory_gb"),
    [
        ("light", "ollama/qwen2.5:7b", 1, 8),
        ("standard", "ollama/qwen2.5:32b", 3, 32),
        ("heavy", "vllm/qwen2.5:72b", 10, 72),
    ],
)
def test_the_tiers_are_the_seeds(settings, tier, model_id, cost_weight, gpu_memory_gb):
    spec = settings.spec(tier)
    assert (spec.tier.value, spec.model_id) == (tier, model_id)
    assert (spec.cost_weight, spec.gpu_memory_gb) == (cost_weight, gpu_memory_gb)


@pytest.mark.parametrize(
    ("variable", "value", "read"),
    [
        ("MODEL_ROUTING_ENABLED", "false", lambda s: s.routing_enabled is False),
        ("MODEL_LIGHT", "ollama/phi4", lambda s: s.spec("light").model_id == "ollama/phi4"),
        ("MODEL_STANDARD", "ollama/a", lambda s: s.spec("standard").model_id == "ollama/a"),
        ("MODEL_HEAVY", "vllm/b", lambda s: s.spec("heavy").model_id == "vllm/b"),
        ("TOKEN_BUDGET_DAILY", "5", lambda s: s.token_budget_daily == 5),
        ("TOKEN_BUDGET_MONTHLY", "50", lambda s: s.token_budget_monthly == 50),
    ],
)
def test_the_seeds_variables_are_read(clean_environment, monkeypatch, variable, value, read):
    monkeypatch.setenv(variable, value)
    if variable == "TOKEN_BUDGET_MONTHLY":
        monkeypatch.setenv("TOKEN_BUDGET_DAILY", "5")
    assert read(get_settings())


async def test_a_score_is_routed_to_its_tier(router, estimator):
    complexity = await estimator.estimate(
        message=HARD, context_length=2048, agent_capabilities=["security_analysis"]
    )
    model_config = router.route(
        task_type="security_analysis", complexity_score=complexity.score, agent_spec=None
    )
    assert model_config.tier.value == "heavy"
    assert model_config.model_id == "vllm/qwen2.5:72b"


@pytest.mark.parametrize(
    ("score", "tier"),
    [(0.0, "light"), (0.29, "light"), (0.3, "standard"), (0.69, "standard"), (0.7, "heavy")],
)
def test_the_thresholds_are_the_seeds(router, score, tier):
    assert router.route(task_type=None, complexity_score=score, agent_spec=None).tier == tier


def test_with_routing_disabled_one_fixed_tier_serves_all(clean_environment, monkeypatch):
    monkeypatch.setenv("MODEL_ROUTING_ENABLED", "false")
    router = ModelRouter(get_settings())
    served = {router.route(task_type=None, complexity_score=s).tier for s in (0.0, 0.5, 1.0)}
    assert served == {Tier.HEAVY}


@pytest.mark.parametrize("tenant_id", ["acme", uuid4(), None])
def test_a_decision_is_constructed_as_in_the_seed(tenant_id):
    decision = RoutingDecision(
        timestamp=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        tenant_id=tenant_id,
        task_type="security_analysis",
        selected_tier="heavy",
        estimated_complexity=0.74,
        tokens_used=1_200,
        latency_ms=850.0,
    )
    assert decision.selected_tier is Tier.HEAVY
    assert decision.tenant_id == (None if tenant_id is None else str(tenant_id))
    assert (decision.estimated_complexity, decision.tokens_used) == (0.74, 1_200)


def test_a_decisions_time_without_a_zone_is_utc():
    naive = datetime(2026, 1, 2, 3, 4)  # noqa: DTZ001 - as the seed's callers pass it
    decision = RoutingDecision(timestamp=naive, selected_tier=Tier.LIGHT)
    assert decision.timestamp == naive.replace(tzinfo=UTC)


MESSAGES = [{"role": "user", "content": "Hello"}]


async def test_a_fallback_chain_answers_and_names_the_tier(simulated_tiers):
    specs = simulated_tiers.specs
    standard, heavy = specs["standard"], specs["heavy"]
    simulated_tiers.standard.script("qwen2.5:32b", Fault.status(503))
    response, actual_tier = await FallbackChain(tiers=[standard, heavy]).execute_with_fallback(
        messages=MESSAGES, preferred_tier=standard
    )
    assert response.text
    assert actual_tier.tier == "heavy"
    assert [a["tier"] for a in response.response_metadata["routing"]["attempts"]] == [
        "standard",
        "heavy",
    ]


async def test_a_fallback_chain_takes_a_client_for_all_or_one_for_each(simulated_tiers):
    chain = FallbackChain(tiers=simulated_tiers.specs.values())
    client = FakeChatModel(text="from the client")
    response, spec = await chain.execute_with_fallback(client, MESSAGES, "standard")
    assert (response.text, spec.tier) == ("from the client", Tier.STANDARD)
    assert client.calls[0][0][0].content == "Hello"
    made = {}

    def make(spec):
        made[spec.tier] = FakeChatModel(text=spec.model_id)
        return made[spec.tier]

    response, spec = await chain.execute_with_fallback(make, MESSAGES)
    assert (response.text, spec.tier) == ("ollama/qwen2.5:7b", Tier.LIGHT)
    assert set(made) == set(Tier)


async def test_a_fallback_chain_says_what_cannot_be(simulated_tiers):
    light = simulated_tiers.specs["light"]
    chain = FallbackChain(tiers=[light])
    with pytest.raises(ConfigurationError, match="heavy is none of the chain's tiers; use light"):
        await chain.execute_with_fallback(messages=MESSAGES, preferred_tier="heavy")
    with pytest.raises(NoCapableTierError, match="do not fit its window"):
        await chain.execute_with_fallback(messages=[{"role": "user", "content": "word " * 200_000}])
    simulated_tiers.light.always("qwen2.5:7b", Fault.status(404))
    with pytest.raises(AllTiersFailedError):
        await chain.execute_with_fallback(messages=MESSAGES)
    with pytest.raises(ConfigurationError, match="two are for light"):
        FallbackChain(tiers=[light, light])
    with pytest.raises(ConfigurationError, match="none is given"):
        FallbackChain(tiers=[])


async def test_what_does_not_fit_the_preferred_tier_begins_with_the_next(simulated_tiers):
    small = simulated_tiers.specs["light"].model_copy(update={"context_window": 3})
    chain = FallbackChain(tiers=[small, simulated_tiers.specs["standard"]])
    long = [{"role": "user", "content": "Rather more than three tokens of text, to be sure."}]
    _, spec = await chain.execute_with_fallback(messages=long, preferred_tier=small)
    assert spec.tier == "standard"
    assert isinstance(spec, TierSpec)


def test_a_budget_is_checked_charged_and_reported(settings):
    budget_manager = BudgetManager(
        default_daily_limit=settings.token_budget_daily,
        default_monthly_limit=settings.token_budget_monthly,
    )
    tenant_id = uuid4()
    assert budget_manager.check_budget(tenant_id, 999_000) is True
    budget_manager.record_usage(
        tenant_id=tenant_id,
        model_tier=settings.spec("light").tier,
        input_tokens=1_500,
        output_tokens=500,
        complexity_score=0.1,
    )
    assert budget_manager.check_budget(tenant_id, 999_000) is False
    report = budget_manager.get_savings_report(tenant_id)
    assert (report["tokens_saved"], report["cost_reduction_pct"]) == (1_800, 90.0)


def test_decisions_are_recorded_and_reported():
    metrics = ModelMetricsCollector()
    tenant_id = uuid4()
    for tier, tokens in (("light", 1_000), ("light", 1_000), ("heavy", 2_000)):
        metrics.record_decision(
            RoutingDecision(
                timestamp=datetime.now(UTC),
                tenant_id=tenant_id,
                task_type="security_analysis",
                selected_tier=tier,
                estimated_complexity=0.5,
                tokens_used=tokens,
                latency_ms=850.0,
            )
        )
    mix = metrics.get_tier_distribution(tenant_id, period_hours=24)["tiers"]
    assert (mix["light"]["answered"], mix["heavy"]["answered"]) == (2, 1)
    savings = metrics.get_savings_estimate(tenant_id, period_hours=24)
    assert savings["tokens_saved"] == 1_800
    assert savings["gpu_hours_saved"] != 0
    hours = json.loads(metrics.export_metrics(tenant_id, period_hours=24))["hours"]
    assert sum(hour["answered"] for hour in hours) == 3
    assert json.loads(metrics.export_metrics(uuid4(), period_hours=24))["hours"] == []
    assert metrics.dropped == 0
