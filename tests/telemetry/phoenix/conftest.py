"""The real Arize Phoenix, from the environment that `make test-phoenix` makes.

The whole stage runs by `make test-phoenix` alone: a plain `pytest` does not look in here.
"""

from __future__ import annotations

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from telemetry.phoenix.server import PhoenixServer


@pytest.fixture(scope="session")
def phoenix(tmp_path_factory):
    with PhoenixServer(tmp_path_factory.mktemp("phoenix")) as server:
        yield server


@pytest.fixture
def exporting(phoenix, tracing):
    """The test's own SDK also sends its spans to Phoenix, as an application would."""
    exporter = OTLPSpanExporter(f"{phoenix.url}/v1/traces")
    tracing.provider.add_span_processor(BatchSpanProcessor(exporter))
    return tracing
