"""The spans of one call: a `route` span over the whole of it, and an `attempt` below for each.

```
TieredChatModel          the run of an instrumentor, if there is one
├─ tiered_llm.route      from the decision to the end
│  ├─ tiered_llm.attempt
│  └─ tiered_llm.attempt
└─ chat …                the instrumentor's own span of the model call
```

No span of ours is current while a stream is suspended, and no error's text is on one: it may
quote the prompt.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from tiered_llm.telemetry import names
from tiered_llm.telemetry.content import as_input, as_output, finish_reason, response_model
from tiered_llm.telemetry.current import Current
from tiered_llm.telemetry.parents import is_instrumented, parent_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig
    from opentelemetry.trace import Span, Tracer

    from tiered_llm.records import AttemptRecord, CallRecord
    from tiered_llm.tiers import Tier, TierSpec
    from tiered_llm.types import RoutingDecision

_NOTHING = nullcontext()
_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanOptions:
    """What goes onto spans.

    Attributes:
        emit_genai_spans: Whether each attempt has a `chat` span below it, as an instrumentor
            would make; never beside an instrumentor's own.
        content: Whether prompts and answers are on the spans.
    """

    emit_genai_spans: bool = False
    content: bool = False


class CallSpans:
    """Makes the spans of one call. The decision is known before the run around it is."""

    __slots__ = (
        "_attempt",
        "_chat",
        "_chats",
        "_decision",
        "_last",
        "_options",
        "_route",
        "_run_id",
        "_start_ns",
        "_tracer",
    )

    def __init__(self, tracer: Tracer, options: SpanOptions, run_id: str) -> None:
        """Begin nothing yet."""
        self._tracer, self._options, self._run_id = tracer, options, run_id
        self._decision: RoutingDecision | None = None
        self._start_ns: int | None = None
        self._route: Span | None = None
        self._attempt: Span | None = None
        self._chat: Span | None = None
        self._chats = False  # whether attempts have a span of the model call's
        self._last: AttemptRecord | None = None

    def decided(self, decision: RoutingDecision, at: datetime, router_s: float) -> None:
        """The call is routed; its span begins where the decision did."""
        self._decision = decision
        self._start_ns = int((at.timestamp() - router_s) * _NANO)

    def at_the_edge(self, config: RunnableConfig) -> AbstractContextManager[None]:
        """Around what takes leave or settles: its events are the route span's."""
        return Current(self._opened(config))

    def skipped(self, tier: Tier, why: str) -> None:
        """A tier was not asked."""
        if self._route is not None:
            self._route.add_event(names.SKIPPED_EVENT, {names.TIER: tier.value, names.WHY: why})

    def attempt_began(self, number: int, spec: TierSpec, messages: Sequence[BaseMessage]) -> None:
        """A tier is asked."""
        if self._route is None:
            return
        if self._last is not None:
            self._fell_back(self._last, spec)
        here = trace.set_span_in_context(self._route)
        told = {names.TIER: spec.tier.value, names.ATTEMPT: number, **_model(spec)}
        self._attempt = self._tracer.start_span(names.ATTEMPT_SPAN, here, attributes=told)
        if self._chats:
            below = trace.set_span_in_context(self._attempt)
            told = {names.OPERATION: names.CHAT, **_model(spec)}
            name = f"{names.CHAT} {spec.model_name}"
            self._chat = self._tracer.start_span(name, below, kind=SpanKind.CLIENT, attributes=told)
        if self._options.content and self._innermost.is_recording():
            self._innermost.set_attribute(names.INPUT_MESSAGES, as_input(messages))

    def around_whole(self) -> AbstractContextManager[None]:
        """Around a whole answer: what the model's client traces is below the attempt."""
        return _NOTHING if self._attempt is None else Current(self._innermost)

    def attempt_ended(self, record: AttemptRecord, answer: Any) -> None:
        """A tier has answered or not."""
        self._last, span = record, self._attempt
        if span is None:
            return
        if span.is_recording():
            self._say(answer)
            span.set_attributes(_outcome(record))
        if self._chat is not None:
            self._end_chat(self._chat, record, answer)
        self._attempt = self._chat = None
        _close(span, record.fault)

    def ended(self, record: CallRecord, config: RunnableConfig) -> None:
        """The call is over."""
        span = self._opened(config)
        if span.is_recording():
            span.set_attributes(_whole(record))
        _close(span, record.error)

    @property
    def _innermost(self) -> Span:
        found = self._chat or self._attempt
        assert found is not None  # noqa: S101  # asked within an attempt
        return found

    def _say(self, answer: Any) -> None:
        """The answer, if an operator asks for it."""
        if self._options.content and (said := as_output(answer)) is not None:
            self._innermost.set_attribute(names.OUTPUT_MESSAGES, said)

    def _opened(self, config: RunnableConfig) -> Span:
        if self._route is None:
            told = {names.RUN_ID: self._run_id, **_decision(self._decision)}
            self._route = self._tracer.start_span(
                names.ROUTE_SPAN, parent_of(config), attributes=told, start_time=self._start_ns
            )
            self._chats = self._options.emit_genai_spans and not is_instrumented(config)
            if self._decision is not None and self._route.is_recording():
                self._route.set_attributes(_rest(self._decision))
        return self._route

    def _fell_back(self, last: AttemptRecord, spec: TierSpec) -> None:
        assert self._route is not None  # noqa: S101  # its caller looked
        told = {
            names.TIER: last.tier.value,
            names.ERROR_TYPE: last.fault or "",
            names.NEXT_TIER: spec.tier.value,
        }
        self._route.add_event(names.FALLBACK_EVENT, told)

    @staticmethod
    def _end_chat(span: Span, record: AttemptRecord, answer: Any) -> None:
        if span.is_recording():
            if not record.estimated:
                span.set_attribute(names.INPUT_TOKENS, record.input_tokens)
                span.set_attribute(names.OUTPUT_TOKENS, record.output_tokens)
            reason, model = finish_reason(answer), response_model(answer)
            if reason:
                span.set_attribute(names.FINISH_REASONS, [reason])
            if model:
                span.set_attribute(names.RESPONSE_MODEL, model)
        _close(span, record.fault)


