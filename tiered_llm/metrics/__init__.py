"""What happened and what it saved: a record of each call, and reports on them."""

from tiered_llm.metrics.collector import ModelMetricsCollector
from tiered_llm.metrics.errors import DecisionLogError
from tiered_llm.metrics.log import DecisionLog, Entry, Feedback, Retention
from tiered_llm.metrics.reading import MetricsReader
from tiered_llm.records import AttemptRecord, CallRecord

__all__ = [
    "AttemptRecord",
    "CallRecord",
    "DecisionLog",
    "DecisionLogError",
    "Entry",
    "Feedback",
    "MetricsReader",
    "ModelMetricsCollector",
    "Retention",
]
