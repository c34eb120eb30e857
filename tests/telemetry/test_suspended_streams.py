"""No span of ours is current while a stream is suspended, nor once it is left, however."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc

import pytest
from opentelemetry import trace
from telemetry.doors import ASKED, collect
from telemetry.tracing import current

from tiered_llm.telemetry import names
from tiered_llm.testing import Answer, Fault

ANSWER = Answer(text="one two three four five six seven eight nine ten")
APP = "GET /chat"


def ours():
    """Whether the current span is one that we made."""
    scope = getattr(trace.get_current_span(), "instrumentation_scope", None)
    return scope is not None and scope.name == names.SCOPE


@pytest.fixture
def undisturbed(instrumentor):
    """Whether what is current is what it was; OpenLLMetry leaves its own spans current."""
    if instrumentor == "openllmetry":
        return lambda: not ours()
    return lambda: current() == APP


@pytest.fixture
def serve(tracing):
    """Runs a handler within the application's own span."""

    def run(handle):
        def handled():
            with tracing.provider.get_tracer("app").start_as_current_span(APP):
                return handle()

        return contextvars.copy_context().run(handled)

    return run


@pytest.fixture
def stalling(simulated_tiers):
    """The light tier says five words and then no more."""
    stall = Fault.stall(at="content", after=5, answer=ANSWER)
    simulated_tiers.light.always("qwen2.5:7b", stall)


def test_between_two_chunks(wired, serve, undisturbed):
    def handle():
        return [undisturbed() for _ in wired().stream(ASKED)]

    seen = serve(handle)
    assert len(seen) > 2
    assert all(seen)


def test_between_two_chunks_on_the_loop(wired, serve, undisturbed):
    async def read():
        return [undisturbed() async for _ in wired().astream(ASKED)]

    seen = serve(lambda: asyncio.run(read()))
    assert len(seen) > 2
    assert all(seen)


def test_between_two_events(wired, serve, undisturbed):
    def handle():
        return [undisturbed() for _ in wired().stream_events(ASKED, version="v3")]

    seen = serve(handle)
    assert len(seen) > 2
    assert all(seen)


def test_while_another_tier_takes_over(wired, serve, undisturbed, simulated_tiers):
    simulated_tiers.light.always("qwen2.5:7b", Fault.cut(at="role"))

    def handle():
        return [undisturbed() for _ in wired().stream(ASKED)]

    assert all(serve(handle))


# --- left ---


def closed(model, ok):
    stream = model.stream(ASKED)
    next(stream)
    stream.close()
    return ok()


def collected(model, ok):
    stream = model.stream(ASKED)
    next(stream)
    del stream
    gc.collect()
    return ok()


def closed_on_the_loop(model, ok):
    async def leave():
        stream = model.astream(ASKED)
        await anext(stream)
        await stream.aclose()
        return ok()

    return asyncio.run(leave())


def left_to_the_loop(model, ok):
    """Thrown away; the loop closes it, in a task of its own."""

    async def leave():
        stream = model.astream(ASKED)
        await anext(stream)
        del stream
        gc.collect()
        await asyncio.get_running_loop().shutdown_asyncgens()
        return ok()

    return asyncio.run(leave())


def cancelled(model, ok):
    """In the midst of waiting for more."""
    four, after = asyncio.Event(), []

    async def read():
        seen = 0
        try:
            async for _ in model.astream(ASKED):
                seen += 1
                if seen == 4:
                    four.set()
        finally:
            after.append(ok())

    async def cancel():
        task = asyncio.create_task(read())
        await four.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return ok() and all(after)

    return asyncio.run(cancel())


WAYS = [closed, collected, closed_on_the_loop, left_to_the_loop, cancelled]


@pytest.mark.parametrize("leave", WAYS)
@pytest.mark.usefixtures("stalling")
def test_a_stream_that_is_left_leaves_nothing_current(wired, serve, undisturbed, tracing, leave):
    assert serve(lambda: leave(wired(), undisturbed))
    attempt, route = tracing.only(names.ATTEMPT_SPAN), tracing.only(names.ROUTE_SPAN)
    assert attempt.attributes[names.OUTCOME] == "abandoned"
    assert attempt.parent.span_id == route.context.span_id


@pytest.mark.usefixtures("stalling")
def test_an_answer_that_is_cancelled_leaves_nothing_current(wired, serve, tracing, simulated_tiers):
    light = simulated_tiers.light

    async def cancel():
        task = asyncio.create_task(wired().ainvoke(ASKED))
        await light.await_for(lambda: len(light.requests) == 1)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return current()

    assert serve(lambda: asyncio.run(cancel())) == APP
    assert tracing.only(names.ATTEMPT_SPAN).attributes[names.OUTCOME] == "abandoned"
    assert tracing.only(names.ROUTE_SPAN).attributes[names.ERROR_TYPE] == "CancelledError"


def test_a_span_that_is_made_between_two_chunks_lies_below_the_applications(wired, serve, tracing):
    tracer = tracing.provider.get_tracer("app")

    def handle():
        for _ in wired().stream(ASKED):
            with tracer.start_as_current_span("write"):
                pass

    serve(handle)
    app = tracing.only(APP).context.span_id
    assert {span.parent.span_id for span in tracing.named("write")} == {app}


def test_streams_that_are_read_in_turns_keep_to_themselves(wired, serve, tracing):
    async def both():
        await asyncio.gather(*(collect(wired().astream(ASKED)) for _ in range(5)))

    def in_turns():
        streams = [wired().stream(ASKED) for _ in range(5)]
        for _ in zip(*streams, strict=False):
            assert current() == APP
        for stream in streams:
            stream.close()

    serve(in_turns)
    serve(lambda: asyncio.run(both()))
    routes = {span.context.span_id for span in tracing.named(names.ROUTE_SPAN)}
    attempts = tracing.named(names.ATTEMPT_SPAN)
    assert len(routes) == len(attempts) == 10
    assert {span.parent.span_id for span in attempts} == routes
