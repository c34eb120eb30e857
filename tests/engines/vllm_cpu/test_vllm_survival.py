"""vLLM dies; the next call is answered elsewhere. Last of the files: the death costs a start."""

from __future__ import annotations

import pytest
from engines.doors import DOORS, STREAMS, attempts, read_each
from engines.servers import CLOSE

from tiered_llm import StreamInterruptedError, TieredChatModel
from tiered_llm.tiers import Tier


def test_a_death_in_mid_stream_is_one_error_with_all_that_was_streamed(vllm, llama):
    endless = {**CLOSE, "extra_body": {"ignore_eos": True}}
    light = vllm.spec(Tier.LIGHT, model_kwargs=endless)
    model = TieredChatModel(light=light, heavy=llama.spec(Tier.HEAVY))
    seen = []

    def take(text):
        seen.append(text)
        if len(seen) == 5:
            vllm.kill()

    with pytest.raises(StreamInterruptedError) as caught:
        read_each(STREAMS["stream"](model, "Hello"), take)
    assert caught.value.partial_text == "".join(seen)
    assert caught.value.tier == "light"
    for door in DOORS:
        answer = DOORS[door](model, "Hello")
        assert attempts(answer)[-1] == ("heavy", "answered", None)
        assert answer.text.split()
