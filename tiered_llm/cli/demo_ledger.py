"""What came of each request, and of all: tokens, cost units, the saving against all-heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler

from tiered_llm.cli.explain import left_alone, why
from tiered_llm.cli.texts import in_one_line
from tiered_llm.errors import AllTiersFailedError
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from langchain_core.outputs import LLMResult

    from tiered_llm.cli.demo_outage import Outage
    from tiered_llm.cli.demo_requests import DemoRequest
    from tiered_llm.settings import Settings

_SHOWN_CHARS = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """One model call as it was answered; tokens as the endpoint counted them."""

    tier: Tier
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return self.input_tokens + self.output_tokens


class Recorder(BaseCallbackHandler):
    """Listens to one request: its model calls, and how they were routed.

    Attributes:
        calls: The calls answered so far.
        routings: What each answer was signed with, by the answer's id.
        lost: The attempts of a call that no tier answered.
    """

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self.calls: list[ModelCall] = []
        self.routings: dict[str | None, Mapping[str, Any]] = {}
        self.lost: tuple[Mapping[str, Any], ...] = ()
        self._tiers: dict[UUID, Tier] = {}

    @property
    def routing(self) -> Mapping[str, Any] | None:
        """The routing of the first answer; None before it."""
        return next(iter(self.routings.values()), None)

    @property
    def attempts(self) -> tuple[Mapping[str, Any], ...]:
        """Every attempt of every call, in order."""
        signed = (attempt for routing in self.routings.values() for attempt in routing["attempts"])
        return (*signed, *self.lost)

    @property
    def left_alone(self) -> tuple[str, ...]:
        """The tiers that were wanted and left alone for their health."""
        found = dict.fromkeys(left_alone(routing) for routing in self.routings.values())
        return tuple(tier for tier in found if tier is not None)

    def failed(self, error: Exception) -> None:
        """Note what the error that ended the request tells of attempts."""
        if isinstance(error, AllTiersFailedError):
            self.lost = tuple(
                {"tier": a.tier.value, "outcome": "failed", "fault": a.fault}
                for a in error.attempts
            )

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[Any]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Note which tier is asked."""
        del serialized, messages, kwargs
        self._tiers[run_id] = Tier((metadata or {})["tiered_llm.tier"])

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Note what the call used."""
        del kwargs
        message = getattr(response.generations[0][0], "message", None)
        usage = getattr(message, "usage_metadata", None) or {}
        call = ModelCall(
            tier=self._tiers[run_id],
            input_tokens=usage.get("input_tokens", 0),
            output_tokens=usage.get("output_tokens", 0),
        )
        self.calls.append(call)

    def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
        """Note the routing that the answer is signed with; outer chains pass it on again."""
        del kwargs
        raw = outputs.get("raw") if isinstance(outputs, dict) else outputs
        routing = getattr(raw, "response_metadata", {}).get("routing")
        if raw is not None and routing:
            self.routings.setdefault(raw.id, routing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one request.

    Attributes:
        number: Its place, from 1.
        request: What was sent.
        calls: The model calls that were answered.
        routing: How the first one was routed; None if none was answered.
        why: Why the tier, in a few words.
        attempts: Each attempt of each model call, as the routing tells it.
        left_alone: Tiers that were wanted, and left alone because they kept failing.
        latency_ms: Duration of the whole request.
        error: What failed, in a line; empty if nothing did.
    """

    number: int
    request: DemoRequest
    calls: tuple[ModelCall, ...] = ()
    routing: Mapping[str, Any] | None = None
    why: str = ""
    attempts: tuple[Mapping[str, Any], ...] = ()
    left_alone: tuple[str, ...] = ()
    latency_ms: float = 0.0
    error: str = ""

    @property
    def failed_attempts(self) -> tuple[Mapping[str, Any], ...]:
        """The attempts that a tier failed."""
        return tuple(a for a in self.attempts if a["outcome"] == "failed")

    @property
    def fell_back(self) -> bool:
        """Whether it was answered after a tier had failed."""
        return bool(self.failed_attempts) and not self.error

    @property
    def tier(self) -> Tier | None:
        """The tier that answered; None if none did."""
        return Tier(self.routing["tier"]) if self.routing else None

    @property
    def score(self) -> float | None:
        """The complexity that the decision was made on; None if it is not known."""
        return float(self.routing["score"]) if self.routing else None

    @property
    def input_tokens(self) -> int:
        """Tokens read, over all calls."""
        return sum(call.input_tokens for call in self.calls)

    @property
    def output_tokens(self) -> int:
        """Tokens written, over all calls."""
        return sum(call.output_tokens for call in self.calls)

    @property
    def shown(self) -> str:
        """The request in one short line."""
        return in_one_line(self.request.text[: 4 * _SHOWN_CHARS])[:_SHOWN_CHARS]


