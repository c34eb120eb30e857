"""Decisions as plain values in a graph's state, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tiered_llm.tiers import Tier
from tiered_llm.types import ComplexityEstimate, Reason, RoutingDecision

if TYPE_CHECKING:
    from tiered_llm.chat_model import TieredChatModel


def read(state: Any, key: str) -> Any:
    """What a state holds under a key: of a mapping, a pydantic model or a dataclass."""
    return state.get(key) if isinstance(state, Mapping) else getattr(state, key, None)


def decision_of(routing: Any, model: TieredChatModel) -> RoutingDecision | None:
    """The decision that a state's `routing` holds; None if the model cannot keep to it.

    It cannot if tiers, settings or rules have changed since, as between a checkpoint and its
    resumption: then the call is decided anew.
    """
    if not isinstance(routing, Mapping) or "tier" not in routing:
        return None
    if routing.get("policy_version") != model.stages.router.policy_version:
        return None
    try:
        decided = Tier(routing.get("decided_tier") or routing["tier"])
        order = [decided, *map(Tier, routing.get("fallbacks") or ())]
        if not set(order) <= set(model.stages.endpoints):
            return None
        return RoutingDecision(
            selected_tier=decided,
            model_id=model.stages.endpoints[decided].spec.model_id,
            estimated_complexity=float(routing.get("score") or 0.0),
            factors=dict(routing.get("factors") or {}),
            reasons=tuple(map(_reason, routing.get("reasons") or ())),
            candidates=tuple(sorted(order)),
            fallbacks=tuple(order[1:]),
            policy_version=str(routing["policy_version"]),
        )
    except (ValueError, TypeError):  # written by another hand
        return None


def estimate_of(told: Any) -> ComplexityEstimate | None:
    """The estimate that a state's `estimate` holds; None if it holds none."""
    if not isinstance(told, Mapping):
        return None
    try:
        return ComplexityEstimate(**{**told, "words": tuple(told.get("words") or ())})
    except (ValueError, TypeError):
        return None


def _reason(text: str) -> Reason:
    rule, verdict, because = str(text).split(": ", 2)
    effect, _, tier = verdict.partition(" ")
    return Reason(rule=rule, effect=effect, tier=Tier(tier), because=because)
