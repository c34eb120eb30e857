"""What `demo --chaos` tells: the events of an outage, and what came of it, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiered_llm.cli.demo_ledger import Outcome
    from tiered_llm.fallback.phases import State
    from tiered_llm.settings import BreakerSettings
    from tiered_llm.tiers import Tier

_BREAKER_WORDS: dict[State, str] = {
    "open": "the router leaves the tier alone",
    "half_open": "a few requests may try the tier again",
    "closed": "the tier takes its requests again",
    "cooldown": "the tier asked for a pause",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened between two requests.

    Attributes:
        kind: What: the tier was killed, is back, or its breaker changed.
        tier: Whose.
        after: How many requests were over.
        text: The same for a person.
        breaker: The breaker's state.
    """

    kind: Literal["killed", "back", "breaker"]
    tier: Tier
    after: int
    text: str
    breaker: State

    @classmethod
    def killed(cls, tier: Tier, after: int, breaker: State) -> Event:
        """The tier's server is gone."""
        text = f"{tier} killed: connections refused"
        return cls(kind="killed", tier=tier, after=after, text=text, breaker=breaker)

    @classmethod
    def back(cls, tier: Tier, after: int, breaker: State) -> Event:
        """The tier's server runs again."""
        text = f"{tier} is back: connections accepted"
        return cls(kind="back", tier=tier, after=after, text=text, breaker=breaker)

    @classmethod
    def changed(cls, tier: Tier, after: int, breaker: State) -> Event:
        """The tier's breaker is in another state."""
        said = breaker.replace("_", "-")
        text = f"breaker of {tier} is {said}: {_BREAKER_WORDS[breaker]}"
        return cls(kind="breaker", tier=tier, after=after, text=text, breaker=breaker)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "type": "event",
            "event": self.kind,
            "tier": self.tier.value,
            "after_requests": self.after,
            "breaker": self.breaker,
            "text": self.text,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """One tier's time without a server.

    Attributes:
        tier: The tier that was killed.
        policy: When its breaker opens, in this run.
        breaker: Its breaker's state.
        killed_after: How many requests were over at the kill; None before it.
        back_after: How many were over when it came back; None before that.
    """

    tier: Tier
    policy: BreakerSettings
    breaker: State = "closed"
    killed_after: int | None = None
    back_after: int | None = None

    def attempts(self, outcomes: Sequence[Outcome]) -> int:
        """How many attempts were spent on the tier in vain."""
        lost = (a for outcome in outcomes for a in outcome.failed_attempts)
        return sum(attempt["tier"] == self.tier for attempt in lost)

    def routed_around(self, outcomes: Sequence[Outcome]) -> int:
        """How many requests the tier would have had, had the router not left it alone."""
        return sum(self.tier in outcome.left_alone for outcome in outcomes)

    def to_dict(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        """What came of it, as plain JSON values."""
        failed = sum(bool(outcome.error) for outcome in outcomes)
        return {
            "tier": self.tier.value,
            "killed_after": self.killed_after,
            "back_after": self.back_after,
            "answered": len(outcomes) - failed,
            "failed": failed,
            "fallbacks": sum(outcome.fell_back for outcome in outcomes),
            "attempts_on_dead_tier": self.attempts(outcomes),
            "routed_around": self.routed_around(outcomes),
            "breaker": self.breaker,
            "breaker_policy": {
                "min_calls": self.policy.min_calls,
                "failure_ratio": self.policy.failure_ratio,
                "open_s": self.policy.open_s,
            },
        }

    def lines(self, outcomes: Sequence[Outcome]) -> list[str]:
        """What came of it, for a person."""
        told = self.to_dict(outcomes)
        came = f"{told['answered']} answered, {told['failed']} failed"
        spent = f"{told['attempts_on_dead_tier']} attempts spent on {self.tier}"
        around = f"{told['routed_around']} requests routed around it"
        state = self.breaker.replace("_", "-")
        return [
            f"outage    {self._when()}: {came}, {told['fallbacks']} fell back",
            f"          {spent}, {around}; its breaker is {state} at the end",
        ]

    def _when(self) -> str:
        if self.killed_after is None:
            return f"{self.tier} was not killed yet"
        first, last = self.killed_after + 1, self.back_after
        return f"{self.tier} was down from request {first} {'on' if last is None else f'to {last}'}"
