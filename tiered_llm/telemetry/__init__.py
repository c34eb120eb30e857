"""Spans and instruments of OpenTelemetry; the application brings the SDK."""
