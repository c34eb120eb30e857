"""Falling back along the decision's order, over the wire."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import subprocess
import sys
import threading

import pytest
from langchain_core.messages import HumanMessage
from wiring import to

from tiered_llm import AllTiersFailedError, StreamInterruptedError, TieredChatModel, TierSpec
from tiered_llm.errors import AttemptFailedError
from tiered_llm.testing import Answer, Fault
from tiered_llm.tiers import Tier

FAULTS = {
    "429": (Fault.status(429, retry_after_s=1), "rate_limited"),
    "500": (Fault.status(500), "server_error"),
    "503": (Fault.status(503), "server_error"),
    "404": (Fault.status(404), "configuration"),
    "401": (Fault.status(401), "configuration"),
    "old overflow": (Fault.overflow("old"), "overflow"),
    "new overflow": (Fault.overflow("new"), "overflow"),
    "latest overflow": (Fault.overflow("latest"), "overflow"),
    "cut": (Fault.cut(at="start"), {"interrupted", "unreachable"}),
    "cut after the role": (Fault.cut(at="role"), {"interrupted", "unreachable"}),
}


@contextlib.contextmanager
def babbling(body):
    """A server that answers every request with the same text and status 200."""

    class Babble(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Babble) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


async def collect(chunks):
    return [chunk async for chunk in chunks]


def joined(chunks):
    return chunks[0] + chunks[1:] if len(chunks) > 1 else chunks[0]


DOORS = {
    "invoke": lambda m: m.invoke("hello"),
    "ainvoke": lambda m: asyncio.run(m.ainvoke("hello")),
    "stream": lambda m: joined(list(m.stream("hello"))),
    "astream": lambda m: joined(asyncio.run(collect(m.astream("hello")))),
    "generate": lambda m: m.generate([[HumanMessage("hello")]]).generations[0][0].message,
    "stream_events": lambda m: m.stream_events("hello", version="v3").output,
}


def attempts(message):
    told = message.response_metadata["routing"]["attempts"]
    return [(attempt["tier"], attempt["outcome"], attempt["fault"]) for attempt in told]


@pytest.fixture
def pair(simulated_tiers):
    """Makes a model whose first tier speaks Ollama's or vLLM's protocol."""

    def make(first):
        specs = simulated_tiers.specs
        order = ["light", "heavy"] if first == "ollama" else ["heavy", "light"]
        light, heavy = (specs[tier] for tier in order)
        larger = {"tier": Tier.HEAVY, "context_window": 2 * heavy.context_window}
        return TieredChatModel(
            light=light.model_copy(update={"tier": Tier.LIGHT}),
            heavy=heavy.model_copy(update=larger),  # so that an overflow falls back
        )

    return make


@pytest.fixture
def servers(at):
    """The first and the second tier's server and model, by the first's protocol."""
    ollama, vllm = at("light"), at("heavy")
    return {"ollama": (ollama, vllm), "vllm": (vllm, ollama)}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("first", ["ollama", "vllm"])
def test_a_tier_that_fails_before_it_answers_is_replaced(pair, servers, first, fault, door):
    (server, name), (other, other_name) = servers[first]
    step, expected = FAULTS[fault]
    server.script(name, step)
    other.script(other_name, Answer(text="the other answers"))
    answer = DOORS[door](pair(first))
    (failed, answered) = attempts(answer)
    assert answer.text == "the other answers"
    assert answered == ("heavy", "answered", None)
    assert failed[:2] == ("light", "failed")
    assert failed[2] in ({expected} if isinstance(expected, str) else expected)
    assert len(server.requests) == len(other.requests) == 1


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("first", ["ollama", "vllm"])
def test_a_tier_that_refuses_connections_is_replaced(pair, servers, first, door):
    (server, name), _ = servers[first]
    server.always(name, Fault.refuse())
    assert attempts(DOORS[door](pair(first)))[0] == ("light", "failed", "unreachable")


@pytest.mark.parametrize("door", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("first", ["ollama", "vllm"])
def test_a_tier_that_stalls_is_replaced_after_its_timeout(simulated_tiers, servers, first, door):
    (server, name), _ = servers[first]
    server.script(name, Fault.stall(at="start"))
    specs = simulated_tiers.specs
    light, heavy = (
        (specs["light"], specs["heavy"]) if first == "ollama" else (specs["heavy"], specs["light"])
    )
    model = TieredChatModel(
        light=light.model_copy(update={"tier": Tier.LIGHT, "timeout_s": 0.2}),
        heavy=heavy.model_copy(update={"tier": Tier.HEAVY}),
    )
    assert attempts(DOORS[door](model))[0] == ("light", "failed", "timeout")


ANSWER = Answer(text="one two three four five six seven eight")

BREAKS = {
    "cut": Fault.cut(at="content", after=3, answer=ANSWER),
    "closed": Fault.cut(at="content", after=3, reset=False, answer=ANSWER),
    "early end": Fault.early_end(after=3, answer=ANSWER),
    "bad chunk": Fault.bad_chunk(after=3, answer=ANSWER),
    "error event": Fault.error_event(after=3, answer=ANSWER),
}


async def aevents(model):
    stream = await model.astream_events("hello", version="v3")
    async for piece in stream.text:
        yield piece


STREAMS = {
    "stream": lambda m: (chunk.text for chunk in m.stream("hello")),
    "astream": lambda m: (chunk.text async for chunk in m.astream("hello")),
    "stream_events": lambda m: iter(m.stream_events("hello", version="v3").text),
    "astream_events": aevents,
}


def read_into(seen, pieces):
    async def aread():
        async for piece in pieces:
            seen.append(piece)  # what came before the error counts

    if hasattr(pieces, "__aiter__"):
        asyncio.run(aread())
    else:
        seen.extend(pieces)


@pytest.mark.parametrize("door", STREAMS)
@pytest.mark.parametrize("fault", BREAKS)
@pytest.mark.parametrize("first", ["ollama", "vllm"])
def test_a_stream_that_breaks_off_is_one_error_with_all_there_was(
    pair, servers, first, fault, door
):
    (server, name), (other, _) = servers[first]
    server.script(name, BREAKS[fault])
    seen = []
    with pytest.raises(StreamInterruptedError) as caught:
        read_into(seen, STREAMS[door](pair(first)))
    error = caught.value
    assert "".join(seen) == error.partial_text == "one two three"
    assert error.tier == "light"
    assert (error.__cause__ is None) == (fault == "early end")
    assert error.usage_estimated
    assert error.usage["output_tokens"] >= 3
    assert other.requests == []


IN_ONE_DOCUMENT = {"cut", "closed", "bad chunk"}
"""What can happen to vLLM's whole answer, which is one JSON document; Ollama's is a stream."""

WHOLE = [("ollama", fault) for fault in BREAKS] + [
    ("vllm", fault) for fault in BREAKS if fault in IN_ONE_DOCUMENT
]


@pytest.mark.parametrize("door", ["invoke", "ainvoke", "generate"])
@pytest.mark.parametrize(("first", "fault"), WHOLE)
def test_a_whole_answer_that_breaks_off_is_asked_of_the_next_tier(
    pair, servers, first, fault, door
):
    (server, name), (other, other_name) = servers[first]
    server.script(name, BREAKS[fault])
    other.script(other_name, Answer(text="the other answers"))
    answer = DOORS[door](pair(first))
    assert answer.text == "the other answers"
    assert [tier for tier, _, _ in attempts(answer)] == ["light", "heavy"]


@pytest.mark.parametrize("first", ["ollama", "vllm"])
def test_a_stream_that_ends_early_before_it_answers_is_replaced(pair, servers, first):
    (server, name), _ = servers[first]
    server.script(name, *[Fault.early_end(after=0, answer=ANSWER)] * 2)
    for door in ("stream", "stream_events"):
        assert attempts(DOORS[door](pair(first)))[0] == ("light", "failed", "interrupted")


@pytest.mark.parametrize("door", ["stream", "stream_events"])
@pytest.mark.parametrize("first", ["ollama", "vllm"])
def test_an_answer_of_nothing_is_no_failure(pair, servers, first, door):
    (server, name), _ = servers[first]
    server.script(name, Answer(text=""))
    answer = DOORS[door](pair(first))
    assert answer.text == ""
    assert attempts(answer) == [("light", "answered", None)]


@pytest.mark.parametrize("door", DOORS)
def test_when_all_fail_every_attempt_is_in_the_error(wired, at, door):
    for tier in ("light", "standard", "heavy"):
        server, name = at(tier)
        server.script(name, Fault.status(503, "SECRET words of the server"))
    with pytest.raises(AllTiersFailedError) as caught:
        DOORS[door](wired())
    assert [(a.tier, a.fault) for a in caught.value.attempts] == [
        (tier, "server_error") for tier in ("light", "standard", "heavy")
    ]
    assert all(isinstance(attempt, AttemptFailedError) for attempt in caught.value.attempts)
    assert all(attempt.__cause__ is not None for attempt in caught.value.attempts)
    assert "SECRET" not in str(caught.value)
    assert "hello" not in str(caught.value)


@pytest.mark.parametrize("door", DOORS)
def test_a_request_at_fault_itself_is_not_asked_of_another_tier(wired, at, door):
    server, name = at("light")
    server.script(name, Fault.status(400, "no such thing"))
    with pytest.raises(Exception, match="no such thing"):
        DOORS[door](wired())
    assert at("standard")[0].requests == []


def test_a_forced_tier_that_fails_is_not_replaced(wired, at):
    server, name = at("light")
    server.always(name, Fault.status(404))
    with pytest.raises(AllTiersFailedError):
        wired().invoke("hello", to("light"))
    assert at("standard")[0].requests == []


async def test_a_stream_closed_early_closes_its_connection(wired, at):
    server, name = at("light")
    server.script(name, *[Fault.stall(at="content", answer=Answer(text="a b c d e f"))] * 2)
    chunks = wired().astream("hello", to("light"))
    assert (await anext(chunks)).content
    await chunks.aclose()
    await server.await_for(lambda: server.requests[0].disconnected)
    sync = wired().stream("hello", to("light"))
    assert next(sync).content
    sync.close()
    await server.await_for(lambda: server.requests[1].disconnected)


def test_an_event_stream_that_is_left_early_gives_its_place_back_when_closed(at):
    server, name = at("light")
    server.script(name, Fault.stall(at="content", answer=Answer(text="a b c d e f")))
    spec = TierSpec(tier="light", model_id=f"ollama/{name}", base_url=server.url, max_concurrency=1)
    model = TieredChatModel(light=spec)
    with model.stream_events("hello", version="v3") as stream:
        assert next(iter(stream.text)) == "a"
    assert model.invoke("hello").text
    stream.close()


NO_ANSWERS = [
    "<html></html>",
    '{"choices": null}',
    '{"choices": []}',
    "[]",
    '{"message": 7}',
]


@pytest.mark.parametrize("door", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("body", NO_ANSWERS)
@pytest.mark.parametrize("first", ["ollama", "vllm"])
def test_a_response_that_no_model_could_have_given_is_a_fault(
    simulated_tiers, at, first, body, door
):
    with babbling(body) as url:
        order = ["light", "heavy"] if first == "ollama" else ["heavy", "light"]
        specs = simulated_tiers.specs
        address = {"tier": Tier.LIGHT, "base_url": url}
        light = specs[order[0]].model_copy(update=address)
        heavy = specs[order[1]].model_copy(update={"tier": Tier.HEAVY})
        answer = DOORS[door](TieredChatModel(light=light, heavy=heavy))
    assert [tier for tier, _, _ in attempts(answer)] == ["light", "heavy"]


async def test_a_cancelled_call_closes_its_connection(wired, at):
    server, name = at("heavy")
    server.script(name, Fault.stall(at="start"))
    task = asyncio.create_task(wired().ainvoke("hello", to("heavy")))
    await server.await_for(lambda: len(server.requests) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.await_for(lambda: server.requests[0].disconnected)


LOOPS = """
import asyncio
from tiered_llm import TieredChatModel, TierSpec
from tiered_llm.testing import SimulatedModel, Simulator

with Simulator([SimulatedModel(name="m")], keep_alive=True) as server:
    url = {"ollama": server.url, "vllm": server.openai_url}["PROVIDER"]
    model = TieredChatModel(light=TierSpec(tier="light", model_id="PROVIDER/m", base_url=url))
    if READY:
        model = TieredChatModel(light=model.light.model)
    for _ in range(3):
        answer = asyncio.run(model.ainvoke("hello"))
        print([attempt["outcome"] for attempt in answer.response_metadata["routing"]["attempts"]])
"""


@pytest.mark.parametrize("provider", ["ollama", "vllm"])
@pytest.mark.parametrize("ready", [False, True])
def test_kept_alive_connections_do_not_outlive_their_event_loop(provider, ready):
    # in a process of its own: no client closes the sockets that it keeps alive
    program = LOOPS.replace("PROVIDER", provider).replace("READY", str(ready))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["['answered']"] * 3, done.stderr
