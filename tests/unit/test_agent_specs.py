"""An agent inside another one: narrowed, never widened."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.runnables import RunnableLambda

from tiered_llm import AgentSpec, ModelRouter, RoutingRequest, Tier
from tiered_llm.chat_model.context import inherited, read_context
from tiered_llm.types import CRITICALITIES, ComplexityEstimate

tiers = st.sampled_from([None, *Tier])


@st.composite
def specs(draw):
    lowest, highest = draw(tiers), draw(tiers)
    if lowest and highest and lowest > highest:
        lowest, highest = highest, lowest
    return AgentSpec(
        name=draw(st.sampled_from(["a", "b"])),
        capabilities=tuple(draw(st.lists(st.sampled_from(["x", "y", "z"])))),
        criticality=draw(st.sampled_from(CRITICALITIES)),
        lowest_tier=lowest,
        highest_tier=highest,
        preferred_tier=draw(tiers),
    )


def allowed(spec):
    return {
        tier
        for tier in Tier
        if (spec.lowest_tier is None or tier >= spec.lowest_tier)
        and (spec.highest_tier is None or tier <= spec.highest_tier)
    }


def test_tiers_may_be_named():
    spec = AgentSpec(name="a", lowest_tier="light", highest_tier="standard", preferred_tier="light")
    assert (spec.lowest_tier, spec.highest_tier) == (Tier.LIGHT, Tier.STANDARD)
    assert isinstance(spec.preferred_tier, Tier)
    with pytest.raises(ValueError, match="huge"):
        AgentSpec(name="a", lowest_tier="huge")


@given(specs(), specs())
def test_an_inner_spec_never_widens_an_outer_one(inner, outer):
    both = inner.within(outer)
    assert allowed(both) <= allowed(outer)
    assert allowed(both) == (allowed(inner) & allowed(outer) or allowed(outer))
    levels = CRITICALITIES.index
    assert levels(both.criticality) == max(levels(inner.criticality), levels(outer.criticality))
    assert set(both.capabilities) == {*inner.capabilities, *outer.capabilities}
    assert both.name == inner.name


@given(specs())
def test_within_itself_or_nothing_it_is_itself(spec):
    assert spec.within(None) is spec
    assert allowed(spec.within(spec)) == allowed(spec)


@given(specs(), specs(), specs())
def test_three_deep_the_outermost_still_holds(inner, middle, outer):
    assert allowed(inner.within(middle.within(outer))) <= allowed(outer)


def test_a_calls_spec_stays_within_the_run_around_it():
    outer = {"configurable": {"agent_spec": {"name": "outer", "highest_tier": "standard"}}}
    inner = {"agent_spec": {"name": "inner", "highest_tier": "heavy", "criticality": "high"}}

    def call(_):
        return read_context({"configurable": inner}, {}).agent_spec

    spec = RunnableLambda(call).invoke(None, outer)
    assert (spec.name, spec.highest_tier, spec.criticality) == ("inner", "standard", "high")


def test_a_nodes_metadata_and_the_models_own_spec_bound_it_too():
    config = {"metadata": {"agent_spec": {"name": "node", "lowest_tier": "standard"}}}
    own = {"agent_spec": AgentSpec(name="model", highest_tier=Tier.STANDARD)}
    spec = read_context(config, own).agent_spec
    assert (spec.name, spec.lowest_tier, spec.highest_tier) == ("model", "standard", "standard")


def test_what_surrounds_an_agent_holds_where_its_own_bounds_leave_nothing():
    config = {"metadata": {"agent_spec": {"name": "node", "highest_tier": "standard"}}}
    own = {"agent_spec": AgentSpec(name="model", lowest_tier=Tier.HEAVY)}
    spec = read_context(config, own).agent_spec
    assert (spec.name, spec.lowest_tier, spec.highest_tier) == ("model", None, "standard")
    assert spec.overruled == "heavy"


@pytest.mark.parametrize(
    ("inner", "outer", "reason"),
    [
        ({"lowest_tier": "heavy"}, {"highest_tier": "standard"}, "agent_bounds: lower standard"),
        ({"highest_tier": "light"}, {"lowest_tier": "standard"}, "agent_bounds: raise standard"),
    ],
)
def test_a_bound_that_could_not_be_kept_is_in_the_reasons(inner, outer, reason, clean_environment):
    spec = AgentSpec(**inner).within(AgentSpec(**outer)).within(AgentSpec(criticality="low"))
    estimate = ComplexityEstimate(score=0.1, recommended_tier=Tier.LIGHT)
    decision = ModelRouter().decide(RoutingRequest(agent_spec=spec), estimate)
    asked = next(iter(inner.values()))
    why = f"{reason}: the agent's own bound, {asked}, lies outside of what surrounds it"
    assert why in [str(reason) for reason in decision.reasons]


def test_a_spec_that_leaves_its_name_open_has_the_outer_ones():
    assert AgentSpec(criticality="high").within(AgentSpec(name="clerk")).name == "clerk"


@given(specs(), specs())
def test_as_metadata_each_spec_arrives_however_deep(inner, outer):
    merged = {**outer.as_metadata(), **inner.as_metadata()}
    assert json.loads(json.dumps(merged)) == merged
    spec = read_context({"metadata": merged}, {}).agent_spec
    assert allowed(spec) == allowed(inner.within(outer))
    assert spec.name == inner.name


def test_what_a_tool_runs_is_inside_of_its_agent():
    config = {"configurable": {"agent_spec": {"name": "tool", "highest_tier": "heavy"}}}
    with inherited(AgentSpec(name="agent", highest_tier=Tier.STANDARD)):
        with inherited(AgentSpec(name="deeper", highest_tier=Tier.HEAVY)):
            assert read_context(config, {}).agent_spec.highest_tier == "standard"
        assert read_context({}, {}).agent_spec.name == "agent"
    assert read_context(config, {}).agent_spec.highest_tier == "heavy"


@pytest.mark.parametrize("value", [{"hat": 1}, {"lowest_tier": "heavy", "highest_tier": "light"}])
def test_a_malformed_spec_is_refused_wherever_it_stands(value):
    with pytest.raises(Exception, match="agent_spec"):
        read_context({"metadata": {"agent_spec": value}}, {"agent_spec": AgentSpec(name="a")})
