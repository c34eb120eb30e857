"""An SDK that fails costs no call its answer, and no caller the error that is its own."""

from __future__ import annotations

import asyncio
import logging

import pytest
from ollama import ResponseError
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import Sampler
from telemetry.doors import ASKED, collect
from telemetry.tracing import Tracing

from tiered_llm import AllTiersFailedError, ModelMetricsCollector, watching
from tiered_llm.telemetry import Telemetry, names
from tiered_llm.testing import Answer, Fault

SAID = Answer(text="Good day.")
DOORS = {
    "invoke": lambda m: m.invoke(ASKED).text,
    "ainvoke": lambda m: asyncio.run(m.ainvoke(ASKED)).text,
    "stream": lambda m: "".join(chunk.text for chunk in m.stream(ASKED)),
    "astream": lambda m: "".join(c.text for c in asyncio.run(collect(m.astream(ASKED)))),
}


class BrokenError(RuntimeError):
    """What fails is telemetry; its text must not be seen."""


def fail(*_, **__):
    raise BrokenError("sesame")


class AtTheStart(SpanProcessor):
    on_start = fail


class AtTheEnd(SpanProcessor):
    on_end = fail


class BrokenExporter(SpanExporter):
    export = fail


class BrokenSampler(Sampler):
    should_sample = fail

    def get_description(self):
        return "broken"


class BrokenTracers(TracerProvider):
    get_tracer = fail


class BrokenMeters(MeterProvider):
    get_meter = fail


def with_processor(processor):
    provider = TracerProvider()
    provider.add_span_processor(processor)
    return {"tracer_provider": provider}


BROKEN = {
    "at the start": lambda: with_processor(AtTheStart()),
    "at the end": lambda: with_processor(AtTheEnd()),
    "exporter": lambda: with_processor(SimpleSpanProcessor(BrokenExporter())),
    "sampler": lambda: {"tracer_provider": TracerProvider(sampler=BrokenSampler())},
    "tracers": lambda: {"tracer_provider": BrokenTracers()},
    "meters": lambda: {"meter_provider": BrokenMeters()},
}


@pytest.fixture(params=DOORS)
def door(request):
    return DOORS[request.param]


@pytest.fixture(params=BROKEN)
def broken(request):
    return request.param


@pytest.fixture
def telemetry(broken):
    return Telemetry(**BROKEN[broken](), emit_genai_spans=True)


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.name == "tiered_llm.telemetry"]


def test_an_answer_is_an_answer(wired, simulated_tiers, telemetry, door):
    simulated_tiers.light.always("qwen2.5:7b", Fault.status(500))
    simulated_tiers.standard.always("qwen2.5:32b", SAID)
    assert door(wired(telemetry=telemetry)) == SAID.text


def test_an_error_is_the_callers(wired, simulated_tiers, telemetry, door):
    for tier, model in (("light", "7b"), ("standard", "32b"), ("heavy", "72b")):
        getattr(simulated_tiers, tier).always(f"qwen2.5:{model}", Fault.status(500))
    with pytest.raises(AllTiersFailedError):
        door(wired(telemetry=telemetry))


def test_it_is_said_once_and_without_its_text(wired, telemetry, broken, caplog):
    caplog.set_level(logging.DEBUG, "tiered_llm")
    model = wired(telemetry=telemetry)
    for _ in range(3):
        model.invoke(ASKED)
    said = ["telemetry failed (BrokenError); calls go on without"]
    assert warnings(caplog) == ([] if broken == "exporter" else said)  # of that the SDK warns
    assert not [r for r in caplog.records if r.name.startswith("tiered") and "sesame" in r.message]


def test_what_fails_costs_no_other_watcher_its_record(wired, telemetry, door):
    collector = ModelMetricsCollector()
    door(wired(telemetry=telemetry, fields={"metrics": collector}))
    (entry,) = collector.recent()
    assert entry.record.answered == "light"


class BrokenCollector(ModelMetricsCollector):
    record = fail


def test_a_collector_that_fails_costs_neither_the_call_nor_its_trace(wired, tracing, door):
    assert door(wired(fields={"metrics": BrokenCollector()}))
    assert tracing.only(names.ROUTE_SPAN).attributes[names.ANSWERED_TIER] == "light"


def test_an_error_is_the_callers_where_no_record_can_be_made(
    wired, simulated_tiers, monkeypatch, door
):
    monkeypatch.setattr(watching, "CallRecord", fail)
    simulated_tiers.light.always("qwen2.5:7b", Fault.status(400))
    with pytest.raises(ResponseError):
        door(wired())


def test_a_provider_that_the_environment_names_and_nobody_has(wired, monkeypatch, door, caplog):
    from opentelemetry import trace
    from opentelemetry.metrics import _internal

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(_internal, "_METER_PROVIDER", None)
    monkeypatch.setenv("OTEL_PYTHON_TRACER_PROVIDER", "no_such_provider")
    monkeypatch.setenv("OTEL_PYTHON_METER_PROVIDER", "no_such_provider")
    caplog.set_level(logging.WARNING, "tiered_llm")
    assert door(wired(telemetry=Telemetry()))
    assert len(warnings(caplog)) == 1


def test_a_span_that_fails_at_its_end_is_followed_by_the_next_ones(wired, simulated_tiers):
    """The first attempt's end fails; the second attempt has a span of its own."""

    class Once(SpanProcessor):
        failed = False

        def on_end(self, span):
            if not self.failed and span.name == names.ATTEMPT_SPAN:
                self.failed = True
                fail()

    tracing = Tracing()
    tracing.provider.add_span_processor(Once())
    simulated_tiers.light.always("qwen2.5:7b", Fault.status(500))
    wired(telemetry=tracing.telemetry()).invoke(ASKED)
    told = [(s.attributes[names.TIER], s.attributes[names.ATTEMPT]) for s in tracing.spans]
    assert told == [("light", 1), ("standard", 2), ("light", 2)]
