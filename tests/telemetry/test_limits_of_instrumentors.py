"""What the docs say that instrumentors do by themselves; one that is mended fails here."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from opentelemetry.trace import StatusCode
from telemetry.doors import ASKED
from telemetry.instrumentors import INSTRUMENTORS, openinference, openllmetry
from telemetry.tracing import current

from tiered_llm.telemetry import names
from tiered_llm.testing import Answer, Fault

STALLED = Fault.stall(at="content", after=5, answer=Answer(text="one two three four five six"))


@pytest.fixture
def light(simulated_tiers):
    return simulated_tiers.light


@pytest.mark.parametrize("instrumentor", INSTRUMENTORS)
def test_both_show_the_prompt_unless_they_are_told_not_to(
    wired, tracing, light, monkeypatch, instrumentor
):
    def shown(step):
        tracing.exporter.clear()
        light.always("qwen2.5:7b", step)
        with INSTRUMENTORS[instrumentor](tracing.provider):
            contextvars.copy_context().run(wired().invoke, "sesame")
        return any("sesame" in span.to_json() for span in tracing.spans)

    assert shown(Answer(text="Good day."))
    for name in ("OPENINFERENCE_HIDE_INPUTS", "OPENINFERENCE_HIDE_OUTPUTS"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("TRACELOOP_TRACE_CONTENT", "false")
    assert not shown(Answer(text="Good day."))
    assert shown(Fault.status(500, "cannot answer sesame"))


def test_openllmetry_leaves_its_span_current_in_a_suspended_stream(wired, tracing):
    def between():
        return {current() for _ in wired().stream(ASKED)}

    with openllmetry(tracing.provider):
        assert contextvars.copy_context().run(between) == {"TieredChatModel.workflow"}
    with openinference(tracing.provider):
        assert contextvars.copy_context().run(between) == {""}


def test_openinference_tells_nothing_of_a_model_call_that_is_cancelled(wired, tracing, light):
    light.always("qwen2.5:7b", STALLED)

    async def cancel():
        task = asyncio.create_task(wired().ainvoke(ASKED))
        await light.await_for(lambda: len(light.requests) == 1)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    with openinference(tracing.provider):
        asyncio.run(cancel())
    assert not tracing.named("ChatOllama")
    assert tracing.only(names.ATTEMPT_SPAN).attributes[names.OUTCOME] == "abandoned"


@pytest.mark.parametrize("instrumentor", INSTRUMENTORS)
def test_a_stream_that_is_closed_is_an_error_to_them_and_none_to_us(
    wired, tracing, light, instrumentor
):
    light.always("qwen2.5:7b", STALLED)

    def leave():
        stream = wired().stream(ASKED)
        next(stream)
        stream.close()

    with INSTRUMENTORS[instrumentor](tracing.provider):
        contextvars.copy_context().run(leave)
    ours = (names.ROUTE_SPAN, names.ATTEMPT_SPAN)
    failed = {s.name for s in tracing.spans if s.status.status_code is StatusCode.ERROR}
    assert any("TieredChatModel" in name for name in failed)
    assert not failed & set(ours)


class Client(BaseCallbackHandler):
    """Makes a span where a model's request begins, as an HTTP client's instrumentation does."""

    run_inline = True

    def __init__(self, tracer):
        self._tracer = tracer

    def on_chat_model_start(self, *_, **__):
        with self._tracer.start_as_current_span("POST"):
            pass


def test_what_a_client_traces_is_below_the_attempt_of_a_whole_answer_alone(wired, tracing):
    tracer, model = tracing.provider.get_tracer("app"), wired()
    config = {"callbacks": [Client(tracer)]}
    ways = {
        "invoke": lambda: model.invoke(ASKED, config),
        "ainvoke": lambda: asyncio.run(model.ainvoke(ASKED, config)),
        "stream": lambda: list(model.stream(ASKED, config)),
    }
    outer = {}
    for name, ask in ways.items():
        tracing.exporter.clear()
        with tracer.start_as_current_span("GET /chat"):
            ask()
        by_id = {span.context.span_id: span.name for span in tracing.spans}
        outer[name] = by_id[tracing.only("POST").parent.span_id]
    attempt = names.ATTEMPT_SPAN
    assert outer == {"invoke": attempt, "ainvoke": attempt, "stream": "GET /chat"}
