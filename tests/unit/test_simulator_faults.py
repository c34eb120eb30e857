"""Every fault, through the real clients: what they raise is what fallback has to tell apart."""

from __future__ import annotations

import json

import httpx
import ollama
import openai
import pytest
from langchain_core.exceptions import ContextOverflowError, ModelError
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI

from tiered_llm.testing import Answer, Fault

MODEL = "qwen2.5:7b"
CALL = Answer(tool_calls=[{"name": "f", "args": {"a": 1}}])
PATIENCE_S = 0.2
WAYS = ["invoke", "ainvoke", "stream", "astream"]


@pytest.fixture
def sim(simulator):
    return simulator


@pytest.fixture
def chat_ollama(sim):
    return ChatOllama(model=MODEL, base_url=sim.url)


@pytest.fixture
def chat_openai(sim):
    return ChatOpenAI(
        model=MODEL, base_url=sim.openai_url, api_key="x", stream_usage=True, max_retries=0
    )


async def ask(model, way):
    """The text got, and the chunks, by one of the four ways."""
    chunks = []
    if way == "invoke":
        chunks.append(model.invoke("Hi"))
    elif way == "ainvoke":
        chunks.append(await model.ainvoke("Hi"))
    elif way == "stream":
        chunks.extend(model.stream("Hi"))
    else:
        chunks.extend([chunk async for chunk in model.astream("Hi")])
    return chunks


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("code", [400, 401, 404, 429, 500, 503])
async def test_status_through_ollama(sim, chat_ollama, way, code):
    sim.script(MODEL, Fault.status(code))
    with pytest.raises(ollama.ResponseError) as caught:
        await ask(chat_ollama, way)
    assert caught.value.status_code == code
    assert (sim.requests[-1].outcome, sim.billed()) == ("status", (0, 0))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("code", [400, 401, 404, 429, 500, 503])
async def test_status_through_openai(sim, chat_openai, way, code):
    sim.script(MODEL, Fault.status(code))
    with pytest.raises(openai.APIStatusError) as caught:
        await ask(chat_openai, way)
    assert isinstance(caught.value, ModelError)
    assert caught.value.status_code == code


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wording", ["old", "new", "latest", None])
async def test_overflow_through_openai_is_no_context_overflow_error(sim, chat_openai, way, wording):
    sim.script(MODEL, Fault.overflow(wording))
    with pytest.raises(openai.BadRequestError, match="context length") as caught:
        await ask(chat_openai, way)
    assert not isinstance(caught.value, ContextOverflowError)
    assert sim.requests[-1].outcome == "overflow"


async def test_overflow_through_ollama(sim, chat_ollama):
    sim.script(MODEL, Fault.overflow())
    with pytest.raises(ollama.ResponseError, match="exceeds the context length"):
        await ask(chat_ollama, "invoke")


@pytest.mark.parametrize("way", WAYS)
async def test_refused_connection(sim, chat_ollama, chat_openai, way):
    sim.refuse()
    with pytest.raises(httpx.ConnectError):
        await ask(chat_ollama, way)
    with pytest.raises(openai.APIConnectionError):
        await ask(chat_openai, way)
    assert sim.requests == []
    sim.accept()
    assert await ask(chat_ollama, way)


CUTS = [
    ("start", True, httpx.ReadError),
    ("role", True, httpx.ReadError),
    ("content", True, httpx.ReadError),
    ("tool", True, httpx.ReadError),
    ("start", False, httpx.RemoteProtocolError),
    ("role", False, httpx.RemoteProtocolError),
    ("content", False, httpx.RemoteProtocolError),
    ("tool", False, httpx.RemoteProtocolError),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cut", CUTS)
async def test_cut_through_ollama(sim, chat_ollama, way, cut):
    at, reset, error = cut
    sim.script(MODEL, Fault.cut(at, reset=reset, answer=CALL if at == "tool" else None))
    with pytest.raises(error):
        await ask(chat_ollama, way)
    assert sim.requests[-1].outcome == "cut"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("at", "reset"), [cut[:2] for cut in CUTS])
async def test_cut_through_openai(sim, chat_openai, way, at, reset):
    sim.script(MODEL, Fault.cut(at, reset=reset, answer=CALL if at == "tool" else None))
    with pytest.raises(openai.APIConnectionError):
        await ask(chat_openai, way)
    assert sim.requests[-1].outcome == "cut"


def drain(stream, got):
    for chunk in stream:
        got.append(chunk)


