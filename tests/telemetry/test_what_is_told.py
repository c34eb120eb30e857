"""What stands on the spans: attributes, events, and content where an operator asks for it."""

from __future__ import annotations

import asyncio
import json

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, StatusCode
from telemetry.doors import ASKED, Contact, collect, get_weather
from telemetry.tracing import Tracing, events

from tiered_llm import AllTiersFailedError, BudgetManager, Health, ModelMetricsCollector
from tiered_llm.budgets import BudgetExceededError
from tiered_llm.settings import get_settings
from tiered_llm.telemetry import names, spans
from tiered_llm.telemetry.content import CAPTURE
from tiered_llm.testing import Answer, Fault, ToolCallAnswer

SAID = Answer(text="Good day.")
DOORS = {
    "invoke": lambda m: m.invoke(ASKED),
    "ainvoke": lambda m: asyncio.run(m.ainvoke(ASKED)),
    "stream": lambda m: list(m.stream(ASKED)),
    "astream": lambda m: asyncio.run(collect(m.astream(ASKED))),
}
every_door = pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)


@pytest.fixture
def light(simulated_tiers):
    """Makes the light tier answer so, each time."""
    return lambda step: simulated_tiers.light.always("qwen2.5:7b", step)


@pytest.fixture
def asked_for(monkeypatch):
    """An operator asks for content."""
    monkeypatch.setenv(CAPTURE, "true")


# --- attributes ---


@every_door
def test_a_route_tells_the_decision_and_who_answered(wired, tracing, light, door):
    light(SAID)
    collector = ModelMetricsCollector()
    door(wired(fields={"metrics": collector, "task_type": "simple_qa", "session_id": "s-1"}))
    (record,) = (entry.record for entry in collector.recent())
    route = tracing.only(names.ROUTE_SPAN)
    told = dict(route.attributes)
    factors = {f"{names.FACTOR}{name}": value for name, value in record.factors.items() if value}
    assert told == {
        **factors,
        names.RUN_ID: record.run_id,
        names.TIER: "light",
        names.SCORE: record.score,
        names.REASON: record.reasons[-1],
        names.REASONS: record.reasons,
        names.POLICY_VERSION: record.policy_version,
        names.FALLBACKS: ("standard", "heavy"),
        names.TASK_TYPE: "simple_qa",
        names.CONVERSATION: "s-1",
        names.ATTEMPT: 1,
        names.ANSWERED_TIER: "light",
        names.ROUTER_S: record.router_s,
    }
    assert (route.kind, route.status.status_code) == (SpanKind.INTERNAL, StatusCode.UNSET)


@every_door
def test_an_attempt_tells_what_it_used(wired, tracing, light, simulated_tiers, door):
    light(SAID)
    door(wired(fields={"budget": BudgetManager(100_000), "tenant_id": "acme"}))
    told = dict(tracing.only(names.ATTEMPT_SPAN).attributes)
    read, written = simulated_tiers.light.billed()
    first = told.pop(names.FIRST_TOKEN_S, None)
    assert (first is None) == (door not in {DOORS["stream"], DOORS["astream"]})
    assert told == {
        names.TIER: "light",
        names.ATTEMPT: 1,
        names.REQUEST_MODEL: "qwen2.5:7b",
        names.PROVIDER: "ollama",
        names.OUTCOME: "answered",
        names.READ_TOKENS: read,
        names.WRITTEN_TOKENS: written,
        names.CHARGED_TOKENS: read + written,
    }


@every_door
def test_a_failure_tells_its_class_and_no_text(wired, tracing, simulated_tiers, door):
    for tier, model in (("light", "7b"), ("standard", "32b"), ("heavy", "72b")):
        getattr(simulated_tiers, tier).always(f"qwen2.5:{model}", Fault.status(500, "sesame"))
    with pytest.raises(AllTiersFailedError):
        door(wired())
    route, attempts = tracing.only(names.ROUTE_SPAN), tracing.named(names.ATTEMPT_SPAN)
    assert route.attributes[names.ERROR_TYPE] == "AllTiersFailedError"
    assert [a.attributes[names.ERROR_TYPE] for a in attempts] == ["server_error"] * len(attempts)
    for span in (route, *attempts):
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
        assert "sesame" not in span.to_json()


@every_door
def test_a_refused_call_has_a_route_and_no_attempt(wired, tracing, door):
    with pytest.raises(BudgetExceededError):
        door(wired(fields={"budget": BudgetManager(1), "tenant_id": "acme"}))
    (span,) = tracing.spans
    assert (span.name, span.attributes[names.ATTEMPT]) == (names.ROUTE_SPAN, 0)
    assert span.attributes[names.ERROR_TYPE] == "BudgetExceededError"


