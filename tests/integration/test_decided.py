"""A decision made beforehand is kept to, and everything else stays what it is."""

from __future__ import annotations

import pytest
from wiring import to

from tiered_llm import BudgetManager, ModelMetricsCollector, NoCapableTierError
from tiered_llm.fallback import Health
from tiered_llm.testing import Fault

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.fixture
def model(wired):
    return wired(health=Health())


def tier_of(answer):
    return answer.response_metadata["routing"]["tier"]


def test_where_a_call_would_go_is_where_it_goes(model):
    for words in ("hello", "Assess the security of a zero-trust architecture, step by step."):
        config = {"configurable": {"task_type": None}}
        assert model.route(words, config).tier == tier_of(model.invoke(words, config))


def test_asking_sends_reserves_and_records_nothing(wired, bodies):
    metrics, budget = ModelMetricsCollector(), BudgetManager(default_daily_limit=1_000_000)
    model = wired(metrics=metrics, budget=budget)
    model.route("hello", to("heavy", tenant_id="acme"))
    assert bodies("heavy") == []
    assert metrics.recent() == ()
    assert budget.usage("acme")["daily"].charged == 0


async def test_both_twins_decide_alike(model):
    config = to("standard")
    assert (await model.aroute("hello", config)).tier == model.route("hello", config).tier


def test_a_decision_sees_the_tools(wired, simulated_tiers):
    specs = dict(simulated_tiers.specs)
    light = specs["light"].model_copy(update={"tools": False})
    model = wired(light=light)
    assert model.route("hello").tier == "light"
    assert model.route("hello", tools=[TOOL]).tier != "light"


def test_what_no_tier_can_serve_is_told_when_asked(model):
    with pytest.raises(NoCapableTierError):
        model.route("word " * 200_000)


@pytest.mark.parametrize("door", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_decision_is_kept_to_by_every_door(model, door):
    decided = model.with_decision(model.route("hello", to("heavy")))
    if door == "invoke":
        answer = decided.invoke("hello")
    elif door == "ainvoke":
        answer = await decided.ainvoke("hello")
    elif door == "stream":
        answer = sum(list(decided.stream("hello"))[1:], next(iter(decided.stream("hello"))))
    else:
        chunks = [chunk async for chunk in decided.astream("hello")]
        answer = sum(chunks[1:], chunks[0])
    assert tier_of(answer) == "heavy"
    assert tier_of(model.invoke("hello")) == "light"


def test_a_decision_is_kept_to_with_tools(model):
    decided = model.with_decision(model.route("hello", to("standard")))
    assert tier_of(decided.bind_tools([TOOL]).invoke("hello")) == "standard"


def test_the_decided_tier_falls_back_as_ever(model, at):
    server, name = at("light")
    server.script(name, Fault.status(503))
    decided = model.with_decision(model.route("hello"))
    routing = decided.invoke("hello").response_metadata["routing"]
    assert (routing["decided_tier"], routing["tier"]) == ("light", "standard")


def test_the_decided_call_is_paid_and_recorded(wired):
    metrics, budget = ModelMetricsCollector(), BudgetManager(default_daily_limit=1_000_000)
    model = wired(metrics=metrics, budget=budget, tenant_id="acme")
    model.with_decision(model.route("hello")).invoke("hello")
    (entry,) = metrics.recent()
    (attempt,) = entry.record.attempts
    assert entry.record.asked == "light"
    assert budget.usage("acme")["daily"].used == attempt.input_tokens + attempt.output_tokens


def test_the_model_itself_is_not_changed_and_shares_its_pipeline(model):
    decided = model.with_decision(model.route("hello"))
    assert model.decided is None
    assert decided.stages is model.stages
