"""Tiers are ordered by strength; a spec is checked where it is made, and shows no secret."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from tiered_llm import Tier, TierSpec

LIGHT, STANDARD, HEAVY = Tier


def test_tiers_are_ordered_by_strength_not_by_spelling():
    assert sorted([HEAVY, LIGHT, STANDARD]) == [LIGHT, STANDARD, HEAVY]
    assert LIGHT < STANDARD <= HEAVY
    assert HEAVY > STANDARD >= LIGHT
    assert HEAVY > "light"
    assert [tier.rank for tier in Tier] == [0, 1, 2]
    assert (HEAVY.value, str(HEAVY)) == ("heavy", "heavy")
    with pytest.raises(ValueError, match="gold"):
        _ = HEAVY > "gold"


@pytest.mark.parametrize("model_id", ["qwen", "/qwen", "ollama/", "ollama/a b", ""])
def test_a_malformed_id_says_what_would_be_right(model_id):
    with pytest.raises(ValidationError, match="write provider/model"):
        TierSpec(tier="light", model_id=model_id)


@pytest.mark.parametrize(
    "url", ["localhost:1", "ftp://h", "http://", "http://[x", "http://h:port", "http://h h"]
)
def test_a_malformed_url_says_what_would_be_right(url):
    with pytest.raises(ValidationError, match="write scheme and host"):
        TierSpec(tier="light", model_id="ollama/a", base_url=url)


@pytest.mark.parametrize(
    "url", ["http://me:sk-SECRET@h", "http://me:sk-SEC/RET@h:1", "https://sk-SECRET@h/v1"]
)
def test_a_password_in_a_url_is_refused_without_repeating_it(url):
    with pytest.raises(ValidationError, match="give the secret as api_key") as caught:
        TierSpec(tier="light", model_id="ollama/a", base_url=url)
    assert "sk-SEC" not in str(caught.value)


def test_no_dump_and_no_repr_holds_a_secret():
    spec = TierSpec(
        tier="light",
        model_id="ollama/a",
        api_key="sk-SECRET",
        model_kwargs={"default_headers": {"X-Key": "sk-SECRET"}},
    )
    shown = [repr(spec), str(spec), str(spec.model_dump()), spec.model_dump_json()]
    assert not any("sk-SECRET" in text for text in shown)
    assert json.loads(spec.model_dump_json())["model_kwargs"].keys() == {"default_headers"}
    assert spec.model_kwargs["default_headers"] == {"X-Key": "sk-SECRET"}


def test_a_spec_is_frozen_knows_its_parts_and_refuses_unknown_fields():
    spec = TierSpec(tier="light", model_id="vllm/org/a", context_window=900, num_ctx=700)
    assert (spec.provider, spec.model_name, spec.window_tokens) == ("vllm", "org/a", 700)
    assert len({spec, spec.model_copy()}) == 1
    with pytest.raises(ValidationError):
        spec.model_id = "ollama/b"
    with pytest.raises(ValidationError, match="colour"):
        TierSpec(tier="light", model_id="ollama/a", colour="red")