@every_door
def test_a_chat_span_is_as_the_convention_has_it(wired, tracing, light, simulated_tiers, door):
    light(SAID)
    door(wired(emit_genai_spans=True))
    chat = tracing.only("chat qwen2.5:7b")
    read, written = simulated_tiers.light.billed()
    assert chat.kind is SpanKind.CLIENT
    assert dict(chat.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "ollama",
        "gen_ai.request.model": "qwen2.5:7b",
        "gen_ai.response.model": "qwen2.5:7b",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": read,
        "gen_ai.usage.output_tokens": written,
    }


# --- events ---


@every_door
def test_a_fallback_is_an_event(wired, tracing, light, door):
    light(Fault.status(503))
    door(wired())
    told = {names.TIER: "light", names.ERROR_TYPE: "server_error", names.NEXT_TIER: "standard"}
    assert events(tracing.only(names.ROUTE_SPAN)) == [(names.FALLBACK_EVENT, told)]


@every_door
def test_a_tier_that_is_not_asked_is_an_event(wired, tracing, light, door):
    light(Fault.status(500))
    settings = get_settings(fallback={"max_attempts": 1})
    with pytest.raises(AllTiersFailedError):
        door(wired(fields={"settings": settings}))
    why = "the call has had its 1 attempts"
    assert events(tracing.only(names.ROUTE_SPAN)) == [
        (names.SKIPPED_EVENT, {names.TIER: tier, names.WHY: why}) for tier in ("standard", "heavy")
    ]


@every_door
def test_a_breakers_change_is_an_event_without_a_secret(
    wired, tracing, light, door, simulated_tiers
):
    light(Fault.status(500))
    settings = get_settings(breaker={"min_calls": 2, "failure_ratio": 0.5, "window_s": 60})
    (spec,) = (s for t, s in simulated_tiers.specs.items() if t == "light")
    address = spec.base_url.replace("://", "://user:sesame@")
    hidden = spec.model_copy(update={"base_url": address})
    model = wired(fields={"settings": settings, "health": Health(), "light": hidden})
    for _ in range(3):
        door(model)
    changes = [
        dict(attributes)
        for route in tracing.named(names.ROUTE_SPAN)
        for name, attributes in events(route)
        if name == names.BREAKER_EVENT
    ]
    (told,) = changes
    assert (told[names.BREAKER_WAS], told[names.BREAKER_STATE]) == ("closed", "open")
    assert (told[names.PROVIDER], told[names.REQUEST_MODEL]) == ("ollama", "qwen2.5:7b")
    assert told[names.SERVER_ADDRESS].startswith("http://")
    assert "sesame" not in "".join(span.to_json() for span in tracing.spans)


@every_door
def test_a_budgets_alert_is_an_event_without_its_tenant(wired, tracing, light, door):
    light(SAID)
    budget = BudgetManager(1_000, thresholds=(1,))
    door(wired(fields={"budget": budget, "tenant_id": "acme", "max_tokens": 20}))
    ((name, told),) = events(tracing.only(names.ROUTE_SPAN))
    assert name == names.ALERT_EVENT
    assert told[names.BUDGET_THRESHOLD] == 1
    assert told[names.BUDGET_PERIOD] == "daily"
    assert "acme" not in "".join(span.to_json() for span in tracing.spans)


# --- sampling ---


@pytest.fixture
def written(monkeypatch):
    """The names of the functions that have made attributes or content."""
    called = []
    for name in ("_rest", "_outcome", "_whole", "as_input", "as_output"):
        made = getattr(spans, name)
        monkeypatch.setattr(
            spans, name, lambda *given, made=made, name=name: called.append(name) or made(*given)
        )
    return called


@every_door
@pytest.mark.usefixtures("asked_for")
def test_a_trace_that_is_not_sampled_costs_no_attributes(wired, written, door):
    unsampled, sampled = Tracing(sampler=ALWAYS_OFF), Tracing()
    door(wired(telemetry=unsampled.telemetry(emit_genai_spans=True)))
    assert not written
    assert not unsampled.spans
    door(wired(telemetry=sampled.telemetry(emit_genai_spans=True)))
    assert set(written) == {"_rest", "_outcome", "_whole", "as_input", "as_output"}


def test_an_application_that_does_not_sample_its_request_has_none_of_ours(wired):
    tracing = Tracing(sampler=ParentBased(ALWAYS_OFF))
    with tracing.provider.get_tracer("app").start_as_current_span("GET /chat"):
        wired(telemetry=tracing.telemetry()).invoke(ASKED)
    assert not tracing.spans


