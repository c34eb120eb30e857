"""LangChain's v3 event streams: the inner model's events, passed on."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers._streaming import _V2StreamingCallbackHandler

from tiered_llm import AllTiersFailedError, TieredChatModel
from tiered_llm.chat_model.events import async_event_stream, event_stream
from tiered_llm.testing import FakeChatModel

KINDS = [
    "message-start",
    "content-block-start",
    *["content-block-delta"] * 3,
    "content-block-finish",
    "message-finish",
]


def tiered(**light):
    return TieredChatModel(light=FakeChatModel(text="a b c", **light))


def test_the_events_are_the_inner_models_own():
    plain = [
        event["event"] for event in FakeChatModel(text="a b c").stream_events("hi", version="v3")
    ]
    tier = [event["event"] for event in tiered().stream_events("hi", version="v3")]
    assert tier == plain == KINDS


async def test_the_events_are_the_inner_models_own_asynchronously():
    stream = await tiered().astream_events("hi", version="v3")
    assert [event["event"] async for event in stream] == KINDS


async def test_text_is_streamed_as_it_comes():
    stream = await tiered().astream_events("hi", version="v3")
    assert [piece async for piece in stream.text] == ["a", " b", " c"]
    assert list(tiered().stream_events("hi", version="v3").text) == ["a", " b", " c"]


class Watching(_V2StreamingCallbackHandler, BaseCallbackHandler):
    def __init__(self):
        self.events, self.ended = [], []

    def on_stream_event(self, event, **kwargs):
        self.events.append(event["event"])

    def on_chain_end(self, outputs, **kwargs):
        self.ended.append("chain")

    def on_llm_end(self, response, **kwargs):
        self.ended.append("llm")


async def test_every_run_ends_and_every_event_is_told_once():
    for asynchronous in (False, True):
        seen = Watching()
        if asynchronous:
            await (await tiered().astream_events("hi", {"callbacks": [seen]}, version="v3"))
        else:
            assert tiered().stream_events("hi", {"callbacks": [seen]}, version="v3").output
        assert seen.events == KINDS
        assert seen.ended == ["llm", "chain"]


async def test_a_v3_handler_sees_the_events_of_invoke_too():
    seen = Watching()
    assert tiered().invoke("hi", {"callbacks": [seen]}).text == "a b c"
    assert seen.events == KINDS


async def test_an_error_reaches_whoever_reads_the_stream():
    broken = tiered(error=ConnectionError("refused"))
    with pytest.raises(AllTiersFailedError):
        _ = broken.stream_events("hi", version="v3").output
    with pytest.raises(AllTiersFailedError):
        await (await broken.astream_events("hi", version="v3"))


async def test_a_stream_closed_early_ends_its_producer():
    stream = await tiered().astream_events("hi", version="v3")
    async with stream:
        async for _ in stream:
            break
    assert stream._producer_task.done()


async def test_cancelling_the_producer_fails_the_stream():
    begun = asyncio.Event()

    async def endless():
        begun.set()
        await asyncio.get_running_loop().create_future()
        yield

    stream = async_event_stream(endless)
    reading = asyncio.ensure_future(_read(stream))
    await begun.wait()
    await stream.aclose()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def _read(stream):
    return await stream


async def test_a_source_without_an_end_is_an_error():
    async def nothing():
        for event in ():
            yield event

    with pytest.raises(ValueError, match="No generation"):
        await async_event_stream(nothing)
    with pytest.raises(ValueError, match="No generation"):
        _ = event_stream(lambda: iter(())).output


async def test_an_answer_of_nothing_is_an_answer():
    plain, tier = FakeChatModel(text=""), TieredChatModel(light=FakeChatModel(text=""))
    assert plain.stream_events("hi", version="v3").output.text == ""
    assert tier.stream_events("hi", version="v3").output.text == ""
    assert (await (await tier.astream_events("hi", version="v3"))).text == ""
    assert [chunk.content for chunk in tier.stream("hi")] == ["", ""]


def test_nothing_is_asked_before_the_stream_is_looked_at():
    light = FakeChatModel(text="a")
    stream = TieredChatModel(light=light).stream_events("hi", version="v3")
    assert light.calls == []
    assert stream.output.text == "a"
    assert len(light.calls) == 1
