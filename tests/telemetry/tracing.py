"""A real SDK that keeps its spans, and its spans as trees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tiered_llm.telemetry import Telemetry, names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A span with what lies below it, in the order of beginning."""

    span: ReadableSpan
    children: tuple[Node, ...]

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def own(self) -> bool:
        """Whether we made it."""
        return self.span.instrumentation_scope.name == names.SCOPE

    def walk(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            yield from child.walk()

    def named(self, name: str) -> list[Node]:
        return [node for node in self.walk() if node.name == name]


def trees(spans: list[ReadableSpan]) -> list[Node]:
    """The roots of all traces; a span whose parent is not there is an error."""
    spans = sorted(spans, key=lambda span: span.start_time)
    below: dict[int | None, list[ReadableSpan]] = {}
    for span in spans:
        below.setdefault(span.parent and span.parent.span_id, []).append(span)
    lost = below.keys() - {None} - {span.context.span_id for span in spans}
    assert not lost, [span.name for at in lost for span in below[at]]

    def node(span: ReadableSpan) -> Node:
        own = below.get(span.context.span_id, ())
        return Node(span=span, children=tuple(map(node, own)))

    return [node(span) for span in below.get(None, ())]


class Tracing:
    """An SDK with an exporter in memory, beside whatever else takes its spans."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(**options)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def telemetry(self, **options: Any) -> Telemetry:
        return Telemetry(tracer_provider=self.provider, **options)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def only(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def calls(self) -> list[Node]:
        """The traces in which a model of ours was called."""
        return [root for root in trees(self.spans) if root.named(names.ROUTE_SPAN)]


def events(span: ReadableSpan) -> list[tuple[str, dict[str, Any]]]:
    return [(event.name, dict(event.attributes)) for event in span.events]


def current() -> str:
    """The name of the current span, if there is one."""
    return getattr(trace.get_current_span(), "name", "")
