"""A routing told to a person: why the tier, what each factor added, bars of block characters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiered_llm.types import RoutingDecision

_SHORT_NAMES = {
    "message_complexity": "message",
    "context_requirement": "context",
    "capability_criticality": "capability",
    "conversation_depth": "history",
    "keyword_signals": "keywords",
}
_NAMED_FACTORS = 2
_LEAST_SHARE = 0.015
_AGAINST = {"bar", "avoid"}
_EIGHTHS = " ▏▎▍▌▋▊▉█"

TIER_STYLES = {"light": "green", "standard": "yellow", "heavy": "magenta"}
"""The colour of each tier, wherever one is shown."""


class Said(NamedTuple):
    """One reason, taken apart again."""

    rule: str
    effect: str
    tier: str
    because: str


def shares_of(routing: Mapping[str, Any], weights: Mapping[str, float]) -> dict[str, float]:
    """What each factor added to the score, by name."""
    factors: Mapping[str, float] = routing["factors"]
    return {name: value * weights.get(name, 0.0) for name, value in factors.items()}


def why(routing: Mapping[str, Any], weights: Mapping[str, float]) -> str:
    """In a few words, why this tier.

    The tier that failed before, if one did; else the rule that had the last word on the
    tier, and where that was the score, the factors that made it.

    Args:
        routing: What `RoutingDecision.summary` or `response_metadata["routing"]` holds.
        weights: The weight of each factor.
    """
    failures = [a for a in routing.get("attempts", ()) if a["outcome"] == "failed"]
    if failures:
        return ", ".join(f"{a['tier']} failed: {a['fault']}" for a in failures)
    said = [_taken_apart(reason) for reason in routing["reasons"]]
    last = next((s for s in reversed(said) if s.effect not in _AGAINST), None)
    if last is None or last.rule == "score_thresholds":
        return _main_factors(shares_of(routing, weights))
    if last.rule == "nearest_tier":
        return _barred(said, last)
    return last.because


def left_alone(routing: Mapping[str, Any]) -> str | None:
    """The tier that was wanted and left alone for its health; None if there is none."""
    said = [_taken_apart(reason) for reason in routing["reasons"]]
    avoided = {s.tier for s in said if s.effect == "avoid"}
    avoided -= {s.tier for s in said if s.effect == "bar"}  # not for its health alone
    passed_over = (s.because.partition(" ")[0] for s in said if s.rule == "nearest_tier")
    return next((tier for tier in passed_over if tier in avoided), None)


def _taken_apart(reason: str) -> Said:
    rule, verdict, because = reason.split(": ", 2)
    effect, _, tier = verdict.partition(" ")
    return Said(rule, effect, tier, because)


def _barred(said: list[Said], last: Said) -> str:
    unwanted = last.because.partition(" ")[0]
    because = (s.because for s in said if s.effect in _AGAINST and s.tier == unwanted)
    return f"{unwanted}: {next(because, 'not configured')}"


def _main_factors(shares: Mapping[str, float]) -> str:
    most = sorted(shares.items(), key=lambda item: -item[1])[:_NAMED_FACTORS]
    named = (
        f"{_SHORT_NAMES.get(n, n)} {share:.2f}".replace("0.", ".")
        for n, share in most
        if share >= _LEAST_SHARE
    )
    return ", ".join(named) or "nothing fired"


def bar(value: float, width: int) -> str:
    """A bar for a value in [0, 1], `width` cells wide, exact to an eighth of a cell."""
    eighths = round(min(1.0, max(0.0, value)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def factor_lines(
    routing: Mapping[str, Any], weights: Mapping[str, float], cells: int = 20
) -> list[str]:
    """A line for each factor: name, bar of so many cells, value, weight, share."""
    shares = shares_of(routing, weights)
    return [
        f"{name.replace('_', ' '):<23}{bar(value, cells)} {value:.2f} x {weights.get(name, 0):.2f}"
        f" = {shares[name]:.2f}"
        for name, value in routing["factors"].items()
    ]


def headline(routing: Mapping[str, Any]) -> str:
    """Tier, model and score in a line."""
    return f"{routing['tier']} · {routing['model_id']} · score {routing['score']:.2f}"


def explanation(routing: Mapping[str, Any], weights: Mapping[str, float]) -> list[str]:
    """The factors, the reasons in the order in which they spoke, and what would come next."""
    then = ", then ".join(routing["fallbacks"]) or "nothing"
    return [
        *factor_lines(routing, weights),
        "",
        *(f"{number}. {reason}" for number, reason in enumerate(routing["reasons"], start=1)),
        f"if it fails: {then}",
    ]


def as_dict(decision: RoutingDecision) -> dict[str, Any]:
    """A decision as plain JSON values, shares and candidates included; no tenant."""
    return {
        **decision.summary(),
        "shares": dict(decision.shares),
        "candidates": [tier.value for tier in decision.candidates],
        "task_type": decision.task_type,
    }
