"""What a rule may say, and what it may look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tiered_llm.settings import Settings
    from tiered_llm.tiers import Tier, TierSpec
    from tiered_llm.types import ComplexityEstimate, RoutingRequest


@dataclass(frozen=True, slots=True)
class Pick:
    """Take this tier, whatever was chosen before."""

    tier: Tier
    because: str
    final: bool = False
    """Whether no later rule may speak, not even to bar the tier."""
    effect = "pick"


@dataclass(frozen=True, slots=True)
class Raise:
    """Take at least this tier."""

    tier: Tier
    because: str
    effect = "raise"


@dataclass(frozen=True, slots=True)
class Lower:
    """Take at most this tier."""

    tier: Tier
    because: str
    effect = "lower"


@dataclass(frozen=True, slots=True)
class Bar:
    """This tier may not serve the call, neither first nor as a fallback."""

    tier: Tier
    because: str
    effect = "bar"


@dataclass(frozen=True, slots=True)
class Avoid:
    """This tier serves the call only where no other one can, and comes last in the order."""

    tier: Tier
    because: str
    effect = "avoid"


Verdict = Pick | Raise | Lower | Bar | Avoid


@dataclass(frozen=True, slots=True)
class View:
    """All that a rule may look at.

    Attributes:
        request: What is known of the call.
        estimate: How hard it seems.
        specs: The configured tiers, lightest first.
        choice: The tier as the rules before have left it.
        settings: The settings in force.
    """

    request: RoutingRequest
    estimate: ComplexityEstimate
    specs: Mapping[Tier, TierSpec]
    choice: Tier
    settings: Settings


@runtime_checkable
class Rule(Protocol):
    """A pure function that looks at a call and may pick, raise, lower, bar or avoid tiers.

    ```python
    def night_shift(view: View) -> Iterable[Verdict]:
        if view.request.task_type == "batch":
            yield Lower(Tier.STANDARD, "batch work waits its turn")
    ```

    Its `__name__` stands in the decision's reasons.
    """

    __name__: str

    def __call__(self, view: View, /) -> Iterable[Verdict]:
        """Say something about the call, or nothing. The same view gets the same answer."""
        ...