def outcome_of(
    number: int, request: DemoRequest, heard: Recorder, settings: Settings, **came: Any
) -> Outcome:
    """Put together what was heard of a request; `came` holds `latency_ms` and `error`."""
    routing = heard.routing
    return Outcome(
        number=number,
        request=request,
        calls=tuple(heard.calls),
        routing=routing,
        why=why(routing, settings.complexity.weights) if routing else "",
        attempts=heard.attempts,
        left_alone=heard.left_alone,
        **came,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Cost units for a token, by tier: what the settings say.

    Attributes:
        weights: Each configured tier's weight.
    """

    weights: Mapping[Tier, Decimal]

    @classmethod
    def of(cls, settings: Settings) -> Prices:
        """The weights of the tiers that are on."""
        return cls(weights={tier: spec.cost_weight for tier, spec in settings.tiers.items()})

    @property
    def baseline_tier(self) -> Tier:
        """The tier that everything would go to without a router: the heaviest."""
        return max(self.weights)

    def cost(self, calls: Iterable[ModelCall]) -> Decimal:
        """Cost units of the calls: tokens times weight."""
        return sum((call.tokens * self.weights[call.tier] for call in calls), Decimal(0))

    def baseline(self, calls: Iterable[ModelCall]) -> Decimal:
        """Cost units of the same tokens, all on the heaviest tier."""
        return sum(call.tokens for call in calls) * self.weights[self.baseline_tier]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """All requests so far, added up.

    Attributes:
        prices: What a token costs.
        planned: How many requests there are to be.
        outcomes: What came of those that are over.
        elapsed_s: Time since the first one was sent.
        simulated: Whether the simulator answered.
        interrupted: Whether the run was cut short.
        outage: The outage of a run with `--chaos`.
    """

    prices: Prices
    planned: int
    outcomes: tuple[Outcome, ...] = ()
    elapsed_s: float = 0.0
    simulated: bool = False
    interrupted: bool = False
    outage: Outage | None = None
    calls: tuple[ModelCall, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Gather the calls of all outcomes."""
        calls = tuple(call for outcome in self.outcomes for call in outcome.calls)
        object.__setattr__(self, "calls", calls)

    @property
    def failed(self) -> int:
        """How many requests ended in an error."""
        return sum(bool(outcome.error) for outcome in self.outcomes)

    @property
    def mix(self) -> dict[Tier, int]:
        """How many requests each configured tier answered, light first."""
        answered = [outcome.tier for outcome in self.outcomes]
        return {tier: answered.count(tier) for tier in sorted(self.prices.weights)}

    @property
    def cost(self) -> Decimal:
        """Cost units spent."""
        return self.prices.cost(self.calls)

    @property
    def baseline(self) -> Decimal:
        """Cost units of the same tokens, all on the heaviest tier."""
        return self.prices.baseline(self.calls)

    @property
    def saving_pct(self) -> float:
        """Percent of the baseline that was saved; negative for a loss, 0 for no tokens."""
        return float(100 * (1 - self.cost / self.baseline)) if self.baseline else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        chaos = {"chaos": self.outage.to_dict(self.outcomes)} if self.outage else {}
        return {
            "type": "summary",
            "requests": len(self.outcomes),
            "planned": self.planned,
            "failed": self.failed,
            "interrupted": self.interrupted,
            "simulated": self.simulated,
            "tiers": {tier.value: count for tier, count in self.mix.items()},
            "input_tokens": sum(call.input_tokens for call in self.calls),
            "output_tokens": sum(call.output_tokens for call in self.calls),
            "cost_units": float(self.cost),
            "baseline_tier": self.prices.baseline_tier.value,
            "baseline_cost_units": float(self.baseline),
            "saved_cost_units": float(self.baseline - self.cost),
            "saving_pct": round(self.saving_pct, 1),
            "elapsed_s": round(self.elapsed_s, 3),
            **chaos,
        }


def outcome_dict(outcome: Outcome, prices: Prices, *, simulated: bool) -> dict[str, Any]:
    """An outcome as plain JSON values; no tenant."""
    routing = outcome.routing or {}
    return {
        "type": "request",
        "number": outcome.number,
        "request": outcome.shown,
        "kind": outcome.request.kind,
        "task_type": outcome.request.task_type,
        "score": outcome.score,
        "tier": routing.get("tier"),
        "decided_tier": routing.get("decided_tier"),
        "model_id": routing.get("model_id"),
        "why": outcome.why,
        "reasons": routing.get("reasons", []),
        "fallbacks": routing.get("fallbacks", []),
        "attempts": list(outcome.attempts),
        "fell_back": outcome.fell_back,
        "left_alone": list(outcome.left_alone),
        "model_calls": len(outcome.calls),
        "input_tokens": outcome.input_tokens,
        "output_tokens": outcome.output_tokens,
        "cost_units": float(prices.cost(outcome.calls)),
        "baseline_cost_units": float(prices.baseline(outcome.calls)),
        "latency_ms": round(outcome.latency_ms, 1),
        "simulated": simulated,
        "error": outcome.error or None,
    }
