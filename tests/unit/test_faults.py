"""Errors put into classes: what another tier may do better, and what passes through."""

from __future__ import annotations

import asyncio
import json

import httpx
import ollama
import openai
import pytest
from langchain_core import exceptions as lc
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableGenerator
from langgraph.errors import GraphBubbleUp, GraphInterrupt

from tiered_llm import StreamInterruptedError, TieredChatModel
from tiered_llm.fallback import DEFAULT_FAULTS, Fault
from tiered_llm.testing import FakeChatModel

REQUEST = httpx.Request("POST", "http://localhost")


def api_error(message):
    return openai.APIError(message, REQUEST, body=None)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (lc.ContextOverflowError(), Fault.OVERFLOW),
        (lc.ModelTimeoutError(), Fault.TIMEOUT),
        (lc.ModelConnectionError(), Fault.UNREACHABLE),
        (lc.ModelRateLimitError(), Fault.RATE_LIMITED),
        (lc.ModelAPIError(), Fault.SERVER_ERROR),
        (lc.ModelNotFoundError(), Fault.CONFIGURATION),
        (lc.ModelAuthenticationError(), Fault.CONFIGURATION),
        (lc.ModelPermissionDeniedError(), Fault.CONFIGURATION),
        (ConnectionResetError(), Fault.UNREACHABLE),
        (TimeoutError(), Fault.TIMEOUT),
        (ollama.ResponseError("busy", 429), Fault.RATE_LIMITED),
        (ollama.ResponseError("gone", 404), Fault.CONFIGURATION),
        (ollama.ResponseError("broken", 500), Fault.SERVER_ERROR),
        (ollama.ResponseError("in mid-stream"), Fault.SERVER_ERROR),
        (ollama.ResponseError("slow", 408), Fault.TIMEOUT),
        (ollama.ResponseError("input length exceeds the context length", 400), Fault.OVERFLOW),
        (ollama.ResponseError("large", 413), Fault.OVERFLOW),
        (httpx.ReadTimeout("", request=REQUEST), Fault.TIMEOUT),
        (httpx.ConnectTimeout("", request=REQUEST), Fault.TIMEOUT),
        (httpx.ConnectError("", request=REQUEST), Fault.UNREACHABLE),
        (httpx.RemoteProtocolError("", request=REQUEST), Fault.INTERRUPTED),
        (httpx.ReadError("", request=REQUEST), Fault.INTERRUPTED),
        (api_error("in mid-stream"), Fault.SERVER_ERROR),
        (json.JSONDecodeError("bad chunk", "{", 1), Fault.INTERRUPTED),
        (lc.ModelInvalidRequestError("bad"), Fault.BAD_REQUEST),
        (lc.ModelInvalidRequestError("maximum context length is 10"), Fault.OVERFLOW),
        (ollama.ResponseError("bad request", 400), Fault.BAD_REQUEST),
        (ollama.ResponseError("teapot", 418), Fault.BAD_REQUEST),
        (asyncio.CancelledError(), Fault.CANCELLED),
    ],
)
def test_each_error_has_its_fault(error, fault):
    assert DEFAULT_FAULTS.classify(error) is fault


@pytest.mark.parametrize(
    "error",
    [
        lc.OutputParserException("not the schema"),
        KeyError("bug"),
        ValueError("bug"),
        GraphBubbleUp(),
        GraphInterrupt(),
        KeyboardInterrupt(),
    ],
)
def test_what_is_no_tiers_fault_passes_through(error):
    assert DEFAULT_FAULTS.classify(error) is None
    heavy = FakeChatModel(text="heavy")
    model = TieredChatModel(light=FakeChatModel(error=error), heavy=heavy)
    with pytest.raises(type(error)):
        model.invoke("hi")
    with pytest.raises(type(error)):
        list(model.stream("hi"))
    assert heavy.calls == []


def test_a_callback_handlers_error_is_no_dead_tier():
    class Ledger(BaseCallbackHandler):
        raise_error = True
        run_inline = True

        def on_chat_model_start(self, *args, **kwargs):
            raise ConnectionError("the ledger is down")

    light, heavy = FakeChatModel(), FakeChatModel()
    model = TieredChatModel(light=light, heavy=heavy)
    for door in (model.invoke, lambda *given: list(model.stream(*given))):
        with pytest.raises(ConnectionError, match="ledger"):
            door("hi", {"callbacks": [Ledger()]})
    assert light.calls == heavy.calls == []


async def test_a_stream_with_nothing_in_it_is_a_fault():
    def nothing(_messages):
        yield from ()

    light = RunnableGenerator(nothing)
    model = TieredChatModel(light=light, heavy=FakeChatModel(text="heavy"))
    chunks = list(model.stream("hi"))
    assert chunks[-1].response_metadata["routing"]["attempts"][0] == {
        "tier": "light",
        "outcome": "failed",
        "fault": "interrupted",
    }


async def test_an_empty_stream_is_a_fault():
    class Empty(FakeChatModel):
        def _stream(self, *args, **kwargs):
            yield from ()

    model = TieredChatModel(light=Empty(), heavy=FakeChatModel(text="heavy"))
    for chunks in (list(model.stream("hi")), [c async for c in model.astream("hi")]):
        whole = chunks[0] + chunks[1:]
        assert whole.text == "heavy"
        assert whole.response_metadata["routing"]["attempts"][0]["fault"] == "interrupted"


async def test_once_content_is_out_no_other_tier_is_mixed_in():
    broken = FakeChatModel(text="a b c", error=ConnectionError("cut"), error_after=2)
    model = TieredChatModel(light=broken, heavy=FakeChatModel(text="heavy"))
    seen = []

    def read():
        seen.extend(chunk.content for chunk in model.stream("hi"))

    async def aread():
        async for chunk in model.astream("hi"):
            seen.append(chunk.content)  # noqa: PERF401  # what came before the error counts

    with pytest.raises(StreamInterruptedError) as caught:
        read()
    with pytest.raises(StreamInterruptedError):
        await aread()
    assert seen == ["a", " b"] * 2
    error = caught.value
    assert (error.tier, error.fault, error.partial_text) == ("light", "interrupted", "a b")
    assert isinstance(error.__cause__, ConnectionError)
    assert error.usage_estimated
    assert error.usage["input_tokens"] > 0


def test_what_breaks_a_begun_stream_never_loses_what_there_was():
    refused = ollama.ResponseError("refused", 400)
    broken = FakeChatModel(text="a b c", error=refused, error_after=2)
    for policy in ("raise", "restart"):
        model = TieredChatModel(light=broken, heavy=FakeChatModel(), on_interrupt=policy)
        with pytest.raises(StreamInterruptedError) as caught:
            list(model.stream("hi"))
        assert (caught.value.fault, caught.value.partial_text) == ("bad_request", "a b")
        assert caught.value.__cause__ is refused


def test_a_bug_after_content_stays_what_it_is():
    broken = FakeChatModel(text="a b c", error=KeyError("bug"), error_after=2)
    with pytest.raises(KeyError):
        list(TieredChatModel(light=broken).stream("hi"))