# --- content ---

CALL = {"id": "c-1", "name": "get_weather", "args": {"city": "Oslo"}, "type": "tool_call"}
TURN = [
    SystemMessage("Be brief."),
    HumanMessage("Weather in Oslo?"),
    AIMessage("One moment.", tool_calls=[CALL]),
    ToolMessage("Oslo: sunny", tool_call_id="c-1"),
]
TURN_AS_JSON = [
    {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
    {"role": "user", "parts": [{"type": "text", "content": "Weather in Oslo?"}]},
    {
        "role": "assistant",
        "parts": [
            {"type": "text", "content": "One moment."},
            {
                "type": "tool_call",
                "id": "c-1",
                "name": "get_weather",
                "arguments": {"city": "Oslo"},
            },
        ],
    },
    {
        "role": "tool",
        "parts": [{"type": "tool_call_response", "id": "c-1", "response": "Oslo: sunny"}],
    },
]
ASKING = {
    "invoke": lambda m: m.invoke(TURN),
    "ainvoke": lambda m: asyncio.run(m.ainvoke(TURN)),
    "stream": lambda m: list(m.stream(TURN)),
    "astream": lambda m: asyncio.run(collect(m.astream(TURN))),
    "generate": lambda m: m.generate([TURN]),
}


@pytest.fixture(params=[names.ATTEMPT_SPAN, "chat qwen2.5:7b"])
def innermost(request):
    """The name of our innermost span; the latter with `emit_genai_spans`."""
    return request.param


@pytest.mark.parametrize("value", ["true", "1", "span_only", "SPAN_AND_EVENT"])
def test_content_is_on_spans_where_it_is_asked_for(wired, tracing, monkeypatch, value):
    monkeypatch.setenv(CAPTURE, value)
    wired().invoke(TURN)
    assert json.loads(tracing.only(names.ATTEMPT_SPAN).attributes[names.INPUT_MESSAGES])


@pytest.mark.usefixtures("asked_for")
@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING)
def test_content_is_on_our_innermost_span_alone(wired, tracing, light, innermost, ask):
    light(SAID)
    ask(wired(emit_genai_spans=innermost != names.ATTEMPT_SPAN, fields={"tier": "light"}))
    (span,) = [span for span in tracing.spans if names.INPUT_MESSAGES in span.attributes]
    assert span.name == innermost
    assert json.loads(span.attributes[names.INPUT_MESSAGES]) == TURN_AS_JSON
    said = {"role": "assistant", "parts": [{"type": "text", "content": "Good day."}]}
    assert json.loads(span.attributes[names.OUTPUT_MESSAGES]) == [{**said, "finish_reason": "stop"}]


def said_on(tracing):
    """The one message on the one attempt."""
    (said,) = json.loads(tracing.only(names.ATTEMPT_SPAN).attributes[names.OUTPUT_MESSAGES])
    return said


@pytest.mark.usefixtures("asked_for")
@pytest.mark.parametrize("door", ["tools", "structured"])
def test_what_tools_and_schemas_are_answered_with_is_content_too(wired, tracing, light, door):
    contact = {"name": "Ada", "email": "ada@example.org"}
    if door == "tools":
        light(Answer(tool_calls=[ToolCallAnswer(name="get_weather", args={"city": "Oslo"})]))
        wired().bind_tools([get_weather]).invoke(ASKED)
    else:
        light(Answer(text=json.dumps(contact)))
        wired().with_structured_output(Contact, method="json_schema").invoke(ASKED)
    (part,) = said_on(tracing)["parts"]
    if door == "tools":
        assert (part["name"], part["arguments"]) == ("get_weather", {"city": "Oslo"})
    else:
        assert json.loads(part["content"]) == contact


@pytest.mark.parametrize("value", [None, "", "false", "no_content", "event_only"])
def test_there_is_no_content_by_default(wired, tracing, monkeypatch, value):
    if value is None:
        monkeypatch.delenv(CAPTURE, raising=False)
    else:
        monkeypatch.setenv(CAPTURE, value)
    wired(emit_genai_spans=True).invoke(TURN)
    assert not any("Oslo" in span.to_json() for span in tracing.spans)


@pytest.mark.usefixtures("asked_for")
def test_a_broken_stream_has_what_there_was_of_its_answer(wired, tracing, light):
    light(Fault.stall(at="content", after=3, answer=Answer(text="one two three four five")))
    stream = wired().stream(ASKED)
    seen = next(stream).text
    stream.close()
    said = said_on(tracing)
    assert said["finish_reason"] == "unknown"
    assert said["parts"][0]["content"].startswith(seen)
