"""The frozen values that travel between rooms.

A `RoutingRequest` is what is known of a call before it is made, a `ComplexityEstimate`
how hard it seems, a `RoutingDecision` where it goes and why.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from tiered_llm.clock import SYSTEM_CLOCK
from tiered_llm.tiers import Ability, Tier

if TYPE_CHECKING:
    from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """What is known of the agent that asks.

    Attributes:
        name: The agent's name; part of reasons and traces.
        capabilities: What the agent can do, as plain words: `security_analysis`.
        criticality: `low`, `normal`, `high` or `critical`; from `high` on, heavy is preferred.
        lowest_tier: No tier below this one may serve the agent.
        highest_tier: No tier above this one may serve the agent.
        preferred_tier: The tier to take unless a bound says otherwise.
        task_types: The agent's tasks; the first one counts where a call names none.
        overruled: The bound that `within` could not keep, because what surrounds the agent
            leaves no tier for it; part of the reasons.
    """

    name: str = ""
    capabilities: tuple[str, ...] = ()
    criticality: str = "normal"
    lowest_tier: Tier | None = None
    highest_tier: Tier | None = None
    preferred_tier: Tier | None = None
    task_types: tuple[str, ...] = ()
    overruled: Tier | None = None

    @classmethod
    def parse(cls, value: AgentSpec | Mapping[str, Any] | None) -> AgentSpec | None:
        """Read a spec from a plain mapping, as a graph's config holds it.

        Raises:
            ValueError: An unknown field, an unknown tier, or bounds that leave no tier.
        """
        if value is None or isinstance(value, AgentSpec):
            return value
        known = {f.name for f in fields(cls)}
        if unknown := set(value) - known:
            msg = f"agent_spec has no field {sorted(unknown)}; the fields are {sorted(known)}"
            raise ValueError(msg)
        given = dict(value)
        for name in ("capabilities", "task_types"):
            given[name] = _words(given.get(name, ()))
        return cls(**given)

    def as_metadata(self) -> dict[str, Any]:
        """The spec for a node's or a config's `metadata`, under a key of its own.

        ```python
        builder.add_node("audit", audit, metadata=AgentSpec(highest_tier="standard").as_metadata())
        ```

        LangChain merges metadata key by key: of two entries `agent_spec`, one inside of the other,
        only the inner one arrives at a call. Entries of this kind all do, and all bound it.
        """
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {name: _as_json(value) for name, value in given.items() if value}
        digest = zlib.crc32(json.dumps(plain, sort_keys=True).encode())
        return {f"agent_spec:{self.name}:{digest:08x}": plain}

    def within(self, outer: AgentSpec | None) -> AgentSpec:
        """This spec as an agent inside another one has it: narrowed, never widened.

        Bounds are the narrower ones, and the outer's where the two leave no tier between them;
        criticality is the higher one. What this one leaves open is the outer's.
        """
        if outer is None or outer is self:
            return self
        lowest = _most(self.lowest_tier, outer.lowest_tier)
        highest = _least(self.highest_tier, outer.highest_tier)
        overruled = self.overruled or outer.overruled
        if lowest and highest and lowest > highest:
            overruled = self.lowest_tier if lowest == self.lowest_tier else self.highest_tier
            lowest, highest = outer.lowest_tier, outer.highest_tier
        return AgentSpec(
            name=self.name or outer.name,
            capabilities=tuple(dict.fromkeys((*self.capabilities, *outer.capabilities))),
            criticality=max(self.criticality, outer.criticality, key=CRITICALITIES.index),
            lowest_tier=lowest,
            highest_tier=highest,
            preferred_tier=self.preferred_tier or outer.preferred_tier,
            task_types=self.task_types or outer.task_types,
            overruled=overruled,
        )

    def __post_init__(self) -> None:
        """Accept tiers' names; refuse bounds that leave no tier, and a criticality nobody knows."""
        for name in ("lowest_tier", "highest_tier", "preferred_tier", "overruled"):
            tier = getattr(self, name)
            if tier is not None and not isinstance(tier, Tier):
                object.__setattr__(self, name, Tier(tier))
        if self.lowest_tier and self.highest_tier and self.lowest_tier > self.highest_tier:
            msg = f"lowest_tier {self.lowest_tier} is above highest_tier {self.highest_tier}"
            raise ValueError(msg)
        if self.criticality not in CRITICALITIES:
            msg = f"criticality {self.criticality!r} is not one of {', '.join(CRITICALITIES)}"
            raise ValueError(msg)


