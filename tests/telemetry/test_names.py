"""The page of docs lists what is told: every name, and the units."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
from ollama import ResponseError
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from telemetry.doors import ASKED

from tiered_llm import BudgetManager
from tiered_llm.telemetry import Telemetry, names
from tiered_llm.testing import Fault

PAGE = Path(__file__).parents[2] / "docs/how-to/trace-with-opentelemetry.md"
TEXT = PAGE.read_text(encoding="utf-8")
_METRICS = TEXT.partition("\n## Metrics\n")[2].partition("\n## ")[0]
UNITS = dict(re.findall(r"^\| `([\w.]+)` \| (?:`(\S+)` )?\|", _METRICS, re.MULTILINE))
"""The table of instruments: each one's unit."""

ELSEWHERE = {
    *("SCOPE", "NOBODY", "CHAT", "DURATION_BOUNDS_S", "REFERENCE_GPU_GB"),
    # what the Prometheus page alone shows, of all that share a store
    *("BASELINE_GPU_TIME", "BUDGET_NEAR", "DROPPED", "DROP_CAUSE", "PROCESSES"),
    *("FEEDBACK", "FEEDBACK_SCORE"),
}
NAMES = {
    name: value for name, value in vars(names).items() if name.isupper() and name not in ELSEWHERE
}


def named(value):
    """Whether the page names it, in full or by its last part behind a full name of its kind."""
    return f"`{value}" in TEXT or f"`.{value.rpartition('.')[2]}`" in TEXT


@pytest.mark.parametrize("name", NAMES)
def test_the_page_names_it(name):
    assert named(NAMES[name]), NAMES[name]


def test_the_page_lists_the_instruments_with_their_units(wired, simulated_tiers):
    """A call under a budget, a stream that falls back, and an error make all of them."""
    reader, light = InMemoryMetricReader(), simulated_tiers.light
    told = Telemetry(meter_provider=MeterProvider([reader]), tenants=["acme"])
    prices = {"input_usd_per_million": Decimal(1), "output_usd_per_million": Decimal(3)}
    tiers = {
        tier.value: spec.model_copy(update=prices) for tier, spec in simulated_tiers.specs.items()
    }
    paying = {"budget": BudgetManager(100_000), "tenant_id": "acme"}
    model = wired(telemetry=told, fields={**tiers, **paying})
    model.invoke(ASKED)
    light.always("qwen2.5:7b", Fault.status(500))
    list(model.stream(ASKED))
    light.always("qwen2.5:7b", Fault.status(400))
    with pytest.raises(ResponseError):
        model.invoke(ASKED)
    (resource,) = reader.get_metrics_data().resource_metrics
    (scope,) = resource.scope_metrics
    assert {metric.name: metric.unit for metric in scope.metrics} == UNITS
