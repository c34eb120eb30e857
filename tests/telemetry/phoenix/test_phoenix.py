"""What Phoenix shows of real runs: one trace for each request, and the right parents."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from opentelemetry.trace import format_span_id, format_trace_id
from telemetry.doors import DOORS, agraph_of, enter, graph_of, question

from tiered_llm.telemetry import names
from tiered_llm.testing import Fault

SHOWN = ("invoke", "ainvoke", "stream", "astream", "batch", "abatch", "graph", "agraph")


class Shown:
    """Some traces, as Phoenix shows them."""

    def __init__(self, spans):
        self.spans = spans
        self._by_id = {span["context"]["span_id"]: span for span in spans}

    def named(self, start):
        return [span for span in self.spans if span["name"].startswith(start)]

    def parent(self, span):
        return self._by_id.get(span["parent_id"])

    def path(self, span):
        """The names from the root down to a span."""
        outer = self.parent(span)
        return [*(self.path(outer) if outer else []), span["name"]]


@pytest.fixture
def shown(phoenix, exporting):
    """Sends what there is, and reads it back: as many spans, each below the same one."""

    def read():
        exporting.provider.force_flush()
        made = {
            format_span_id(span.context.span_id): span.parent
            and format_span_id(span.parent.span_id)
            for span in exporting.spans
        }
        traces = {format_trace_id(span.context.trace_id) for span in exporting.spans}
        found = phoenix.wait_for(traces, len(made))
        assert {span["context"]["span_id"]: span["parent_id"] for span in found} == made
        return Shown(found)

    return read


@pytest.fixture(params=[1, 2], ids=["answered", "fell_back"])
def attempts(request, simulated_tiers):
    if request.param == 2:
        simulated_tiers.light.always("qwen2.5:7b", Fault.status(500))
    return request.param


@pytest.mark.parametrize("name", SHOWN)
def test_a_request_is_one_trace(wired, instrumentor, shown, attempts, name):
    door = DOORS[name]
    enter(door, wired())
    seen = shown()
    routes = seen.named(names.ROUTE_SPAN)
    traces = [route["context"]["trace_id"] for route in routes]
    assert len(set(traces)) == len(traces) == door.requests
    below = Counter(attempt["parent_id"] for attempt in seen.named(names.ATTEMPT_SPAN))
    assert below == {route["context"]["span_id"]: attempts for route in routes}
    chats = seen.named("Chat")
    assert len(chats) == (0 if instrumentor == "nobody" else door.requests * attempts)
    for span in (*routes, *chats):
        outer = seen.parent(span)
        if instrumentor == "nobody":
            assert outer is None
        else:
            assert "TieredChatModel" in outer["name"]


NODE = {
    "openinference": ["LangGraph", "ask", "TieredChatModel", names.ROUTE_SPAN, names.ATTEMPT_SPAN],
    "openllmetry": [
        "invoke_agent LangGraph",
        "LangGraph.workflow",
        "execute_task ask",
        "execute_task TieredChatModel",
        names.ROUTE_SPAN,
        names.ATTEMPT_SPAN,
    ],
    "nobody": [names.ROUTE_SPAN, names.ATTEMPT_SPAN],
}


@pytest.mark.parametrize("runs", ["invoke", "ainvoke"])
def test_a_graphs_node_holds_its_models_route(wired, instrumentor, shown, runs):
    if runs == "invoke":
        graph_of(wired()).invoke(question())
    else:
        asyncio.run(agraph_of(wired()).ainvoke(question()))
    seen = shown()
    (attempt,) = seen.named(names.ATTEMPT_SPAN)
    assert seen.path(attempt) == NODE[instrumentor]


def test_phoenix_shows_what_we_tell(wired, shown, simulated_tiers, exporting):
    simulated_tiers.light.always("qwen2.5:7b", Fault.status(500))
    with exporting.provider.get_tracer("app").start_as_current_span("GET /chat"):
        wired().invoke("Hello")
    seen = shown()
    (route,) = seen.named(names.ROUTE_SPAN)
    assert seen.path(route) == ["GET /chat", names.ROUTE_SPAN]
    told = route["attributes"]
    assert (told[names.TIER], told[names.ANSWERED_TIER]) == ("light", "standard")
    assert told[names.SCORE] < 0.3
    assert [event["name"] for event in route["events"]] == [names.FALLBACK_EVENT]
    first, second = seen.named(names.ATTEMPT_SPAN)
    by_number = {span["attributes"][names.ATTEMPT]: span["status_code"] for span in (first, second)}
    assert by_number == {1: "ERROR", 2: "UNSET"}
