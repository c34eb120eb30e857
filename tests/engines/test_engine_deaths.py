"""Servers that die: before they are asked, and while they answer."""

from __future__ import annotations

import asyncio

import pytest
from engines.doors import DOORS, STREAMS, attempts, read_each
from engines.servers import LlamaServer, OllamaServer

from tiered_llm import StreamInterruptedError, TieredChatModel
from tiered_llm.tiers import Tier

KINDS = {"ollama": OllamaServer, "llama": LlamaServer}


@pytest.fixture(scope="module", params=KINDS)
def dead(request, tiny):
    """The spec of a server of either kind that listens no longer."""
    with KINDS[request.param](tiny) as server:
        return server.spec(Tier.LIGHT)


@pytest.mark.parametrize("door", DOORS)
def test_a_dead_server_is_replaced(dead, llama, door):
    answer = DOORS[door](TieredChatModel(light=dead, heavy=llama.spec(Tier.HEAVY)), "Hello")
    assert attempts(answer) == [("light", "failed", "unreachable"), ("heavy", "answered", None)]
    assert answer.text.split()


@pytest.mark.parametrize("door", STREAMS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_death_in_mid_stream_is_one_error_with_all_that_was_streamed(
    endless, ollama, start, kind, door
):
    server = start(KINDS[kind], endless)
    model = TieredChatModel(light=server.spec(Tier.LIGHT), heavy=ollama.spec(Tier.HEAVY))
    seen = []

    def take(text):
        seen.append(text)
        if len(seen) == 5:
            server.kill()

    with pytest.raises(StreamInterruptedError) as caught:
        read_each(STREAMS[door](model, "Hello"), take)
    error = caught.value
    assert error.partial_text == "".join(seen)
    assert len(seen) >= 5
    assert (error.tier, error.fault) == ("light", "interrupted")
    assert error.usage_estimated
    answer = model.invoke("Hello")
    assert attempts(answer) == [("light", "failed", "unreachable"), ("heavy", "answered", None)]


@pytest.mark.parametrize("door", ["invoke", "ainvoke"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_death_before_the_whole_answer_is_replaced(endless, ollama, start, kind, door):
    server = start(KINDS[kind], endless)
    model = TieredChatModel(light=server.spec(Tier.LIGHT), heavy=ollama.spec(Tier.HEAVY))
    called = asyncio.create_task(asyncio.to_thread(DOORS[door], model, "Hello"))
    while not await asyncio.to_thread(server.busy):
        pass
    server.kill()
    answer = await called
    (failed, answered) = attempts(answer)
    assert failed in {("light", "failed", fault) for fault in ("interrupted", "unreachable")}
    assert answered == ("heavy", "answered", None)


def test_a_kept_alive_connection_to_a_dead_server_is_replaced(tiny, ollama, start):
    server = start(LlamaServer, tiny)
    kept = server.spec(Tier.LIGHT, model_kwargs={})
    model = TieredChatModel(light=kept, heavy=ollama.spec(Tier.HEAVY))
    assert attempts(model.invoke("Hello")) == [("light", "answered", None)]
    server.kill()
    assert attempts(model.invoke("Hello")) == [
        ("light", "failed", "unreachable"),
        ("heavy", "answered", None),
    ]
