"""`tiered-llm route`: where a request would go, and why, without calling a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiered_llm.cli.output import console, print_json
from tiered_llm.tiers import Tier  # noqa: TC001  # typer reads the annotations

if TYPE_CHECKING:
    from tiered_llm.settings import ComplexitySettings, Settings
    from tiered_llm.types import ComplexityEstimate, RoutingDecision, RoutingRequest

_SCALE = 44


def route(  # noqa: PLR0913  # one for each option
    text: Annotated[list[str], typer.Argument(help="The request; - reads standard input.")],
    *,
    context_length: Annotated[
        int, typer.Option(min=0, help="Retrieved context that goes with it, in tokens.")
    ] = 0,
    capability: Annotated[
        list[str] | None, typer.Option(help="A capability of the agent that asks; repeatable.")
    ] = None,
    history_length: Annotated[
        int, typer.Option(min=0, help="Messages of the conversation before it.")
    ] = 0,
    task_type: Annotated[str | None, typer.Option(help="Kind of task.")] = None,
    tier: Annotated[Tier | None, typer.Option(help="Tier that the caller insists on.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Who pays; never printed.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer wanted, in tokens.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show where a request would go, and why. No model is called and nothing is sent.

    Several words are joined by spaces. Exits with 1 if no tier can serve the request.

    Example: [bold]tiered-llm route "Audit our mTLS setup" --capability security_analysis[/bold]
    """
    from tiered_llm.settings import get_settings
    from tiered_llm.tokens import MESSAGE_OVERHEAD_TOKENS, estimate_tokens
    from tiered_llm.types import RoutingRequest

    message = _message(text)
    request = RoutingRequest(
        message=message,
        context_tokens=context_length,
        history_length=history_length,
        agent_capabilities=tuple(capability or ()),
        task_type=task_type,
        forced_tier=tier,
        tenant_id=tenant,
        max_output_tokens=max_tokens,
        input_tokens=MESSAGE_OVERHEAD_TOKENS + estimate_tokens(message) + context_length,
    )
    settings = get_settings()
    estimate, decision = _decide(settings, request)
    if as_json:
        print_json(_as_dict(estimate, decision))
    else:
        _show(estimate, decision, settings.complexity)


def _message(words: list[str]) -> str:
    if words == ["-"]:
        return typer.get_text_stream("stdin", encoding="utf-8", errors="replace").read()
    return " ".join(words)


def _decide(
    settings: Settings, request: RoutingRequest
) -> tuple[ComplexityEstimate, RoutingDecision]:
    from tiered_llm.complexity import ComplexityEstimator
    from tiered_llm.routing import ModelRouter

    estimate = ComplexityEstimator(settings.complexity).estimate_request(request)
    return estimate, ModelRouter(settings).decide(request, estimate)


def _as_dict(estimate: ComplexityEstimate, decision: RoutingDecision) -> dict[str, Any]:
    from tiered_llm.cli.explain import as_dict

    told = {name: estimate.to_dict()[name] for name in ("recommended_tier", "words", "truncated")}
    return {**as_dict(decision), **told}


def _show(
    estimate: ComplexityEstimate, decision: RoutingDecision, complexity: ComplexitySettings
) -> None:
    from rich.text import Text

    from tiered_llm.cli.explain import TIER_STYLES, explanation, headline

    out = console()
    routing = decision.summary()
    style = f"bold {TIER_STYLES[routing['tier']]}"
    out.print(Text(headline(routing), style=style), soft_wrap=True)
    for line in (_scale(estimate.score, complexity), *_notes(estimate), ""):
        out.print(Text(line, style="dim"), soft_wrap=True)
    for line in explanation(routing, complexity.weights):
        out.print(Text(line), soft_wrap=True)


def _scale(score: float, complexity: ComplexitySettings) -> str:
    """The score's place between the thresholds: `├───●──┼──────┼────┤`."""
    marks = {0: "├", _SCALE: "┤"}
    for threshold in (complexity.light_below, complexity.heavy_from):
        marks[round(threshold * _SCALE)] = "┼"
    marks[round(score * _SCALE)] = "●"
    line = "".join(marks.get(place, "─") for place in range(_SCALE + 1))
    bounds = f"light below {complexity.light_below:g}, heavy from {complexity.heavy_from:g}"
    return f"{line}  {bounds}"


def _notes(estimate: ComplexityEstimate) -> list[str]:
    notes = [f"words that fired: {', '.join(estimate.words)}"] if estimate.words else []
    if estimate.truncated:
        notes.append(f"only the first {estimate.scanned_chars} characters were read")
    return notes
