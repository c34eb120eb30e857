"""One call followed from its decision to its end, for the decision log, the traces, the meters.

What goes wrong here is caught here, and logged once: it never breaks a call.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from langchain_core.utils.uuid import uuid7

from tiered_llm.clock import SYSTEM_CLOCK
from tiered_llm.fallback import UNWATCHED
from tiered_llm.records import CallRecord
from tiered_llm.telemetry.trouble import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig

    from tiered_llm.clock import Clock
    from tiered_llm.metrics import ModelMetricsCollector
    from tiered_llm.records import AttemptRecord
    from tiered_llm.telemetry import CallSpans, Telemetry
    from tiered_llm.tiers import Tier, TierSpec
    from tiered_llm.types import RoutingDecision, RoutingRequest

_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchers:
    """Who is told of calls.

    Attributes:
        metrics: Takes their records; None for nobody.
        telemetry: Traces and counts them, where an SDK is there; None for nobody.
        specs: The tiers, for what tokens cost.
        clock: What the router's time is told by.
    """

    metrics: ModelMetricsCollector | None = None
    telemetry: Telemetry | None = None
    specs: Mapping[Tier, TierSpec] = field(default_factory=dict)
    clock: Clock = SYSTEM_CLOCK

    def watch(self, request: RoutingRequest, config: RunnableConfig) -> CallWatch | None:
        """Follows one call; None where nobody is to be told."""
        traces, counts = self._wanted()
        if self.metrics is None and not traces and not counts:
            return None
        return CallWatch(self, request, config, traces=traces, counts=counts)

    def _wanted(self) -> tuple[bool, bool]:
        """Whether the application's SDK takes spans, and metrics; a broken one takes neither."""
        telemetry = self.telemetry
        if telemetry is None:
            return False, False
        try:
            return telemetry.traces, telemetry.counts
        except Exception as trouble:  # noqa: BLE001  # a provider named by the environment
            tell(trouble)
            return False, False


def _guarded(
    method: Callable[Concatenate[CallWatch, _P], None],
) -> Callable[Concatenate[CallWatch, _P], None]:
    """Telemetry's one boundary: what fails behind it is logged once, and the call goes on."""
    return _or_else(None, method)


def _guarded_context(
    method: Callable[Concatenate[CallWatch, _P], AbstractContextManager[None]],
) -> Callable[Concatenate[CallWatch, _P], AbstractContextManager[None]]:
    """The same for what is entered: where it fails, nothing is."""
    return _or_else(UNWATCHED, method)


