"""The router: rules in order, bars that hold, reasons for everything."""

from __future__ import annotations

from types import MappingProxyType
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiered_llm.errors import ConfigurationError, NoCapableTierError
from tiered_llm.routing import (
    DEFAULT_RULES,
    Avoid,
    Bar,
    Lower,
    ModelRouter,
    Pick,
    Raise,
    fallback_order,
)
from tiered_llm.settings import get_settings
from tiered_llm.tiers import Ability, Tier, TierSpec
from tiered_llm.types import AgentSpec, ComplexityEstimate, RoutingDecision, RoutingRequest

LIGHT, STANDARD, HEAVY = Tier


def router(**overrides):
    return ModelRouter(get_settings(**overrides))


def decide(score=0.0, settings=None, specs=None, rules=DEFAULT_RULES, **request):
    deciding = ModelRouter(settings or get_settings(), specs=specs, rules=rules)
    estimate = ComplexityEstimate(score=score, recommended_tier=deciding.tier_for(score))
    return deciding.decide(RoutingRequest(**request), estimate)


def spec(tier, **fields):
    return TierSpec(tier=tier, model_id="ollama/m", **fields)


def rules_of(decision):
    return [reason.rule for reason in decision.reasons]


@pytest.mark.parametrize(
    ("score", "tier"),
    [(0, LIGHT), (0.29, LIGHT), (0.3, STANDARD), (0.69, STANDARD), (0.7, HEAVY), (1, HEAVY)],
)
def test_the_score_alone_picks_by_the_thresholds(score, tier):
    assert decide(score).tier == tier


def test_thresholds_come_from_the_settings():
    settings = get_settings(complexity={"light_below": 0.1, "heavy_from": 0.2})
    assert [decide(s, settings).tier for s in (0.05, 0.15, 0.25)] == [LIGHT, STANDARD, HEAVY]


def test_the_seeds_route_returns_the_tiers_spec():
    chosen = router().route(task_type="security_analysis", complexity_score=0.1, agent_spec=None)
    assert (chosen.tier.value, chosen.model_id) == ("heavy", "vllm/qwen2.5:72b")


@pytest.mark.parametrize(
    ("task", "tier"),
    [("intent_classification", LIGHT), ("skill_invocation", STANDARD), ("thinking", HEAVY)],
)
def test_a_known_task_type_tells_more_than_the_score(task, tier):
    for score in (0.0, 0.5, 1.0):
        assert decide(score, task_type=task).tier == tier


def test_an_unknown_task_type_says_nothing():
    decision = decide(0.5, task_type="gardening")
    assert decision.tier == STANDARD
    assert "task_type" not in rules_of(decision)


def test_the_kill_switch_sends_everything_to_one_tier_and_nowhere_else():
    settings = get_settings(routing_enabled=False, fixed_tier="standard")
    decision = decide(0.9, settings, task_type="thinking", input_tokens=10**9, forced_tier=LIGHT)
    assert decision.order == (STANDARD,)
    assert set(rules_of(decision)) == {"kill_switch"}


def test_the_kill_switch_takes_the_heaviest_tier_where_none_is_fixed():
    assert decide(0.0, get_settings(routing_enabled=False)).order == (HEAVY,)


def test_a_forced_tier_stands_alone():
    decision = decide(0.9, forced_tier=LIGHT)
    assert decision.order == (LIGHT,)
    assert str(decision.last_word) == "forced_tier: pick light: the caller forces it"


def test_a_forced_tier_that_cannot_serve_is_an_error_that_says_why():
    with pytest.raises(NoCapableTierError) as caught:
        decide(forced_tier=LIGHT, input_tokens=50_000)
    assert "do not fit its window" in str(caught.value.failures[LIGHT])
    assert caught.value.failures[HEAVY][0] == "the caller forces light"


def test_a_forced_tier_that_is_not_configured_is_named():
    with pytest.raises(NoCapableTierError, match="heavy, which is not configured"):
        decide(forced_tier=HEAVY, specs={LIGHT: spec(LIGHT)})


def test_an_agents_preference_overrides_score_and_task():
    agent = AgentSpec(preferred_tier=LIGHT)
    assert decide(0.9, task_type="thinking", agent_spec=agent).tier == LIGHT


