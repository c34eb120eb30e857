"""What is known of one call once it is over, and of each of its attempts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, Self
from uuid import uuid4

from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from tiered_llm.types import RoutingDecision

Outcome = Literal["answered", "failed", "abandoned"]
"""How an attempt ended: with an answer; with a fault; given up by the caller, who stopped it."""

OUTCOMES: tuple[Outcome, ...] = ("answered", "failed", "abandoned")

INPUT_SHARE = (3, 4)
"""Of the tokens of a decision that tells only their sum, how many are taken for input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One request to one tier's model.

    Attributes:
        tier: Who was asked.
        model_id: The model that was asked.
        outcome: How it ended.
        fault: The fault's class, if it failed: `timeout`.
        input_tokens: Tokens that the model read.
        output_tokens: Tokens that it wrote.
        estimated: Whether nobody measured the tokens, or their division into in and out.
        charged_tokens: Tokens that the payer's budget was charged: what was used, or all that was
            reserved where nobody told; None where nobody is held to a budget.
        latency_s: Seconds from the request to the end.
        first_token_s: Seconds from the request to the first content, where it was streamed.
    """

    tier: Tier
    model_id: str = ""
    outcome: Outcome = "answered"
    fault: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False
    charged_tokens: int | None = None
    latency_s: float = 0.0
    first_token_s: float | None = None

    def __post_init__(self) -> None:
        """Accept a tier's name; refuse what no attempt can have.

        Raises:
            ValueError: Negative or unending numbers, or an outcome that nobody knows.
        """
        if not isinstance(self.tier, Tier):
            object.__setattr__(self, "tier", Tier(self.tier))
        if self.outcome not in OUTCOMES:
            msg = f"outcome is none of {', '.join(OUTCOMES)}"
            raise ValueError(msg)
        _check_count("input_tokens", self.input_tokens)
        _check_count("output_tokens", self.output_tokens)
        if self.charged_tokens is not None:
            _check_count("charged_tokens", self.charged_tokens)
        _check_seconds("latency_s", self.latency_s)
        if self.first_token_s is not None:
            _check_seconds("first_token_s", self.first_token_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One call: what was decided, who was asked, what came of it. Holds no prompt and no answer.

    Attributes:
        run_id: The run's id; a run counts once.
        at: When it was decided, with a time zone; without one it is UTC.
        tenant_id: Who pays.
        thread_id: The conversation that the call belongs to.
        node: The graph's node that called.
        task_type: The kind of task.
        score: Complexity in [0, 1].
        factors: The estimate's factors, by name.
        reasons: What each rule said, a line each.
        asked: The tier that was chosen; None if it did not come to that.
        answered: The tier that answered, or whose answer was given up; None if none did.
        attempts: The requests in their order; none if the call ended before the first.
        router_s: Seconds that estimating and routing took.
        budget: How the tenant's budget stood: plain values.
        policy_version: Fingerprint of the rules and settings that decided.
        error: The class of the error that the caller got, if any.
    """

    run_id: str
    at: datetime
    tenant_id: str | None = None
    thread_id: str | None = None
    node: str | None = None
    task_type: str | None = None
    score: float = 0.0
    factors: Mapping[str, float] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    asked: Tier | None = None
    answered: Tier | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    router_s: float = 0.0
    budget: Mapping[str, Any] = field(default_factory=dict)
    policy_version: str = ""
    error: str | None = None

    def __post_init__(self) -> None:
        """Accept tiers' names, UUIDs and a time without a zone; refuse what no call can have.

        Raises:
            ValueError: No run id, a score outside [0, 1], or a time that is negative or unending.
        """
        if not self.run_id:
            msg = "run_id is empty: give the run's id"
            raise ValueError(msg)
        for name in ("run_id", "tenant_id"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                object.__setattr__(self, name, str(value))
        if self.at.tzinfo is None:
            object.__setattr__(self, "at", self.at.replace(tzinfo=UTC))
        for name in ("asked", "answered"):
            tier = getattr(self, name)
            if tier is not None and not isinstance(tier, Tier):
                object.__setattr__(self, name, Tier(tier))
        check_score("score", self.score)
        _check_seconds("router_s", self.router_s)

    @classmethod
    def from_decision(cls, decision: RoutingDecision, run_id: str | UUID | None = None) -> Self:
        """A record of a decision that the application has filled in: one attempt, answered.

        The decision tells the sum of its tokens alone: three quarters are taken for input,
        and all are marked as estimated.

        Args:
            decision: With `tokens_used` and `latency_ms` as they turned out.
            run_id: The run's id; drawn if none is given.

        Raises:
            ValueError: Numbers that no decision can have.
        """
        part, whole = INPUT_SHARE
        _check_count("tokens_used", decision.tokens_used)
        read = decision.tokens_used * part // whole
        tier = decision.selected_tier
        attempt = AttemptRecord(
            tier=tier,
            model_id=decision.model_id,
            input_tokens=read,
            output_tokens=decision.tokens_used - read,
            estimated=True,
            latency_s=decision.latency_ms / 1000,
        )
        return cls(
            run_id=str(run_id or uuid4()),
            at=decision.timestamp,
            tenant_id=None if decision.tenant_id is None else str(decision.tenant_id),
            thread_id=decision.session_id,
            task_type=decision.task_type,
            score=decision.estimated_complexity,
            factors=decision.factors,
            reasons=tuple(map(str, decision.reasons)),
            asked=tier,
            answered=tier,
            attempts=(attempt,),
            policy_version=decision.policy_version,
        )


def check_score(name: str, value: float) -> None:
    """Refuse what is not in [0, 1].

    Raises:
        ValueError: It is not.
    """
    if isinstance(value, (int, float)) and 0 <= value <= 1:
        return
    msg = f"{name} is not a number from 0 to 1"
    raise ValueError(msg)


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, int) or value < 0:
        msg = f"{name} is not a whole number from 0 up"
        raise ValueError(msg)


def _check_seconds(name: str, value: float) -> None:
    if not isinstance(value, (int, float)) or not isfinite(value) or value < 0:
        msg = f"{name} is not a finite number from 0 up"
        raise ValueError(msg)
