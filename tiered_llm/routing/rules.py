"""The rules, each small, named and pure, in the order in which they speak.

A rule's reason is shown to people and stored with the decision: it never holds prompt
text or a tenant's id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiered_llm.routing.verdicts import Avoid, Bar, Lower, Pick, Raise
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiered_llm.routing.verdicts import Rule, Verdict, View
    from tiered_llm.tiers import TierSpec
    from tiered_llm.types import AgentSpec


def kill_switch(view: View) -> Iterator[Verdict]:
    """With `MODEL_ROUTING_ENABLED=false` every call goes to one fixed tier, unchecked."""
    if view.settings.routing_enabled:
        return
    fixed = view.settings.fixed_tier or max(view.specs)
    for tier in view.specs:
        if tier != fixed:
            yield Bar(tier, f"routing is switched off and fixed to {fixed.value}")
    yield Pick(fixed, "routing is switched off", final=True)


def score_thresholds(view: View) -> Iterator[Verdict]:
    """The score alone asks for a tier."""
    yield Pick(view.estimate.recommended_tier, f"score {view.estimate.score:.2f}")


def task_type(view: View) -> Iterator[Verdict]:
    """A known kind of task goes to its tier: it tells more than the text does."""
    task = view.request.task_type
    tier = view.settings.routing.task_tiers.get(task) if task else None
    if tier is not None:
        yield Pick(tier, f"task type {task}")


def agent_preference(view: View) -> Iterator[Verdict]:
    """The tier that the asking agent prefers."""
    spec = view.request.agent_spec
    if spec is not None and spec.preferred_tier is not None:
        yield Pick(spec.preferred_tier, "the agent prefers it")


def criticality(view: View) -> Iterator[Verdict]:
    """A critical agent, or one that can do something critical, thinks with the heaviest model.

    It speaks after `turn_hold` and `switch_margin`: no saving is worth a critical mistake.
    """
    spec = view.request.agent_spec
    if spec is not None and spec.criticality in {"high", "critical"}:
        yield Raise(Tier.HEAVY, f"the agent's criticality is {spec.criticality}")
    critical = view.settings.routing.critical_capabilities
    for capability in view.request.agent_capabilities if critical else ():
        if capability in critical:
            yield Raise(Tier.HEAVY, f"capability {capability} is critical")


def agent_bounds(view: View) -> Iterator[Verdict]:
    """The asking agent's lowest and highest tier, for the fallbacks too."""
    spec = view.request.agent_spec
    if spec is None:
        return
    if spec.overruled is not None:
        yield from _overruled(spec, spec.overruled)
    for tier in view.specs:
        if spec.lowest_tier is not None and tier < spec.lowest_tier:
            yield Bar(tier, f"below the agent's lowest tier, {spec.lowest_tier.value}")
        if spec.highest_tier is not None and tier > spec.highest_tier:
            yield Bar(tier, f"above the agent's highest tier, {spec.highest_tier.value}")


def _overruled(spec: AgentSpec, asked: Tier) -> Iterator[Verdict]:
    why = f"the agent's own bound, {asked.value}, lies outside of what surrounds it"
    if spec.highest_tier is not None and asked > spec.highest_tier:
        yield Lower(spec.highest_tier, why)
    elif spec.lowest_tier is not None and asked < spec.lowest_tier:
        yield Raise(spec.lowest_tier, why)


def turn_hold(view: View) -> Iterator[Verdict]:
    """Inside one turn of an agent the tier of the ask is kept, to the last tool result."""
    request = view.request
    if view.settings.routing.turn_hold and request.in_turn and request.held_tier:
        yield Pick(request.held_tier, "the turn began there")


def step(view: View) -> Iterator[Verdict]:
    """A kind of step that has a tier of its own goes there, in mid-turn too."""
    kind = view.request.step
    tier = view.settings.routing.step_tiers.get(kind)
    if tier is not None:
        yield Pick(tier, f"a step of {kind}")