def _or_else(
    otherwise: _R, method: Callable[Concatenate[CallWatch, _P], _R]
) -> Callable[Concatenate[CallWatch, _P], _R]:
    @wraps(method)
    def guarded(watch: CallWatch, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return method(watch, *args, **kwargs)
        except Exception as trouble:  # noqa: BLE001
            tell(trouble)
            return otherwise

    return guarded


class CallWatch:
    """What `tiered_llm.fallback.Watch` asks for. Of one call, so of one thread at a time."""

    __slots__ = (
        "_at",
        "_attempts",
        "_began_s",
        "_budget",
        "_committed",
        "_config",
        "_counts",
        "_decision",
        "_request",
        "_router_s",
        "_spans",
        "_watchers",
        "run_id",
    )

    def __init__(
        self,
        watchers: Watchers,
        request: RoutingRequest,
        config: RunnableConfig,
        *,
        traces: bool,
        counts: bool,
    ) -> None:
        """Take the request; the run's id is the config's, or drawn."""
        self.run_id = str(config.get("run_id") or uuid7())
        self._watchers, self._request, self._config = watchers, request, config
        self._spans: CallSpans | None = None
        if traces:
            self._trace()
        self._counts = counts
        self._decision: RoutingDecision | None = None
        self._attempts: list[AttemptRecord] = []
        self._budget: dict[str, Any] = {}
        self._committed = False
        self._router_s = 0.0

    @_guarded
    def _trace(self) -> None:
        if self._watchers.telemetry is not None:
            self._spans = self._watchers.telemetry.spans(self.run_id)

    def __enter__(self) -> None:
        """The call begins; what follows is the router's time."""
        self._began_s = self._watchers.clock.monotonic_s()

    @_guarded
    def decided(self, decision: RoutingDecision, budget_cap: Tier | None) -> None:
        """Where the call goes."""
        clock = self._watchers.clock
        self._decision, self._at = decision, clock.now()
        self._router_s = max(0.0, clock.monotonic_s() - self._began_s)
        if budget_cap is not None:
            self._budget["cap"] = budget_cap.value
        if self._spans is not None:
            self._spans.decided(decision, self._at, self._router_s)

    @_guarded_context
    def at_the_edge(self, config: RunnableConfig) -> AbstractContextManager[None]:
        """Around what takes leave or settles."""
        return UNWATCHED if self._spans is None else self._spans.at_the_edge(config)

    @_guarded
    def skipped(self, tier: Tier, why: str) -> None:
        """A tier was not asked."""
        if self._spans is not None:
            self._spans.skipped(tier, why)

    @_guarded
    def attempt_began(
        self, number: int, spec: TierSpec, messages: Sequence[BaseMessage], granted: int | None
    ) -> None:
        """A tier is asked."""
        self._committed = False
        if granted is not None:
            self._budget["granted_tokens"] = granted
        if self._spans is not None:
            self._spans.attempt_began(number, spec, messages)

    @_guarded_context
    def around_whole(self) -> AbstractContextManager[None]:
        """Around a whole answer."""
        return UNWATCHED if self._spans is None else self._spans.around_whole()

    @_guarded
    def attempt_ended(self, record: AttemptRecord, answer: Any, *, committed: bool) -> None:
        """A tier has answered or not."""
        self._attempts.append(record)
        self._committed = committed
        if self._spans is not None:
            self._spans.attempt_ended(record, answer)

    @_guarded
    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """The call is over: its record is made, and everybody told, whoever of them fails.

        One that stopped for a human before anybody was asked is no call yet: the graph makes it
        anew when it is resumed.
        """
        record = self._record(error)
        if not self._attempts and _stops_the_graph(error):
            self._end_spans(replace(record, error=None))
            return
        self._write_down(record)
        self._end_spans(record)
        self._count(record)

    @_guarded
    def _write_down(self, record: CallRecord) -> None:
        if self._watchers.metrics is not None:
            self._watchers.metrics.record(record)

    @_guarded
    def _end_spans(self, record: CallRecord) -> None:
        if self._spans is not None:
            self._spans.ended(record, self._config)

    @_guarded
    def _count(self, record: CallRecord) -> None:
        told = self._watchers.telemetry
        if self._counts and told is not None:
            told.instruments.count(record, self._watchers.specs, told.tenants)

    def _record(self, error: BaseException | None) -> CallRecord:
        request, decision = self._request, self._decision
        closed = error is None or isinstance(error, GeneratorExit)
        metadata = self._config.get("metadata") or {}
        node = metadata.get("langgraph_node")
        told = {} if decision is None else _told_by(decision)
        return CallRecord(
            run_id=self.run_id,
            at=self._watchers.clock.now() if decision is None else self._at,
            tenant_id=request.tenant_id,
            thread_id=request.session_id,
            node=None if node is None else str(node),
            task_type=request.task_type,
            answered=self._answered(),
            attempts=tuple(self._attempts),
            router_s=self._router_s,
            budget={**self._budget, **_refusal(error)},
            error=None if closed else type(error).__name__,
            **told,
        )

    def _answered(self) -> Tier | None:
        """Who answered, or whose answer was given up when it had begun."""
        if not self._attempts:
            return None
        last = self._attempts[-1]
        given_up = last.outcome == "abandoned" and self._committed
        return last.tier if last.outcome == "answered" or given_up else None


def _told_by(decision: RoutingDecision) -> dict[str, Any]:
    return {
        "asked": decision.tier,
        "score": decision.score,
        "factors": decision.factors,
        "reasons": tuple(map(str, decision.reasons)),
        "policy_version": decision.policy_version,
    }


def _stops_the_graph(error: BaseException | None) -> bool:
    """Whether it is LangGraph's own way out of a node: an interrupt, for one."""
    return any(kind.__name__ == "GraphBubbleUp" for kind in type(error).__mro__)


def _refusal(error: BaseException | None) -> dict[str, Any]:
    """Which budget refused, where one did; never by how much, or whose."""
    rule, period = getattr(error, "rule", None), getattr(error, "period", None)
    return {"refused_by": f"{rule}/{period}"} if rule and period else {}
