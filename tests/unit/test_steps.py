"""Steps of an agent's turn: what kind they are, which failed, and what the rules make of it."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from tiered_llm import ModelRouter, RoutingRequest, Tier, TieredChatModel, get_settings
from tiered_llm.chat_model.preparing import prepare
from tiered_llm.complexity import read_conversation
from tiered_llm.testing import FakeChatModel
from tiered_llm.types import ComplexityEstimate

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def step(tier="light", status="success", text="blue", invalid=False, calls=1):
    """An AI message that calls tools, and their results."""
    ids = [str(number) for number in range(calls)]
    made = [{"name": "look", "args": {}, "id": each, "type": "tool_call"} for each in ids]
    broken = {"name": "look", "args": "{", "id": "x", "error": "not JSON"}
    routing = {"routing": {"tier": tier}} if tier else {}
    ai = AIMessage(
        content="",
        tool_calls=made,
        invalid_tool_calls=[{**broken, "type": "invalid_tool_call"}] if invalid else [],
        response_metadata=routing,
    )
    return [ai, *(ToolMessage(text, tool_call_id=each, status=status) for each in ids)]


ASK = HumanMessage("look around")
FAILED, DONE = step(status="error"), step()


@pytest.mark.parametrize(
    ("messages", "failed"),
    [
        ([ASK], 0),
        ([ASK, *DONE], 0),
        ([ASK, *FAILED], 1),
        ([ASK, *FAILED, *FAILED], 2),
        ([ASK, *FAILED, *DONE], 0),
        ([ASK, *DONE, *FAILED], 1),
        ([ASK, *FAILED, *DONE, *FAILED, *FAILED], 2),
        ([ASK, *step(invalid=True)], 1),
        ([ASK, *step(invalid=True, calls=0)], 0),  # no result: the turn does not go on
        ([ASK, *FAILED, *FAILED, *step("standard", "error")], 1),  # the new tier's own
        ([ASK, *FAILED, *FAILED, HumanMessage("again"), *FAILED], 1),
        ([ASK, *step(None, "error"), *step(None, "error")], 2),
        ([ASK, *FAILED, AIMessage("I give up.")], 0),
    ],
)
def test_failed_steps_are_counted_from_the_turns_end(messages, failed):
    assert read_conversation(messages).failed_steps == failed


def test_of_parallel_calls_one_that_fails_is_enough():
    half = [*step(calls=2)[:2], ToolMessage("no", tool_call_id="1", status="error")]
    assert read_conversation([ASK, *half]).failed_steps == 1


@pytest.mark.parametrize(
    ("messages", "tools", "kind"),
    [
        ([ASK], [], "plain"),
        ([ASK], [TOOL], "planning"),
        ([ASK, *DONE], [TOOL], "acting"),
        ([ASK, *step(text="long " * 3_000)], [TOOL], "reading"),
        ([ASK, *step(text="long " * 3_000), *DONE], [TOOL], "acting"),
        ([ASK, *DONE, AIMessage("It is blue."), HumanMessage("and now?")], [TOOL], "planning"),
    ],
)
def test_a_steps_kind_is_told_from_messages_and_tools(messages, tools, kind, clean_environment):
    model = TieredChatModel(light=FakeChatModel(text="x"))
    bound = model.bind_tools(tools)
    arguments = dict(bound.kwargs) if tools else {}
    assert prepare(model, messages, None, arguments).request.step == kind


def decide(clean_environment=None, settings=None, **request):
    router = ModelRouter(settings or get_settings())
    estimate = ComplexityEstimate(score=0.1, recommended_tier=Tier.LIGHT)
    return router.decide(RoutingRequest(**request), estimate)


def test_a_kind_of_step_can_have_a_tier_of_its_own_in_mid_turn(clean_environment):
    turn = {"held_tier": Tier.HEAVY, "in_turn": True, "step": "reading"}
    assert decide(**turn).tier == "heavy"
    own = get_settings(routing={"step_tiers": {"reading": "light"}})
    decision = decide(settings=own, **turn)
    assert decision.tier == "light"
    assert str(decision.last_word) == "step: pick light: a step of reading"


@pytest.mark.parametrize(
    ("failed", "held", "tier"),
    [
        (1, "light", "light"),
        (2, "light", "standard"),
        (5, "standard", "heavy"),
        (2, "heavy", "heavy"),
    ],
)
def test_escalation_goes_one_tier_up_from_where_steps_failed(clean_environment, failed, held, tier):
    turn = {"held_tier": Tier(held), "in_turn": True, "failed_steps": failed}
    assert decide(**turn).tier == tier


def test_a_forced_tier_and_a_cap_stand_against_escalation(clean_environment):
    turn = {"held_tier": Tier.LIGHT, "in_turn": True, "failed_steps": 3}
    assert decide(**turn, forced_tier=Tier.LIGHT).tier == "light"
    capped = get_settings(routing={"tenant_caps": {"acme": "light"}})
    assert decide(settings=capped, tenant_id="acme", **turn).tier == "light"
    assert decide(**turn, budget_cap=Tier.LIGHT).tier == "light"