def _close(span: Span, error: str | None) -> None:
    if error is not None and span.is_recording():
        span.set_attribute(names.ERROR_TYPE, error)
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def _decision(decision: RoutingDecision | None) -> dict[str, Any]:
    """What a sampler may go by."""
    if decision is None:
        return {}
    return {
        names.TIER: decision.tier.value,
        names.SCORE: decision.score,
        names.REASON: str(decision.last_word or ""),
    }


def _rest(decision: RoutingDecision) -> dict[str, Any]:
    """What is told where the trace is sampled.

    An attribute costs some microseconds: what is empty or says nothing more is left out.
    """
    told: dict[str, Any] = {names.POLICY_VERSION: decision.policy_version}
    for name, value in decision.factors.items():
        if value:
            told[f"{names.FACTOR}{name}"] = value
    if len(decision.reasons) > 1:
        told[names.REASONS] = [str(reason) for reason in decision.reasons]
    if decision.fallbacks:
        told[names.FALLBACKS] = [tier.value for tier in decision.fallbacks]
    if decision.task_type:
        told[names.TASK_TYPE] = decision.task_type
    if decision.session_id:
        told[names.CONVERSATION] = decision.session_id
    return told


def _model(spec: TierSpec) -> dict[str, Any]:
    return {names.REQUEST_MODEL: spec.model_name, names.PROVIDER: spec.provider}


def _outcome(record: AttemptRecord) -> dict[str, Any]:
    told: dict[str, Any] = {
        names.OUTCOME: record.outcome,
        names.READ_TOKENS: record.input_tokens,
        names.WRITTEN_TOKENS: record.output_tokens,
    }
    if record.estimated:
        told[names.ESTIMATED] = True
    if record.charged_tokens is not None:
        told[names.CHARGED_TOKENS] = record.charged_tokens
    if record.first_token_s is not None:
        told[names.FIRST_TOKEN_S] = record.first_token_s
    return told


def _whole(record: CallRecord) -> dict[str, Any]:
    told: dict[str, Any] = {names.ATTEMPT: len(record.attempts), names.ROUTER_S: record.router_s}
    if record.answered is not None:
        told[names.ANSWERED_TIER] = record.answered.value
    return told