def escalation(view: View) -> Iterator[Verdict]:
    """Steps that failed one after the other on a tier take the next one to the tier above.

    From there the turn is held, so that the stronger tier ends what the weaker one could not.
    """
    after, failed = view.settings.routing.escalate_after, view.request.failed_steps
    held = view.request.held_tier
    if not after or failed < after or held is None:
        return
    above = next((tier for tier in sorted(view.specs) if tier > held), None)
    if above is not None:
        yield Raise(above, f"{failed} steps failed on {held.value}, one after the other")


def switch_margin(view: View) -> Iterator[Verdict]:
    """Across turns, a switch for the score's sake must be worth reading the conversation anew.

    The price of the lost prefix cache is `switch_margin` for each 1,000 tokens of it, in
    units of score; the score must lie that far beyond the threshold it crossed.
    """
    request, held = view.request, view.request.held_tier
    margin = view.settings.routing.switch_margin * request.prefix_tokens / 1000
    if not margin or request.in_turn or held is None or held == view.choice:
        return
    complexity = view.settings.complexity
    if view.choice > held:
        edge = complexity.light_below if held == Tier.LIGHT else complexity.heavy_from
        gain = view.estimate.score - edge
    else:
        edge = complexity.heavy_from if held == Tier.HEAVY else complexity.light_below
        gain = edge - view.estimate.score
    if gain < margin:
        yield Pick(held, f"a switch would gain {gain:.2f} and cost {margin:.2f}")


def forced_tier(view: View) -> Iterator[Verdict]:
    """The caller names the tier; only what it cannot do stands against that."""
    forced = view.request.forced_tier
    if forced is None:
        return
    yield Pick(forced, "the caller forces it")
    missing = "" if forced in view.specs else ", which is not configured"
    for tier in view.specs:
        if tier != forced:
            yield Bar(tier, f"the caller forces {forced.value}{missing}")


def tenant_cap(view: View) -> Iterator[Verdict]:
    """A tenant's cap bars what lies above it, for the fallbacks too."""
    cap = view.settings.routing.tenant_caps.get(view.request.tenant_id or "")
    if cap is None:
        return
    yield Lower(cap, "the tenant's cap")
    for tier in view.specs:
        if tier > cap:
            yield Bar(tier, f"above the tenant's cap, {cap.value}")


def budget_pressure(view: View) -> Iterator[Verdict]:
    """A tenant whose budget runs low is kept to lighter tiers, for the fallbacks too."""
    cap = view.request.budget_cap
    if cap is None:
        return
    yield Lower(cap, "the tenant's budget runs low")
    for tier in view.specs:
        if tier > cap:
            yield Bar(tier, f"the tenant's budget allows no more than {cap.value}")


def abilities(view: View) -> Iterator[Verdict]:
    """A tier without an ability that the request needs cannot serve it."""
    needs = view.request.needs
    for tier, spec in view.specs.items() if needs else ():
        lacking = sorted(need.value for need in needs if not spec.able(need))
        if lacking:
            yield Bar(tier, f"cannot do {', '.join(lacking)}")


def context_fit(view: View) -> Iterator[Verdict]:
    """Input and wanted output must fit the window; Ollama would cut the input silently."""
    needed = view.request.input_tokens
    for tier, spec in view.specs.items():
        total = needed + _wanted_output(view, spec)
        if total > spec.window_tokens:
            yield Bar(tier, f"about {total} tokens do not fit its window of {spec.window_tokens}")


def _wanted_output(view: View, spec: TierSpec) -> int:
    wanted = view.request.max_output_tokens
    if wanted is None:
        wanted = view.settings.routing.output_reserve_tokens
    return min(wanted, spec.max_output_tokens or wanted)


def health(view: View) -> Iterator[Verdict]:
    """A tier whose endpoint keeps failing is left alone, unless no other one can serve."""
    for tier in view.request.ejected:
        yield Avoid(tier, "its endpoint keeps failing or asked for a pause")


DEFAULT_RULES: tuple[Rule, ...] = (
    kill_switch,
    score_thresholds,
    switch_margin,
    task_type,
    agent_preference,
    turn_hold,
    step,
    escalation,
    criticality,
    agent_bounds,
    forced_tier,
    tenant_cap,
    budget_pressure,
    abilities,
    context_fit,
    health,
)
"""Who speaks later has the later word; what bars a tier cannot be undone."""