def test_an_agents_bounds_hold_for_the_fallbacks_too():
    agent = AgentSpec(lowest_tier=STANDARD)
    decision = decide(0.0, agent_spec=agent)
    assert decision.order == (STANDARD, HEAVY)
    assert decide(1.0, agent_spec=AgentSpec(highest_tier=STANDARD)).order == (STANDARD, LIGHT)


@pytest.mark.parametrize(("criticality", "tier"), [("normal", LIGHT), ("critical", HEAVY)])
def test_a_critical_agent_is_raised_to_heavy(criticality, tier):
    assert decide(0.0, agent_spec=AgentSpec(criticality=criticality)).tier == tier


def test_a_critical_capability_is_raised_to_heavy():
    settings = get_settings(routing={"critical_capabilities": ["payments"]})
    assert decide(0.0, settings, agent_capabilities=("payments",)).tier == HEAVY
    assert decide(0.0, settings, agent_capabilities=("poetry",)).tier == LIGHT


def test_inside_a_turn_the_tier_of_the_ask_is_kept():
    assert decide(0.0, held_tier=HEAVY, in_turn=True).tier == HEAVY
    assert decide(0.0, held_tier=HEAVY, in_turn=False).tier == LIGHT


def test_the_held_tier_is_left_when_the_request_no_longer_fits_it():
    specs = {LIGHT: spec(LIGHT, context_window=1000), HEAVY: spec(HEAVY, context_window=9000)}
    decision = decide(0.0, specs=specs, held_tier=LIGHT, in_turn=True, input_tokens=2000)
    assert decision.tier == HEAVY
    assert decision.reasons[-1].because == "light is barred"


def test_turn_hold_can_be_switched_off():
    settings = get_settings(routing={"turn_hold": False})
    assert decide(0.0, settings, held_tier=HEAVY, in_turn=True).tier == LIGHT


@pytest.mark.parametrize(
    ("score", "held", "prefix", "tier"),
    [
        (0.35, LIGHT, 2000, LIGHT),  # 0.05 beyond the edge, 0.10 is the price
        (0.45, LIGHT, 2000, STANDARD),
        (0.35, LIGHT, 500, STANDARD),  # a short conversation costs little to read anew
        (0.65, HEAVY, 2000, HEAVY),
        (0.55, HEAVY, 2000, STANDARD),
        (0.25, STANDARD, 2000, STANDARD),
        (0.75, STANDARD, 2000, STANDARD),
        (0.85, STANDARD, 2000, HEAVY),
    ],
)
def test_across_turns_a_switch_must_pay_for_the_lost_prefix(score, held, prefix, tier):
    settings = get_settings(routing={"switch_margin": 0.05})
    assert decide(score, settings, held_tier=held, prefix_tokens=prefix).tier == tier


def test_the_price_of_a_switch_is_for_the_scores_sake_alone():
    settings = get_settings(routing={"switch_margin": 0.5, "critical_capabilities": ["audit"]})
    held = {"held_tier": LIGHT, "prefix_tokens": 4000}
    assert decide(0.4, settings, **held).tier == LIGHT
    assert decide(0.4, settings, **held, task_type="thinking").tier == HEAVY
    assert decide(0.4, settings, **held, agent_capabilities=("audit",)).tier == HEAVY
    assert decide(0.4, settings, **held, in_turn=True).tier == LIGHT
    assert "switch_margin" not in rules_of(decide(0.4, settings, **held, in_turn=True))


def test_without_a_margin_turns_switch_freely():
    assert decide(0.31, held_tier=LIGHT, prefix_tokens=10**6).tier == STANDARD


def test_a_tenants_cap_bars_what_lies_above_it_without_naming_the_tenant():
    settings = get_settings(routing={"tenant_caps": {"acme": "standard"}})
    decision = decide(0.9, settings, tenant_id="acme")
    assert decision.order == (STANDARD, LIGHT)
    assert "acme" not in str([str(reason) for reason in decision.reasons])
    assert decide(0.9, settings, tenant_id="other").tier == HEAVY


def test_a_tier_without_a_needed_ability_is_never_tried():
    specs = {LIGHT: spec(LIGHT, tools=False), STANDARD: spec(STANDARD), HEAVY: spec(HEAVY)}
    decision = decide(0.0, specs=specs, needs=frozenset({Ability.TOOLS}))
    assert decision.order == (STANDARD, HEAVY)
    assert decision.candidates == (STANDARD, HEAVY)


