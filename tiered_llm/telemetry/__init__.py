"""Spans and instruments of OpenTelemetry; the application brings the SDK."""

from tiered_llm.telemetry.instruments import BudgetSource, HealthSource, Instruments
from tiered_llm.telemetry.spans import CallSpans
from tiered_llm.telemetry.telemetry import Telemetry

__all__ = ["BudgetSource", "CallSpans", "HealthSource", "Instruments", "Telemetry"]
