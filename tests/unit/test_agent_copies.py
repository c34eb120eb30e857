"""Copies of models for agents: one for each model and change, and no decision kept in any."""

from __future__ import annotations

import pytest

from tiered_llm import BudgetManager, TieredChatModel
from tiered_llm.agents.copies import MOST, Copies
from tiered_llm.testing import FakeChatModel


@pytest.fixture
def model(clean_environment):
    return TieredChatModel(light=FakeChatModel(text="hi"))


def test_a_copy_is_made_once_and_its_pipeline_too(model):
    copies, budget = Copies(), BudgetManager(default_daily_limit=10)
    copy = copies.of(model, budget=budget)
    assert (copy.budget, model.budget) == (budget, None)
    assert copies.of(model, budget=budget) is copy
    assert copies.of(model.model_copy(), budget=budget) is copy


def test_a_decision_goes_with_its_own_call_alone(model):
    copies, budget = Copies(), BudgetManager(default_daily_limit=10)
    decision = model.route("hello")
    decided = copies.of(model.with_decision(decision), budget=budget)
    assert decided.decided is decision
    plain = copies.of(model, budget=budget)
    assert plain.decided is None
    assert plain.stages is decided.stages


@pytest.mark.parametrize("changed", [{"task_type": "thinking"}, {"temperature": 0.5}])
def test_another_model_or_another_change_is_another_copy(model, changed):
    copies, budget = Copies(), BudgetManager(default_daily_limit=10)
    copy = copies.of(model, budget=budget)
    other = copies.of(model.model_copy(update=changed), budget=budget)
    assert {name: getattr(other, name) for name in changed} == changed
    assert copies.of(model, budget=BudgetManager(default_daily_limit=10)) is not copy


def test_the_oldest_goes_where_there_are_too_many(model):
    copies, budget = Copies(), BudgetManager(default_daily_limit=10)
    first = copies.of(model, budget=budget)
    for number in range(MOST):
        copies.of(model.model_copy(update={"task_type": str(number)}), budget=budget)
    assert copies.of(model, budget=budget) is not first
