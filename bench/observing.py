"""What everything on costs over everything off, in one run.

On: a collector of decisions, spans through the SDK's batch exporter, the SDK's metrics, a budget
in memory. Off: none of them. The same `TieredChatModel`, timed in turns, in batches, over a model
server on this machine (the wire-level simulator, which answers at once: any real model is slower,
and the ratio nearer to 1) and, for the bare cost, over a fake in the process.

    python bench/observing.py [--json] [--rounds 25]

Exits with 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from overhead import CHUNKS, Forgetful, Row, compare, line

from tiered_llm import BudgetManager, ModelMetricsCollector, TieredChatModel
from tiered_llm.telemetry import Telemetry
from tiered_llm.testing import SimulatedModel, Simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

BOUND = 1.5


class Counting(SpanExporter):
    """Takes the spans, as an exporter to a collector on this machine would, and keeps none."""

    def __init__(self) -> None:
        """Start with none."""
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Count them."""
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


def observed(exporter: SpanExporter) -> dict[str, Any]:
    """The fields that switch everything on."""
    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(exporter))
    meters = MeterProvider([InMemoryMetricReader()])
    return {
        "metrics": ModelMetricsCollector(queue_size=1_000_000),
        "telemetry": Telemetry(tracer_provider=tracers, meter_provider=meters),
        "budget": BudgetManager(default_daily_limit=10**15, default_monthly_limit=10**15),
        "tenant_id": "acme",
    }


def measure(rounds: int) -> list[Row]:
    """All rows; whoever is switched off has telemetry disabled too."""
    exporter = Counting()
    loop = asyncio.new_event_loop()
    run = loop.run_until_complete

    async def read(model: Any) -> None:
        async for _ in model.astream("hello"):
            pass

    def pair(**tier: Any) -> tuple[TieredChatModel, TieredChatModel]:
        off = TieredChatModel(**tier, telemetry=Telemetry(enabled=False))
        return off, TieredChatModel(**tier, **observed(exporter))

    def both(call: Callable[[Any], Any], models: tuple[Any, Any]) -> Any:
        return tuple((lambda model=model: call(model)) for model in models)

    with Simulator([SimulatedModel(name="qwen2.5:7b")]) as served:
        wire = pair(light={"model_id": "vllm/qwen2.5:7b", "base_url": f"{served.url}/v1"})
        bare = pair(light=Forgetful(text="hi"))
        long = pair(light=Forgetful(text=" ".join(["word"] * CHUNKS)))
        rows = [
            compare("served: invoke", both(lambda m: m.invoke("hello"), wire), BOUND, rounds),
            compare(
                "served: ainvoke", both(lambda m: run(m.ainvoke("hello")), wire), BOUND, rounds
            ),
            compare("served: stream", both(lambda m: list(m.stream("hello")), wire), BOUND, rounds),
            compare("served: astream", both(lambda m: run(read(m)), wire), BOUND, rounds),
            compare("fake: invoke", both(lambda m: m.invoke("hello"), bare), None, rounds),
            compare("fake: ainvoke", both(lambda m: run(m.ainvoke("hello")), bare), None, rounds),
            compare(
                "fake: stream, 200", both(lambda m: list(m.stream("hello")), long), None, rounds
            ),
            compare("fake: astream, 200", both(lambda m: run(read(m)), long), None, rounds),
        ]
    loop.close()
    assert exporter.spans > 0, "nothing was traced"
    return rows


def main() -> int:
    """Measure, print, and tell whether every bound was kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=25, help="timed rounds")
    given = parser.parse_args()
    gc.freeze()
    rows = measure(given.rounds)
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        print(f"{'':20} {'off':>12} {'on':>12}")
        for row in rows:
            print(line(row))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
