"""A bound on calls at a time, for threads and event loops alike."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tiered_llm import TieredChatModel
from tiered_llm.fallback.gate import Gate
from tiered_llm.providers import Endpoint
from tiered_llm.testing import FakeChatModel
from tiered_llm.tiers import TierSpec


class Crowd:
    """Counts who is inside at once."""

    def __init__(self):
        self.inside = self.most = 0
        self._lock = threading.Lock()

    def __enter__(self):
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)

    def __exit__(self, *_):
        with self._lock:
            self.inside -= 1


async def test_coroutines_wait_their_turn_without_blocking_the_loop():
    gate, crowd = Gate(2), Crowd()

    async def visit():
        async with gate.aenter():
            with crowd:
                await asyncio.sleep(0)

    await asyncio.gather(*(visit() for _ in range(50)))
    assert crowd.most == 2


def test_threads_and_loops_share_one_count():
    gate, crowd = Gate(3), Crowd()

    async def avisit():
        async with gate.aenter():
            with crowd:
                await asyncio.sleep(0)

    def visit(n):
        if n % 2:
            asyncio.run(avisit())
        else:
            with gate.enter(), crowd:
                pass

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(visit, range(200)))
    assert 1 <= crowd.most <= 3
    assert crowd.inside == 0


async def test_who_is_cancelled_while_waiting_gives_the_turn_away():
    gate = Gate(1)
    async with gate.aenter():
        waiting = asyncio.create_task(_visit(gate))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(5), gate.aenter():
        pass


async def test_who_is_cancelled_just_as_the_turn_comes_gives_it_back():
    gate = Gate(1)
    holding = gate.aenter()
    await holding.__aenter__()
    waiting = asyncio.create_task(_visit(gate))
    await asyncio.sleep(0)
    await holding.__aexit__(None, None, None)  # the turn is given; the task has not run yet
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(5), gate.aenter():
        pass


async def test_who_is_cancelled_while_the_turn_is_being_given_gives_it_back(monkeypatch):
    gate, waiting = Gate(1), []
    give = Future.set_result

    def cancel_first(turn, result):
        waiting[0].cancel()
        give(turn, result)

    async with gate.aenter():
        waiting.append(asyncio.create_task(_visit(gate)))
        await asyncio.sleep(0)
        monkeypatch.setattr(Future, "set_result", cancel_first)
    monkeypatch.undo()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    async with asyncio.timeout(5), gate.aenter():
        pass


def test_a_thread_interrupted_while_it_waits_gives_its_turn_away(monkeypatch):
    gate = Gate(1)

    def interrupted(_turn, _timeout_s):
        raise KeyboardInterrupt

    with gate.enter():
        monkeypatch.setattr(Future, "result", interrupted)
        with pytest.raises(KeyboardInterrupt), gate.enter():
            pass
        monkeypatch.undo()
    with gate.enter():
        pass


async def test_an_error_inside_gives_the_place_back():
    gate = Gate(1)
    with pytest.raises(KeyError):
        async with gate.aenter():
            raise KeyError
    with pytest.raises(KeyError), gate.enter():
        raise KeyError
    with gate.enter():
        pass


async def _visit(gate):
    async with gate.aenter():
        pass


async def test_a_tiers_greatest_concurrency_holds_for_every_door():
    crowd = Crowd()

    class Busy(FakeChatModel):
        async def _agenerate(self, *args, **kwargs):
            with crowd:
                await asyncio.sleep(0)
            return await super()._agenerate(*args, **kwargs)

        async def _astream(self, *args, **kwargs):
            with crowd:
                async for chunk in super()._astream(*args, **kwargs):
                    await asyncio.sleep(0)
                    yield chunk

    spec = TierSpec(tier="light", model_id="fake/fake", max_concurrency=2)
    model = TieredChatModel(light=Endpoint(spec, Busy()))

    async def stream():
        async for _ in model.astream("hi"):
            pass

    await asyncio.gather(*(f() for f in [stream, lambda: model.ainvoke("hi")] * 10))
    assert crowd.most == 2
    assert crowd.inside == 0