CRITICALITIES = ("low", "normal", "high", "critical")


def _most(one: Tier | None, other: Tier | None) -> Tier | None:
    return max(one, other) if one and other else one or other


def _least(one: Tier | None, other: Tier | None) -> Tier | None:
    return min(one, other) if one and other else one or other


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else str(value)


def _words(value: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


StepKind = Literal["plain", "planning", "acting", "reading"]
"""What kind of step of an agent's turn a call is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingRequest:
    """What is known of one model call before it is made.

    Attributes:
        message: The latest human ask: the text whose difficulty is scored.
        context_tokens: Tokens of system text, retrieved context and tool results.
        history_length: Messages of the conversation before the latest ask.
        agent_capabilities: Capabilities of the asking agent.
        task_type: What kind of task this is, if the application knows.
        agent_spec: The asking agent's bounds and preferences.
        tenant_id: Who pays. Stays out of logs, spans and reasons.
        session_id: The conversation that the call belongs to.
        forced_tier: The tier that the caller insists on.
        needs: Abilities without which a tier cannot serve the call.
        input_tokens: All tokens that would be sent, estimated.
        max_output_tokens: The longest answer wanted, if the caller says.
        held_tier: The tier chosen for an earlier call of this turn or thread.
        in_turn: Whether this call goes on with a turn that `held_tier` began:
            the messages after the latest ask are tool calls and results.
        prefix_tokens: Tokens of the conversation that `held_tier` has in its cache.
        ejected: Tiers whose endpoint lets no call through just now.
        budget_cap: The highest tier that the tenant's budget still allows.
        step: What kind of step of an agent's turn this is: `plain`, without tools; `planning`,
            the first one with tools; `reading`, after a long tool result; `acting`, after others.
        failed_steps: Steps of this turn that failed one after the other, just before this one,
            on `held_tier`: a tool call was malformed, or its result an error.
    """

    message: str = ""
    context_tokens: int = 0
    history_length: int = 0
    agent_capabilities: tuple[str, ...] = ()
    task_type: str | None = None
    agent_spec: AgentSpec | None = None
    tenant_id: str | None = None
    session_id: str | None = None
    forced_tier: Tier | None = None
    needs: frozenset[Ability] = frozenset()
    input_tokens: int = 0
    max_output_tokens: int | None = None
    held_tier: Tier | None = None
    in_turn: bool = False
    prefix_tokens: int = 0
    ejected: tuple[Tier, ...] = ()
    budget_cap: Tier | None = None
    step: StepKind = "plain"
    failed_steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ComplexityEstimate:
    """How hard a request seems, and why.

    Attributes:
        score: Complexity in [0, 1].
        factors: Each factor's own value in [0, 1], by name.
        shares: What each factor adds to the score; they sum to it unless the sum was clamped.
        recommended_tier: The tier that the score alone asks for.
        words: The words that fired, in the order of their first appearance.
        scanned_chars: Characters of the message that were read.
        truncated: Whether the message was longer than what was read.
        estimator: Name and version of who made the estimate.
    """

    score: float
    factors: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    recommended_tier: Tier
    words: tuple[str, ...] = ()
    scanned_chars: int = 0
    truncated: bool = False
    estimator: str = ""

    def __post_init__(self) -> None:
        """Accept a tier's name."""
        if not isinstance(self.recommended_tier, Tier):
            object.__setattr__(self, "recommended_tier", Tier(self.recommended_tier))

    def explain(self) -> str:
        """The estimate as a sentence, most important factor first."""
        parts = sorted(self.shares.items(), key=lambda item: -item[1])
        why = ", ".join(f"{name.replace('_', ' ')} {share:.2f}" for name, share in parts if share)
        words = f"; words: {', '.join(self.words)}" if self.words else ""
        cut = (
            f"; only the first {self.scanned_chars} characters were read" if self.truncated else ""
        )
        return (
            f"{self.score:.2f}, {self.recommended_tier.value}: {why or 'nothing fired'}{words}{cut}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "score": self.score,
            "factors": dict(self.factors),
            "shares": dict(self.shares),
            "recommended_tier": self.recommended_tier.value,
            "words": list(self.words),
            "scanned_chars": self.scanned_chars,
            "truncated": self.truncated,
            "estimator": self.estimator,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One rule's say in a decision.

    Attributes:
        rule: The rule's name.
        effect: What it did: `pick`, `raise`, `lower`, `bar` or `avoid`.
        tier: The tier it was about.
        because: Why, for a person. Never holds prompt text or a tenant id.
    """

    rule: str
    effect: str
    tier: Tier
    because: str

    def __str__(self) -> str:
        """`score_thresholds: pick light: 0.12 is below 0.30`."""
        return f"{self.rule}: {self.effect} {self.tier.value}: {self.because}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingDecision:
    """Where a call goes, why, and, once it is over, what came of it.

    Attributes:
        selected_tier: The tier chosen.
        timestamp: When the decision was made, with a time zone.
        tenant_id: Who pays; left out of what goes into messages and traces.
        task_type: The kind of task, if known.
        estimated_complexity: The score in [0, 1].
        tokens_used: Tokens in and out, once known.
        latency_ms: Duration of the call in milliseconds, once known.
        model_id: The chosen tier's model.
        factors: The estimate's factors, by name, each in [0, 1].
        shares: What each factor added to the score.
        reasons: What each rule said, in order.
        candidates: Tiers that could serve the request, lightest first.
        fallbacks: Tiers to try next, in order.
        policy_version: Fingerprint of the rules and settings that decided.
        session_id: The conversation, if known.
    """

    selected_tier: Tier
    timestamp: datetime = field(default_factory=SYSTEM_CLOCK.now)
    tenant_id: str | UUID | None = None
    task_type: str | None = None
    estimated_complexity: float = 0.0
    tokens_used: int = 0
    latency_ms: float = 0.0
    model_id: str = ""
    factors: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()
    candidates: tuple[Tier, ...] = ()
    fallbacks: tuple[Tier, ...] = ()
    policy_version: str = ""
    session_id: str | None = None

    def __post_init__(self) -> None:
        """Accept a tier's name, a UUID and a time without a zone (UTC), as the seed has them."""
        if not isinstance(self.selected_tier, Tier):
            object.__setattr__(self, "selected_tier", Tier(self.selected_tier))
        if self.tenant_id is not None and not isinstance(self.tenant_id, str):
            object.__setattr__(self, "tenant_id", str(self.tenant_id))
        if self.timestamp.tzinfo is None:
            object.__setattr__(self, "timestamp", self.timestamp.replace(tzinfo=UTC))

    @property
    def tier(self) -> Tier:
        """The tier chosen."""
        return self.selected_tier

    @property
    def score(self) -> float:
        """The complexity score that the decision was made on."""
        return self.estimated_complexity

    @property
    def last_word(self) -> Reason | None:
        """The reason that settled the tier: the last one that is no bar and no wish to avoid."""
        return next((r for r in reversed(self.reasons) if r.effect not in {"bar", "avoid"}), None)

    @property
    def order(self) -> tuple[Tier, ...]:
        """The tiers to try: the chosen one, then the fallbacks."""
        return (self.selected_tier, *self.fallbacks)

    def summary(self) -> dict[str, Any]:
        """What a response's metadata and a trace may carry: plain values, no tenant."""
        return {
            "tier": self.selected_tier.value,
            "model_id": self.model_id,
            "score": self.estimated_complexity,
            "factors": dict(self.factors),
            "reasons": [str(reason) for reason in self.reasons],
            "fallbacks": [tier.value for tier in self.fallbacks],
            "policy_version": self.policy_version,
        }

    def to_json(self) -> str:
        """One JSON object; `from_json` gives an equal decision back."""
        plain = {f.name: _plain(getattr(self, f.name)) for f in fields(self)}
        return json.dumps(plain, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ValueError: Not JSON, or not a decision.
        """
        data = json.loads(text)
        try:
            data["timestamp"] = datetime.fromisoformat(data["timestamp"])
            data["reasons"] = tuple(
                Reason(**{**reason, "tier": Tier(reason["tier"])}) for reason in data["reasons"]
            )
            for name in ("candidates", "fallbacks"):
                data[name] = tuple(Tier(tier) for tier in data[name])
            return cls(**data)
        except (KeyError, TypeError) as error:
            msg = f"not a routing decision: {error}"
            raise ValueError(msg) from error


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case Reason():
            return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
        case tuple():
            return [_plain(item) for item in value]
        case Mapping():
            return dict(value)
    return value
