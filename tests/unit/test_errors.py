"""Errors travel between processes with what they say."""

from __future__ import annotations

import pickle

import pytest

from tiered_llm.errors import (
    AllTiersFailedError,
    AttemptFailedError,
    ConfigurationError,
    NoCapableTierError,
    Problem,
    StreamInterruptedError,
    TieredLLMError,
)
from tiered_llm.tiers import Tier

PROBLEM = Problem(source=".env", key="MODEL_LIGHT", wrong="empty", right="give an id")


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError([PROBLEM, PROBLEM]),
        NoCapableTierError({Tier.LIGHT: ["too small"], Tier.HEAVY: ["no tools", "too dear"]}),
        AttemptFailedError(Tier.LIGHT, "timeout"),
        AllTiersFailedError([AttemptFailedError(Tier.LIGHT, "timeout")]),
        StreamInterruptedError(
            tier=Tier.LIGHT,
            fault="timeout",
            partial_text="so far",
            tool_calls=[],
            usage={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
            usage_estimated=True,
        ),
    ],
)
def test_an_error_survives_pickling(error):
    there = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert isinstance(there, TieredLLMError)
    assert (type(there), str(there)) == (type(error), str(error))
    assert there.__dict__.keys() == error.__dict__.keys()


def test_a_problem_is_one_line_with_place_wrong_and_right():
    assert str(PROBLEM) == ".env: MODEL_LIGHT: empty; give an id"
