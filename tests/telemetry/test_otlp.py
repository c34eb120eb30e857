"""Spans and metrics over the wire: the real exporter, the batch processor, a real receiver."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from telemetry.doors import ASKED, collect
from telemetry.instrumentors import INSTRUMENTORS
from telemetry.otlp_sink import OtlpSink, attributes

from tiered_llm import TieredChatModel
from tiered_llm.telemetry import Telemetry, names
from tiered_llm.testing import Answer, Fault

SAID = Answer(text="Good day.")


class Exported:
    """A model whose SDK sends what it is told to a receiver: each second, and at the end."""

    def __init__(self, tiers, sink):
        traces = OTLPSpanExporter(f"{sink.url}/v1/traces", timeout=1)
        metrics = OTLPMetricExporter(f"{sink.url}/v1/metrics", timeout=1)
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(BatchSpanProcessor(traces, schedule_delay_millis=1_000))
        self.meters = MeterProvider([PeriodicExportingMetricReader(metrics)])
        told = Telemetry(tracer_provider=self.tracers, meter_provider=self.meters)
        specs = {tier.value: spec for tier, spec in tiers.specs.items()}
        self.model = TieredChatModel(**specs, telemetry=told)

    def close(self):
        """Send the rest."""
        self.tracers.shutdown()
        self.meters.shutdown()


@pytest.fixture
def sink():
    with OtlpSink() as running:
        yield running


@pytest.fixture
def exported(simulated_tiers, clean_environment, sink, caplog):
    caplog.set_level(logging.CRITICAL, "opentelemetry")  # the exporters' own complaints
    simulated_tiers.light.always("qwen2.5:7b", SAID)
    made = Exported(simulated_tiers, sink)
    yield made
    made.close()


DOORS = {
    "invoke": lambda m: m.invoke(ASKED),
    "ainvoke": lambda m: asyncio.run(m.ainvoke(ASKED)),
    "stream": lambda m: list(m.stream(ASKED)),
    "astream": lambda m: asyncio.run(collect(m.astream(ASKED))),
}


def test_spans_arrive_with_their_parents(exported, sink, simulated_tiers):
    simulated_tiers.light.always("qwen2.5:7b", Fault.status(500))
    for call in DOORS.values():
        call(exported.model)
    exported.close()
    by_id = {span.span_id: span for span in sink.spans}
    routes = [span for span in sink.spans if span.name == names.ROUTE_SPAN]
    attempts = [span for span in sink.spans if span.name == names.ATTEMPT_SPAN]
    assert len({route.trace_id for route in routes}) == len(routes) == len(DOORS)
    assert len(attempts) == 2 * len(DOORS)
    for attempt in attempts:
        assert by_id[attempt.parent_id].name == names.ROUTE_SPAN
        assert by_id[attempt.parent_id].trace_id == attempt.trace_id
    for route in routes:
        assert (route.scope, route.parent_id) == (names.SCOPE, "")
        assert route.attributes[names.ANSWERED_TIER] == "standard"
        assert [name for name, _ in route.events] == [names.FALLBACK_EVENT]


@pytest.mark.parametrize("instrumentor", INSTRUMENTORS)
def test_an_instrumentors_spans_arrive_in_the_same_trace(exported, sink, instrumentor):
    with INSTRUMENTORS[instrumentor](exported.tracers):
        exported.model.invoke(ASKED)
    exported.close()
    (trace_id,) = {span.trace_id for span in sink.spans}
    by_name = {span.name.partition(".")[0]: span for span in sink.spans}
    assert trace_id
    outer, chat = by_name["TieredChatModel"], by_name["ChatOllama"]
    (route,) = [span for span in sink.spans if span.name == names.ROUTE_SPAN]
    assert {route.parent_id, chat.parent_id} == {outer.span_id}


def test_metrics_arrive_and_add_up(exported, sink, simulated_tiers):
    for call in DOORS.values():
        call(exported.model)
    exported.close()
    read, written = simulated_tiers.light.billed()
    tokens = Counter()
    for point in sink.metrics[names.TOKENS]:
        tokens[attributes(point.attributes)[names.TOKEN_TYPE]] += point.as_int
    assert tokens == {"input": read, "output": written}
    (decisions,) = sink.metrics[names.DECISIONS]
    assert decisions.as_int == len(DOORS)
    (duration,) = sink.metrics[names.DURATION]
    assert duration.count == len(DOORS)
    assert tuple(duration.explicit_bounds) == names.DURATION_BOUNDS_S


@pytest.mark.parametrize("door", DOORS)
def test_calls_go_on_where_the_receiver_refuses(exported, sink, door):
    sink.status = 503
    assert DOORS[door](exported.model)
    exported.close()
    assert sink.refused >= 1
    assert not sink.spans


@pytest.mark.parametrize("door", DOORS)
def test_calls_go_on_where_the_receiver_is_gone(exported, sink, door):
    sink.stop()
    assert DOORS[door](exported.model)
    exported.close()
    assert not sink.spans
