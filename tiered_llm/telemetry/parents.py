"""The span of the LangChain run around a call, where an instrumentor keeps one.

OpenInference's tracer never makes its spans current, and OpenLLMetry's does so in part: a span
of ours would begin a trace of its own. Both keep their spans by run id, in a handler that every
callback manager holds. Neither package is imported here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import trace

if TYPE_CHECKING:
    from uuid import UUID

    from langchain_core.runnables import RunnableConfig
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

_MOST_RUNS = 100
"""Runs that are walked up in search of one that has a span."""


def parent_of(config: RunnableConfig) -> Context | None:
    """The context with the nearest instrumented run's span; None for the current one."""
    manager: Any = config.get("callbacks")
    run_id = getattr(manager, "parent_run_id", None)
    if run_id is None:
        return None
    for handler in manager.handlers:
        find = _FINDERS.get(type(handler).__name__)
        span = find(handler, run_id) if find else None
        if span is not None:
            return trace.set_span_in_context(span)
    return None


def is_instrumented(config: RunnableConfig) -> bool:
    """Whether somebody else makes spans of model calls."""
    manager: Any = config.get("callbacks")
    handlers = getattr(manager, "handlers", manager) or ()
    return any(type(handler).__name__ in _FINDERS for handler in handlers)


def _openinference(handler: Any, run_id: UUID) -> Span | None:
    at: Any = run_id
    for _ in range(_MOST_RUNS):
        span: Span | None = handler.get_span(at)
        if span is not None:
            return span
        run = handler.run_map.get(str(at))
        at = getattr(run, "parent_run_id", None)
        if at is None:
            return None
    return None


def _openllmetry(handler: Any, run_id: UUID) -> Span | None:
    holder = handler.spans.get(run_id)
    span: Span | None = getattr(holder, "span", None)
    return span


_FINDERS = {"OpenInferenceTracer": _openinference, "TraceloopCallbackHandler": _openllmetry}
"""The instrumentors' handlers, by the names of their classes."""
