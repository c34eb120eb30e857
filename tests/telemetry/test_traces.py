"""One trace for each request, and in it every span below the right one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from opentelemetry.trace import SpanKind
from telemetry.doors import AGENTS, ASKED, DOORS, Door, enter
from telemetry.tracing import Tracing, trees

from tiered_llm.telemetry import names
from tiered_llm.testing import Answer, Fault, ToolCallAnswer

CHAT = (names.CHAT, SpanKind.CLIENT)
SERVERS = {"light": "qwen2.5:7b", "standard": "qwen2.5:32b"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A door, and how many attempts each of its requests makes."""

    door: Door
    attempts: tuple[int, ...]


@pytest.fixture(params=DOORS)
def name(request):
    return request.param


@pytest.fixture(params=["light", "standard"], ids=["answered", "fell_back"])
def case(request, name, simulated_tiers):
    """The light tier may be out of order; what an agent asks next goes where it was answered."""
    door, fell_back = DOORS[name], request.param == "standard"
    if fell_back:
        simulated_tiers.light.always("qwen2.5:7b", Fault.status(500))
    if name not in AGENTS:
        return Case(door=door, attempts=(1 + fell_back,) * door.requests)
    call = Answer(tool_calls=[ToolCallAnswer(name="get_weather", args={"city": "Oslo"})])
    server = getattr(simulated_tiers, request.param)
    server.script(SERVERS[request.param], call, Answer(text="It is sunny."))
    return Case(door=door, attempts=(1 + fell_back, 1))


def outer_of(route, root):
    """What a route span lies in, and nothing where it is the root."""
    return next((node for node in root.walk() if any(c is route for c in node.children)), None)


def chats_below(node):
    """An instrumentor's spans of model calls."""
    return [n for n in node.walk() if not n.own and n.name.startswith("ChatO")]


def test_a_request_is_one_trace(wired, tracing, instrumentor, case):
    door = case.door
    enter(door, wired())
    calls = tracing.calls()
    assert len(calls) == (door.requests if instrumentor == "nobody" else door.traces)
    routes = [(route, root) for root in calls for route in root.named(names.ROUTE_SPAN)]
    assert [len(route.children) for route, _ in routes] == list(case.attempts)
    for route, root in routes:
        assert {child.name for child in route.children} == {names.ATTEMPT_SPAN}
        assert all(not attempt.children for attempt in route.children)
        outer = outer_of(route, root)
        if instrumentor == "nobody":
            assert outer is None
        else:
            assert "TieredChatModel" in outer.name
            assert len(chats_below(outer)) == len(route.children)


def test_all_lies_below_the_applications_own_span(wired, tracing, instrumentor, case):
    tracer = tracing.provider.get_tracer("app")

    def serve(model):
        with tracer.start_as_current_span("GET /chat"):
            return case.door.run(model)

    enter(replace(case.door, run=serve), wired())
    (root,) = trees(tracing.spans)
    assert root.name == "GET /chat"
    assert len(root.named(names.ROUTE_SPAN)) == case.door.requests
    assert len(root.named(names.ATTEMPT_SPAN)) == sum(case.attempts)
    assert len(chats_below(root)) == (0 if instrumentor == "nobody" else sum(case.attempts))


def test_a_model_call_has_one_chat_span(wired, tracing, instrumentor, case):
    enter(case.door, wired(emit_genai_spans=True))
    roots, total = tracing.calls(), sum(case.attempts)
    attempts = [node for root in roots for node in root.named(names.ATTEMPT_SPAN)]
    assert len(attempts) == total
    if instrumentor == "nobody":
        chats = [chat.span for node in attempts for chat in node.children]
        assert len(chats) == total
        assert {(span.attributes[names.OPERATION], span.kind) for span in chats} == {CHAT}
    else:
        assert sum(len(chats_below(root)) for root in roots) == total
        assert not any(node.children for node in attempts)


def test_the_route_begins_with_the_decision_and_ends_last(wired, tracing):
    wired().invoke(ASKED)
    route, attempt = tracing.only(names.ROUTE_SPAN), tracing.only(names.ATTEMPT_SPAN)
    assert route.start_time <= attempt.start_time <= attempt.end_time <= route.end_time


def test_two_instrumentors_at_once_are_borne(wired, tracing):
    from telemetry.instrumentors import openinference, openllmetry

    with openinference(tracing.provider), openllmetry(tracing.provider):
        enter(DOORS["invoke"], wired(emit_genai_spans=True))
    (route,) = [node for root in trees(tracing.spans) for node in root.named(names.ROUTE_SPAN)]
    assert [child.name for child in route.children] == [names.ATTEMPT_SPAN]
    assert not route.children[0].children


def test_each_model_tells_the_sdk_that_it_was_given(wired):
    """Two applications in one process: each SDK has its model's spans."""
    one, other = Tracing(), Tracing()
    wired(telemetry=one.telemetry()).invoke(ASKED)
    wired(telemetry=other.telemetry()).invoke(ASKED)
    assert len(one.spans) == len(other.spans) == 2
