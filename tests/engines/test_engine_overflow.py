"""Prompts longer than a server's window, in the servers' own words."""

from __future__ import annotations

import pytest
from engines.doors import DOORS, attempts, to
from engines.servers import LlamaServer, OllamaServer

from tiered_llm import AllTiersFailedError, TieredChatModel
from tiered_llm.tiers import Tier

SMALL_TOKENS = 1024
LONG = "word " * 300
"""1,500 tokens to the tiny model, which reads characters; some 400 by the estimate."""

KINDS = {"ollama": OllamaServer, "llama": LlamaServer}


@pytest.fixture(scope="module", params=KINDS)
def small(request, tiny):
    """A server of either kind with a small window."""
    with KINDS[request.param](tiny, context_tokens=SMALL_TOKENS) as server:
        yield server


@pytest.mark.parametrize("door", DOORS)
def test_a_prompt_that_overflows_is_asked_of_a_larger_window(small, llama, door):
    boastful = small.spec(Tier.LIGHT, context_window=4 * SMALL_TOKENS)
    model = TieredChatModel(light=boastful, heavy=llama.spec(Tier.HEAVY))
    answer = DOORS[door](model, LONG)
    assert attempts(answer) == [("light", "failed", "overflow"), ("heavy", "answered", None)]
    assert answer.usage_metadata["input_tokens"] > SMALL_TOKENS


@pytest.mark.parametrize("door", ["invoke", "astream"])
def test_an_overflow_without_another_tier_keeps_the_servers_words(small, door):
    model = TieredChatModel(light=small.spec(Tier.LIGHT, context_window=4 * SMALL_TOKENS))
    with pytest.raises(AllTiersFailedError) as caught:
        DOORS[door](model, LONG)
    (attempt,) = caught.value.attempts
    assert attempt.fault == "overflow"
    assert "exceeds the available context size (1024 tokens)" in str(attempt.__cause__)


def test_a_window_known_to_be_too_small_is_not_tried(small, llama):
    honest = small.spec(Tier.LIGHT)
    model = TieredChatModel(light=honest, heavy=llama.spec(Tier.HEAVY))
    answer = model.invoke(LONG * 2)
    assert attempts(answer) == [("heavy", "answered", None)]


def test_an_answer_that_fills_the_window_is_no_failure(endless, start):
    server = start(LlamaServer, endless, context_tokens=256)
    model = TieredChatModel(light=server.spec(Tier.LIGHT, context_window=32_768))
    for door in ("invoke", "stream"):
        answer = DOORS[door](model, "Hello", to("light"))
        assert answer.response_metadata["finish_reason"] == "length"
        assert answer.usage_metadata["total_tokens"] <= 256