def test_input_and_wanted_output_must_fit_the_window():
    specs = {LIGHT: spec(LIGHT, context_window=8000, num_ctx=2000), HEAVY: spec(HEAVY)}
    assert decide(specs=specs, input_tokens=1400).tier == LIGHT  # 512 are kept for the answer
    assert decide(specs=specs, input_tokens=1500).tier == HEAVY
    assert decide(specs=specs, input_tokens=1500, max_output_tokens=100).tier == LIGHT


def test_when_no_tier_can_serve_the_error_says_which_failed_on_what():
    specs = {LIGHT: spec(LIGHT, context_window=100), HEAVY: spec(HEAVY, tools=False)}
    with pytest.raises(NoCapableTierError) as caught:
        decide(specs=specs, input_tokens=500, needs=frozenset({Ability.TOOLS}))
    assert set(caught.value.failures) == {LIGHT, HEAVY}
    assert "cannot do tools" in str(caught.value)


def test_a_missing_tier_is_replaced_by_the_nearest_a_stronger_one_first():
    specs = {LIGHT: spec(LIGHT), HEAVY: spec(HEAVY)}
    decision = decide(0.5, specs=specs)
    assert decision.order == (HEAVY, LIGHT)
    assert decision.reasons[-1].because == "standard is not configured"


def test_users_add_rules_of_their_own():
    def night_shift(view):
        if view.request.task_type == "batch":
            yield Lower(LIGHT, "batch work waits its turn")

    def quality_night(view):
        yield Raise(STANDARD, "tonight")
        yield Bar(HEAVY, "being repaired")

    decision = decide(0.9, rules=[*DEFAULT_RULES, night_shift, quality_night], task_type="batch")
    assert decision.order == (STANDARD, LIGHT)
    assert [str(r) for r in decision.reasons[-3:]] == [
        "night_shift: lower light: batch work waits its turn",
        "quality_night: raise standard: tonight",
        "quality_night: bar heavy: being repaired",
    ]


def test_a_rule_may_name_a_tier_by_its_name_say_nothing_and_have_no_name():
    class Named:
        def __call__(self, view):
            return [Pick("heavy", "by name"), Raise("light", "at least")]

    decision = decide(0.0, rules=[lambda view: None, Named()])
    assert decision.tier is HEAVY
    assert [str(reason) for reason in decision.reasons] == [
        "Named: pick heavy: by name",
        "Named: raise light: at least",
    ]


def test_a_fixed_tier_that_is_not_among_the_tiers_is_refused_at_the_start():
    settings = get_settings(routing_enabled=False, fixed_tier="heavy")
    with pytest.raises(ConfigurationError, match="heavy is not among the tiers"):
        ModelRouter(settings, specs={LIGHT: spec(LIGHT)})
    with pytest.raises(ConfigurationError, match="use one of light"):
        ModelRouter(settings).with_specs({LIGHT: spec(LIGHT)})


def test_a_final_pick_silences_the_rules_after_it():
    def first(_view):
        yield Pick(HEAVY, "because", final=True)

    decision = decide(0.0, rules=[first, *DEFAULT_RULES], input_tokens=10**9)
    assert decision.tier == HEAVY
    assert rules_of(decision) == ["first"]


@pytest.mark.parametrize(
    ("selected", "order"),
    [
        (LIGHT, (STANDARD, HEAVY)),
        (STANDARD, (HEAVY, LIGHT)),
        (HEAVY, (STANDARD, LIGHT)),
    ],
)
def test_fallback_escalates_first_and_then_goes_down(selected, order):
    assert fallback_order(selected, tuple(Tier)) == order


def test_an_ejected_tier_is_avoided_and_comes_last():
    decision = decide(0.0, ejected=(LIGHT,))
    assert decision.order == (STANDARD, HEAVY, LIGHT)
    assert decision.candidates == (LIGHT, STANDARD, HEAVY), "avoided is not barred"
    assert [str(reason) for reason in decision.reasons[-2:]] == [
        "health: avoid light: its endpoint keeps failing or asked for a pause",
        "nearest_tier: pick standard: light is avoided",
    ]
    assert decision.last_word.rule == "nearest_tier"


