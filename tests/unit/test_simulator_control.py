"""What a test may do with a simulator: script, watch, wait, stop, start again."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from langchain_ollama import ChatOllama

import tiered_llm.testing
from tiered_llm.testing import Answer, Fault, SimulatedModel, Simulator
from tiered_llm.testing.simulator.wire import TRANSPORT, GoneError, Wire

MODEL = "qwen2.5:7b"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": False}


@pytest.fixture
def sim(simulator):
    return simulator


def say(sim, model=MODEL):
    answer = httpx.post(f"{sim.url}/api/chat", json={**BODY, "model": model})
    return answer.json()["message"]["content"] if answer.is_success else answer.status_code


def test_scripted_steps_are_taken_in_turn_then_the_default_again(sim):
    sim.script(MODEL, Answer(text="one"), Fault.status(503))
    sim.script(MODEL, Answer(text="two"))
    assert [say(sim) for _ in range(3)] == ["one", 503, "two"]
    assert "no model is behind it" in say(sim)


def test_scripts_belong_to_one_model(sim):
    sim.script(MODEL, Answer(text="mine"))
    assert say(sim, "qwen2.5:72b") != "mine"
    assert say(sim) == "mine"


def test_always_holds_until_cleared_and_the_queue_goes_first(sim):
    sim.always(MODEL, Fault.status(500))
    sim.script(MODEL, Answer(text="first"))
    assert [say(sim) for _ in range(3)] == ["first", 500, 500]
    sim.clear(MODEL)
    assert "simulated" in say(sim)


def test_a_step_may_be_a_function_of_the_request(sim):
    sim.always(MODEL, lambda request: Answer(text=f"{request.user_text}, too"))
    assert say(sim) == "Hi, too"


def test_a_model_may_bring_its_own_default():
    model = SimulatedModel(name=MODEL, answer=lambda _request: Answer(text="own"))
    with Simulator([model]) as sim:
        assert say(sim) == "own"


def test_unknown_models_cannot_be_scripted(sim):
    with pytest.raises(ValueError, match="no model 'x' here"):
        sim.script("x", Answer(text=""))
    with pytest.raises(ValueError, match="no model 'x' here"):
        sim.always("x", Answer(text=""))


def test_a_refused_connection_cannot_be_queued(sim):
    with pytest.raises(ValueError, match="reaches no script"):
        sim.script(MODEL, Fault.refuse())


def test_a_function_that_refuses_resets_the_connection(sim):
    sim.always(MODEL, lambda _request: Fault.refuse())
    with pytest.raises(httpx.ReadError):
        say(sim)
    assert sim.requests[0].outcome == "refuse"


def test_refuse_and_accept_keep_the_port(sim):
    url = sim.url
    sim.refuse()
    sim.refuse()
    with pytest.raises(httpx.ConnectError):
        say(sim)
    sim.accept()
    sim.accept()
    assert sim.url == url
    assert say(sim)


@pytest.mark.parametrize("way_back", ["clear", "reset", "accept"])
def test_always_refuse_takes_the_simulator_down(sim, way_back):
    sim.always(MODEL, Fault.refuse())
    with pytest.raises(httpx.ConnectError):
        say(sim)
    getattr(sim, way_back)()
    assert say(sim)


def test_refusing_closes_idle_connections():
    with Simulator([], keep_alive=True) as sim, httpx.Client(base_url=sim.url) as client:
        assert client.get("/").is_success
        sim.refuse()
        with pytest.raises(httpx.TransportError):
            client.get("/")


def test_reset_forgets_scripts_and_records(sim):
    sim.script(MODEL, Answer(text="one"))
    say(sim)
    sim.script(MODEL, Answer(text="two"))
    sim.reset()
    assert (sim.requests, sim.billed()) == ([], (0, 0))
    assert say(sim) != "two"


def test_billed_sums_up_per_model_and_over_all(sim):
    sim.always(MODEL, Answer(text="one two"))
    say(sim)
    say(sim)
    say(sim, "qwen2.5:72b")
    assert sim.billed(MODEL) == (10, 4)
    assert sim.billed()[0] == 15


def test_a_stalled_answer_goes_on_when_released(sim):
    sim.script(MODEL, Fault.stall("content", after=1, answer=Answer(text="one two")))
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(say, sim)
        sim.wait_for(lambda: any(r.outcome == "stalled" for r in sim.requests))
        assert sim.requests[0].output_tokens == 1
        sim.release()
        assert answer.result() == "one two"
    assert sim.requests[0].outcome == "answered"


def test_a_stalled_stream_goes_on_when_released(sim):
    sim.script(MODEL, Fault.stall("content", after=1, answer=Answer(text="one two")))
    stream = ChatOllama(model=MODEL, base_url=sim.url).stream("Hi")
    assert next(stream).content == "one"
    sim.wait_for(lambda: sim.requests[0].outcome == "stalled")
    sim.release()
    assert next(stream).content == " two"
    assert next(stream).usage_metadata["output_tokens"] == 2


def test_reset_lets_stalled_answers_go(sim):
    sim.script(MODEL, Fault.stall())
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(say, sim)
        sim.wait_for(lambda: any(r.outcome == "stalled" for r in sim.requests))
        sim.reset()
        assert answer.result()
    assert sim.requests == []


def test_a_client_that_leaves_is_seen(sim):
    sim.script(MODEL, Fault.stall("content", after=2))
    stream = ChatOllama(model=MODEL, base_url=sim.url).stream("Hi")
    next(stream)
    stream.close()
    sim.wait_for(lambda: sim.requests[0].disconnected)
    assert sim.requests[0].outcome == "disconnected"
    assert sim.requests[0].output_tokens <= 2


async def test_a_cancelled_call_is_seen_from_async_code(sim):
    sim.script(MODEL, Fault.stall())
    call = asyncio.create_task(ChatOllama(model=MODEL, base_url=sim.url).ainvoke("Hi"))
    await sim.await_for(lambda: any(r.outcome == "stalled" for r in sim.requests))
    call.cancel()
    await asyncio.wait([call])
    await sim.await_for(lambda: sim.requests[0].disconnected)


def test_a_client_that_leaves_in_a_slow_answer_is_billed_for_what_was_generated():
    slow = SimulatedModel(name=MODEL, latency_s=0.001, token_latency_s=60.0)
    with Simulator([slow]) as sim:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{sim.url}/api/chat", json=BODY, timeout=0.2)
        sim.wait_for(lambda: sim.requests[0].disconnected)
        assert sim.billed(MODEL) == (5, 0)


def test_a_client_that_leaves_while_pieces_flow_is_seen():
    long = Answer(text="word " * 5_000)
    slow = SimulatedModel(name=MODEL, token_latency_s=0.001, answer=lambda _: long)
    with Simulator([slow]) as sim:
        stream = ChatOllama(model=MODEL, base_url=sim.url).stream("Hi")
        next(stream)
        stream.close()
        sim.wait_for(lambda: sim.requests[0].disconnected)
        assert 0 < sim.requests[0].output_tokens < 5_000


async def test_writing_to_a_client_that_has_left_ends_the_answer():
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message["body"])

    async with Wire({"extensions": {TRANSPORT: None}}, receive, send) as wire:
        with pytest.raises(GoneError):
            await wire.write(b"one")
    assert sent == [b"one"]


def test_a_client_that_leaves_before_its_body_is_complete_leaves_no_record(sim):
    address = ("127.0.0.1", int(sim.url.rpartition(":")[2]))
    head = b"POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{"
    with socket.create_connection(address) as connection:
        connection.sendall(head)
    assert say(sim)
    assert len(sim.requests) == 1


def test_waiting_for_what_does_not_come_to_pass_says_what_was_seen(sim):
    say(sim)
    with pytest.raises(TimeoutError, match="RequestRecord"):
        sim.wait_for(lambda: len(sim.requests) > 1, timeout_s=0.01)


def test_stopping_cuts_answers_under_way_and_leaves_no_thread():
    before = threading.active_count()
    sim = Simulator([SimulatedModel(name=MODEL)]).start()
    sim.always(MODEL, Fault.stall())
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(say, sim)
        sim.wait_for(lambda: any(r.outcome == "stalled" for r in sim.requests))
        sim.stop()
        assert isinstance(answer.exception(), httpx.TransportError)
    assert sim.requests[0].outcome == "disconnected"
    assert threading.active_count() == before


def test_stopping_while_refusing_and_twice_is_fine():
    sim = Simulator([SimulatedModel(name=MODEL)]).start()
    sim.refuse()
    sim.stop()
    sim.stop()


def test_it_can_be_started_again():
    sim = Simulator([SimulatedModel(name=MODEL)])
    for _ in range(2):
        with sim:
            assert say(sim)


def test_what_needs_a_running_simulator_says_so():
    with pytest.raises(RuntimeError, match="not running"):
        _ = Simulator([]).url


def test_a_taken_port_is_an_error(sim):
    with pytest.raises(OSError, match="in use"):
        Simulator([], port=int(sim.url.rpartition(":")[2])).start()


def test_ipv6_addresses_are_bracketed():
    with Simulator([], host="::1") as sim:
        assert sim.openai_url.startswith("http://[::1]:")
        assert httpx.get(sim.url).is_success


def test_many_requests_at_once_are_all_recorded(sim):
    with httpx.Client() as client, ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda url: client.post(url, json=BODY), [f"{sim.url}/api/chat"] * 100))
    assert [record.outcome for record in sim.requests] == ["answered"] * 100


def test_public_names_are_found_where_users_look():
    names = {"Answer", "ChatRequest", "Fault", "RequestRecord", "SimulatedModel", "Simulator"}
    assert names | {"ToolCallAnswer"} <= set(tiered_llm.testing.__all__)
    assert all(getattr(tiered_llm.testing, name) for name in names)
    with pytest.raises(AttributeError, match="Nothing"):
        _ = tiered_llm.testing.Nothing