@pytest.mark.parametrize(("at", "chunks"), [("role", 1), ("content", 3), ("tool", 3)])
def test_what_went_out_before_the_cut_arrives(sim, chat_openai, at, chunks):
    sim.script(MODEL, Fault.cut(at, answer=CALL if at == "tool" else None))
    got = []
    with pytest.raises(openai.APIConnectionError):
        drain(chat_openai.stream("Hi"), got)
    assert len(got) == chunks
    assert sim.requests[-1].output_tokens == chunks - 1


@pytest.mark.parametrize("way", WAYS)
async def test_early_end_raises_nothing_and_has_neither_reason_nor_usage(
    sim, chat_ollama, chat_openai, way
):
    sim.always(MODEL, Fault.early_end(after=1))
    for model in (chat_ollama, chat_openai):
        *_, last = await ask(model, way)
        assert last.usage_metadata is None
        assert not {"finish_reason", "done_reason"} & {
            name for name, value in last.response_metadata.items() if value
        }
    assert {record.outcome for record in sim.requests} == {"early_end"}


@pytest.mark.parametrize("way", WAYS)
async def test_bad_chunk_is_a_raw_json_error(sim, chat_ollama, chat_openai, way):
    sim.always(MODEL, Fault.bad_chunk())
    for model in (chat_ollama, chat_openai):
        with pytest.raises(json.JSONDecodeError):
            await ask(model, way)
    assert sim.requests[-1].outcome == "bad_chunk"


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_error_event_in_a_stream(sim, chat_ollama, chat_openai, way):
    sim.always(MODEL, Fault.error_event("out of memory"))
    with pytest.raises(ollama.ResponseError, match="out of memory"):
        await ask(chat_ollama, way)
    with pytest.raises(openai.APIError, match="out of memory") as caught:
        await ask(chat_openai, way)
    assert not isinstance(caught.value, ModelError)
    assert sim.requests[-1].outcome == "error_event"


@pytest.mark.parametrize(
    ("at", "way"),
    [("content", "stream"), ("content", "astream"), *(("start", way) for way in WAYS)],
)
async def test_stall_runs_into_the_clients_timeout(sim, way, at):
    sim.always(MODEL, Fault.stall(at))
    slow = ChatOllama(model=MODEL, base_url=sim.url, client_kwargs={"timeout": PATIENCE_S})
    with pytest.raises(httpx.ReadTimeout):
        await ask(slow, way)
    slow = ChatOpenAI(
        model=MODEL, base_url=sim.openai_url, api_key="x", max_retries=0, timeout=PATIENCE_S
    )
    with pytest.raises(openai.APITimeoutError):
        await ask(slow, way)
    await sim.await_for(lambda: [record.disconnected for record in sim.requests] == [True, True])
    assert {record.outcome for record in sim.requests} == {"disconnected"}


async def test_malformed_tool_json_is_silently_repaired_in_a_stream(sim, chat_openai):
    sim.always(MODEL, Answer(tool_calls=[{"name": "f", "args": '{"a": 1, "b": '}]))
    assert chat_openai.invoke("Hi").invalid_tool_calls
    first, *others = chat_openai.stream("Hi")
    whole = sum(others, first)
    assert whole.tool_calls[0]["args"] == {"a": 1}
    assert not whole.invalid_tool_calls


RAW = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": False}
PATHS = ["/api/chat", "/v1/chat/completions"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("reset", [True, False])
def test_cut_within_an_answer_in_one_piece(sim, path, reset):
    sim.script(MODEL, Fault.cut(reset=reset))
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        httpx.post(f"{sim.url}{path}", json=RAW)


@pytest.mark.parametrize("path", PATHS)
def test_other_faults_of_an_answer_in_one_piece(sim, path):
    sim.script(MODEL, Fault.bad_chunk(), Fault.error_event("broke"), Fault.early_end())
    broken, failed, unfinished = (httpx.post(f"{sim.url}{path}", json=RAW) for _ in range(3))
    with pytest.raises(json.JSONDecodeError):
        broken.json()
    assert failed.status_code == 500
    assert "broke" in failed.text
    assert unfinished.status_code == 200
    assert not unfinished.json().get("done")
    assert not unfinished.json().get("usage")


def test_a_fault_strikes_before_the_end_of_a_short_answer(sim, chat_openai):
    sim.script(MODEL, Fault.early_end(after=99, answer=Answer(text="one two")))
    first, *others = chat_openai.stream("Hi")
    assert sum(others, first).content == "one two"
    assert sum(others, first).usage_metadata is None


def test_a_cut_within_a_tool_call_of_an_answer_without_one_strikes_in_the_text(sim, chat_ollama):
    sim.script(MODEL, Fault.cut("tool", answer=Answer(text="one two three")))
    got = []
    with pytest.raises(httpx.ReadError):
        drain(chat_ollama.stream("Hi"), got)
    assert [chunk.content for chunk in got] == ["one", " two"]
