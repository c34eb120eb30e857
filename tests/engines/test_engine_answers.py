"""Each tier answers through each of LangChain's doors, on a real engine."""

from __future__ import annotations

import pytest
from engines.doors import DOORS, attempts, to
from engines.servers import MODELS

from tiered_llm.tiers import Tier

TEMPLATE_TOKENS = 19
"""What the chat template adds to a lone message; each of its characters is one token more."""


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("tier", Tier)
def test_each_tier_answers_with_its_usage_and_its_routing(wired, tier, door):
    answer = DOORS[door](wired(), "Hello there", to(tier))
    routing = answer.response_metadata["routing"]
    assert answer.text.split()
    assert answer.usage_metadata["input_tokens"] == len("Hello there") + TEMPLATE_TOKENS
    assert answer.usage_metadata["output_tokens"] > len(answer.text.split())  # and the end
    assert routing["tier"] == tier
    assert routing["model_id"].endswith(MODELS[tier])
    assert attempts(answer) == [(tier, "answered", None)]


@pytest.mark.parametrize("tier", Tier)
def test_every_door_gives_the_same_answer(wired, tier):
    # the engine's seed is fixed
    answers = {door: DOORS[door](wired(), "Hello", to(tier)) for door in DOORS}
    assert len({answer.text for answer in answers.values()}) == 1
    assert len({answer.usage_metadata["output_tokens"] for answer in answers.values()}) == 1


def test_a_batch_goes_to_several_tiers_at_once(wired):
    configs = [to(tier) for tier in Tier] * 4
    answers = wired().batch(["Hello"] * len(configs), configs)
    tiers = [answer.response_metadata["routing"]["tier"] for answer in answers]
    assert tiers == list(Tier) * 4
    assert all(answer.text for answer in answers)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("tier", Tier)
def test_the_longest_answer_is_the_callers(wired, tier, door):
    answer = DOORS[door](wired(max_tokens=3), "Hello", to(tier))
    assert answer.usage_metadata["output_tokens"] == 3
    assert attempts(answer) == [(tier, "answered", None)]


@pytest.mark.parametrize("door", DOORS)
def test_an_unknown_model_is_a_fault_of_configuration(specs, wired, door):
    wrong = specs["light"].model_copy(update={"model_id": "ollama/no-such-model"})
    answer = DOORS[door](wired().model_copy(update={"light": wrong}), "Hello")
    assert attempts(answer)[0] == ("light", "failed", "configuration")
    assert answer.response_metadata["routing"]["tier"] == "standard"