def test_an_ejected_fallback_comes_last():
    assert decide(0.0, ejected=(STANDARD,)).order == (LIGHT, HEAVY, STANDARD)


def test_the_last_tier_that_can_serve_is_taken_ejected_or_not():
    assert decide(0.0, ejected=tuple(Tier)).order == (LIGHT, STANDARD, HEAVY)
    assert decide(0.0, ejected=(LIGHT,), forced_tier=LIGHT).order == (LIGHT,)
    specs = {LIGHT: spec(LIGHT), HEAVY: spec(HEAVY, tools=False)}
    tools = frozenset({Ability.TOOLS})
    assert decide(0.0, specs=specs, needs=tools, ejected=(LIGHT,)).order == (LIGHT,)


def test_a_rule_of_ones_own_may_avoid_a_tier():
    def night(_view):
        yield Avoid(HEAVY, "asleep")

    assert decide(0.9, rules=[*DEFAULT_RULES, night]).order == (STANDARD, LIGHT, HEAVY)


def test_the_policy_version_changes_with_tiers_settings_and_rules():
    versions = {
        router().policy_version,
        router(complexity={"light_below": 0.2}).policy_version,
        ModelRouter(get_settings(), rules=DEFAULT_RULES[:3]).policy_version,
        ModelRouter(get_settings(), specs={LIGHT: spec(LIGHT)}).policy_version,
        ModelRouter(get_settings(), specs={LIGHT: spec(LIGHT, tools=False)}).policy_version,
    }
    assert len(versions) == 5
    assert router().policy_version == router().policy_version


tiers = st.sampled_from(list(Tier))


@given(
    score=st.floats(0, 1),
    task=st.sampled_from([None, "thinking", "simple_qa", "gardening"]),
    held=st.none() | tiers,
    in_turn=st.booleans(),
    tokens=st.integers(0, 60_000),
    needs=st.sets(st.sampled_from(list(Ability))).map(frozenset),
    low=st.none() | tiers,
    preferred=st.none() | tiers,
)
def test_what_is_chosen_can_serve_and_the_decision_explains_itself(**drawn):
    score, tokens, needs, low = (drawn[name] for name in ("score", "tokens", "needs", "low"))
    specs = {
        LIGHT: spec(LIGHT, context_window=4000, tools=False),
        STANDARD: spec(STANDARD, context_window=16_000),
        HEAVY: spec(HEAVY, vision=True),
    }
    request = {
        "agent_spec": AgentSpec(lowest_tier=low, preferred_tier=drawn["preferred"]),
        "task_type": drawn["task"],
        "held_tier": drawn["held"],
        "in_turn": drawn["in_turn"],
    }

    def able(tier):
        fits = tokens + 512 <= specs[tier].window_tokens
        return fits and all(map(specs[tier].able, needs)) and (low is None or tier >= low)

    possible = [tier for tier in Tier if able(tier)]
    if not possible:
        with pytest.raises(NoCapableTierError) as caught:
            decide(score, specs=specs, input_tokens=tokens, needs=needs, **request)
        assert set(caught.value.failures) == set(specs)
        return
    decision = decide(score, specs=specs, input_tokens=tokens, needs=needs, **request)
    assert list(decision.candidates) == sorted(decision.order) == possible
    assert decision.reasons


def test_a_decision_survives_json():
    agent = AgentSpec(lowest_tier=STANDARD)
    decision = decide(0.2, agent_spec=agent, tenant_id="t", session_id="s", task_type="x")
    assert RoutingDecision.from_json(decision.to_json()) == decision
    odd = RoutingDecision(
        selected_tier="light", tenant_id=uuid4(), factors=MappingProxyType({"a": 0.5})
    )
    assert RoutingDecision.from_json(odd.to_json()) == odd


@pytest.mark.parametrize("text", ["{}", "[]", '{"timestamp": "2026-01-01", "reasons": []}', "x"])
def test_what_is_no_decision_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011  # json's own error is one
        RoutingDecision.from_json(text)


def test_a_decisions_summary_keeps_the_tenant_out():
    decision = decide(0.2, tenant_id="acme-4711", session_id="thread-0815")
    assert "acme-4711" not in str(decision.summary())
    assert "thread-0815" not in str(decision.summary())
