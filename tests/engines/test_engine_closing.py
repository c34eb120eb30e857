"""A stream that is closed, and a call that is cancelled, stop the engine."""

from __future__ import annotations

import asyncio

import pytest
from engines.servers import LlamaServer, OllamaServer

from tiered_llm import TieredChatModel
from tiered_llm.tiers import Tier

CONTEXT_TOKENS = 8192
KINDS = {"ollama": OllamaServer, "llama": LlamaServer}


@pytest.fixture(scope="module", params=KINDS)
def server(request, endless):
    """A server of either kind whose answers go on until the window is full."""
    with KINDS[request.param](endless, context_tokens=CONTEXT_TOKENS) as server:
        yield server


@pytest.fixture
def model(server):
    return TieredChatModel(light=server.spec(Tier.LIGHT))


@pytest.fixture
def generated(server):
    """Tokens generated since the test began, once the engine is at rest."""
    before = server.generated_tokens()

    def count():
        while server.busy():
            pass  # it ends by itself at the window's end, if nobody stops it
        return server.generated_tokens() - before

    return count


def first_text(stream):
    """Read up to the first text: a role may come before it."""
    return next(chunk.text for chunk in stream if chunk.text)


async def afirst_text(stream):
    """Read up to the first text: a role may come before it."""
    async for chunk in stream:
        if chunk.text:
            return chunk.text
    raise AssertionError


def test_a_stream_that_is_closed_stops_the_engine(model, generated):
    stream = model.stream("Hello")
    assert first_text(stream)
    stream.close()
    assert 0 < generated() < CONTEXT_TOKENS / 2


async def test_an_asynchronous_stream_that_is_closed_stops_the_engine(model, generated):
    stream = model.astream("Hello")
    assert await afirst_text(stream)
    await stream.aclose()
    assert 0 < await asyncio.to_thread(generated) < CONTEXT_TOKENS / 2


async def test_an_event_stream_that_is_closed_stops_the_engine(model, generated):
    stream = await model.astream_events("Hello", version="v3")
    async with stream:
        assert await anext(aiter(stream.text))
    assert 0 < await asyncio.to_thread(generated) < CONTEXT_TOKENS / 2


@pytest.mark.parametrize("server", ["ollama"], indirect=True)
async def test_a_call_that_is_cancelled_stops_the_engine(model, server, generated):
    # llama.cpp's own server writes a whole answer to its end, whoever has gone away
    call = asyncio.create_task(model.ainvoke("Hello"))
    while not await asyncio.to_thread(server.busy):
        pass
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await asyncio.to_thread(generated) < CONTEXT_TOKENS / 2
