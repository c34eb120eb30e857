"""From an estimate to a decision: the rules are asked in order, and each is on record."""

from __future__ import annotations

import hashlib
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from tiered_llm.clock import SYSTEM_CLOCK
from tiered_llm.errors import ConfigurationError, NoCapableTierError, Problem
from tiered_llm.routing.rules import DEFAULT_RULES
from tiered_llm.routing.verdicts import Avoid, Bar, Lower, Pick, Raise, View
from tiered_llm.settings import get_settings
from tiered_llm.tiers import Tier, fallback_order
from tiered_llm.types import (
    AgentSpec,
    ComplexityEstimate,
    Reason,
    RoutingDecision,
    RoutingRequest,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tiered_llm.clock import Clock
    from tiered_llm.routing.verdicts import Rule, Verdict
    from tiered_llm.settings import Settings
    from tiered_llm.tiers import TierSpec


class ModelRouter:
    """Chooses the cheapest tier that will do, and says why.

    ```python
    router = ModelRouter(get_settings(), rules=[*DEFAULT_RULES, night_shift])
    spec = router.route(task_type="security_analysis", complexity_score=0.8)
    spec.tier.value, spec.model_id
    ```

    Holds no state: one router serves any number of threads.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        specs: Mapping[Tier, TierSpec] | None = None,
        rules: Sequence[Rule] = DEFAULT_RULES,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Take the tiers of the settings, or those given.

        Args:
            settings: Thresholds, tables and bounds; `get_settings()` if left out.
            specs: The tiers to choose among, in place of the settings'.
            rules: Who is asked, in order.
            clock: Dates the decisions.
        """
        self.settings = settings or get_settings()
        chosen = self.settings.tiers if specs is None else specs
        self.specs = {tier: chosen[tier] for tier in sorted(chosen)}
        _check_fixed_tier(self.settings, self.specs)
        self.rules = tuple(rules)
        self.policy_version = _fingerprint(self.settings, self.specs, self.rules)
        self._clock = clock

    def with_specs(self, specs: Mapping[Tier, TierSpec]) -> Self:
        """This router, choosing among other tiers."""
        other = copy(self)
        other.specs = {tier: specs[tier] for tier in sorted(specs)}
        _check_fixed_tier(other.settings, other.specs)
        other.policy_version = _fingerprint(other.settings, other.specs, other.rules)
        return other

    def route(
        self,
        task_type: str | None = None,
        complexity_score: float = 0.0,
        agent_spec: AgentSpec | Mapping[str, Any] | None = None,
    ) -> TierSpec:
        """The tier for a task of known complexity: `.tier.value`, `.model_id`.

        Raises:
            NoCapableTierError: The agent's bounds leave no configured tier.
        """
        request = RoutingRequest(task_type=task_type, agent_spec=AgentSpec.parse(agent_spec))
        estimate = ComplexityEstimate(
            score=complexity_score, recommended_tier=self.tier_for(complexity_score)
        )
        return self.specs[self.decide(request, estimate).selected_tier]

    def tier_for(self, score: float) -> Tier:
        """The tier that a score in [0, 1] asks for by the settings' thresholds."""
        complexity = self.settings.complexity
        if score < complexity.light_below:
            return Tier.LIGHT
        return Tier.STANDARD if score < complexity.heavy_from else Tier.HEAVY

    def decide(self, request: RoutingRequest, estimate: ComplexityEstimate) -> RoutingDecision:
        """Ask every rule, and put what they said into one decision.

        Raises:
            NoCapableTierError: No configured tier can serve the request; it says
                which tier failed on what.
        """
        count = _Count(self.specs)
        view = View(request, estimate, self.specs, count.choice, self.settings)
        for rule in self.rules:
            if view.choice != count.choice:
                view = replace(view, choice=count.choice)
            if count.hear(_name(rule), rule(view)):
                break
        candidates = count.candidates
        selected = count.settle(candidates)
        return RoutingDecision(
            selected_tier=selected,
            timestamp=self._clock.now(),
            tenant_id=request.tenant_id,
            task_type=request.task_type,
            estimated_complexity=estimate.score,
            model_id=self.specs[selected].model_id,
            factors=estimate.factors,
            shares=estimate.shares,
            reasons=tuple(count.reasons),
            candidates=candidates,
            fallbacks=count.fallbacks(selected, candidates),
            policy_version=self.policy_version,
            session_id=request.session_id,
        )


class _Count:
    """The state of one decision while the rules speak."""

    __slots__ = ("_avoided", "_barred", "_final", "_specs", "choice", "reasons")

    def __init__(self, specs: Mapping[Tier, TierSpec]) -> None:
        self._specs = specs
        self._avoided: set[Tier] = set()
        self._barred: dict[Tier, list[str]] = {}
        self._final = False
        self.choice = min(specs, default=Tier.LIGHT)
        self.reasons: list[Reason] = []

    def hear(self, rule: str, verdicts: Iterable[Verdict] | None) -> bool:
        """Apply what a rule says; true if no other rule may speak."""
        for verdict in verdicts or ():
            tier = verdict.tier if isinstance(verdict.tier, Tier) else Tier(verdict.tier)
            self._apply(verdict, tier)
            self._note(rule, verdict.effect, tier, verdict.because)
        return self._final

    def _apply(self, verdict: Verdict, tier: Tier) -> None:
        match verdict:
            case Pick():
                self.choice, self._final = tier, verdict.final
            case Raise():
                self.choice = max(self.choice, tier)
            case Lower():
                self.choice = min(self.choice, tier)
            case Bar():
                self._barred.setdefault(tier, []).append(verdict.because)
            case Avoid():
                self._avoided.add(tier)

    @property
    def candidates(self) -> tuple[Tier, ...]:
        """The tiers that may serve the call, lightest first."""
        return tuple(tier for tier in self._specs if tier not in self._barred)

    def settle(self, possible: tuple[Tier, ...]) -> Tier:
        """The choice, or the nearest tier that can serve: a stronger one before a weaker.

        What is to be avoided is, unless nothing else can serve.
        """
        if not possible:
            raise NoCapableTierError({tier: self._barred[tier] for tier in self._specs})
        wanted = tuple(tier for tier in possible if tier not in self._avoided) or possible
        if self.choice in wanted:
            return self.choice
        nearest = fallback_order(self.choice, wanted)[0]
        self._note("nearest_tier", "pick", nearest, f"{self.choice.value} {self._why_not()}")
        return nearest

    def fallbacks(self, selected: Tier, possible: tuple[Tier, ...]) -> tuple[Tier, ...]:
        """The tiers to try after the selected one; those to be avoided last."""
        order = fallback_order(selected, possible)
        if not self._avoided:
            return order
        return tuple(sorted(order, key=lambda tier: tier in self._avoided))  # stable

    def _why_not(self) -> str:
        if self.choice not in self._specs:
            return "is not configured"
        return "is barred" if self.choice in self._barred else "is avoided"

    def _note(self, rule: str, effect: str, tier: Tier, because: str) -> None:
        self.reasons.append(Reason(rule=rule, effect=effect, tier=tier, because=because))


def _name(rule: Rule) -> str:
    """What stands in the reasons; a partial or an object is named by its class."""
    return getattr(rule, "__name__", type(rule).__name__)


def _check_fixed_tier(settings: Settings, specs: Mapping[Tier, TierSpec]) -> None:
    fixed = settings.fixed_tier
    if settings.routing_enabled or fixed is None or fixed in specs:
        return
    wrong, right = f"{fixed.value} is not among the tiers", f"use one of {', '.join(specs)}"
    problem = Problem(source="arguments", key="fixed_tier", wrong=wrong, right=right)
    raise ConfigurationError([problem])


def _fingerprint(settings: Settings, specs: Mapping[Tier, TierSpec], rules: Sequence[Rule]) -> str:
    """Eight hexadecimal digits that change when tiers, settings or rules do."""
    parts = [
        settings.complexity.model_dump_json(),
        settings.routing.model_dump_json(),
        f"{settings.routing_enabled} {settings.fixed_tier}",
        *(spec.model_dump_json(exclude={"api_key", "model_kwargs"}) for spec in specs.values()),
        *map(_name, rules),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
