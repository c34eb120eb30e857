"""Who answers a command's model calls: the configured endpoints, or the simulator."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tiered_llm.cli.output import console
from tiered_llm.errors import EndpointError
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tiered_llm.cli.findings import Level, TierReport
    from tiered_llm.settings import Settings
    from tiered_llm.testing import SimulatedModel, Simulator
    from tiered_llm.tiers import TierSpec

PROBE_TIMEOUT_S = 2.0
"""How long a command waits for an endpoint before it holds it for down."""

BANNER = "NO MODEL IS BEHIND THIS: the simulator answers with patterns. The routing is real."

_SPOKEN = frozenset({"ollama", "ollama_chat", "vllm", "hosted_vllm", "openai"})
_FIRST_TOKEN_S = {Tier.LIGHT: 0.04, Tier.STANDARD: 0.08, Tier.HEAVY: 0.14}
_TOKEN_S = {Tier.LIGHT: 0.002, Tier.STANDARD: 0.004, Tier.HEAVY: 0.007}
"""The simulated tiers' pace, of nobody's hardware: lighter is faster, a demo is short."""


def silent_tiers(settings: Settings, *, unchecked: bool) -> dict[Tier, str]:
    """The tiers whose endpoint or model is not there, each with what was found.

    No model is run.

    Args:
        settings: The tiers to look at.
        unchecked: Whether an endpoint that no probe knows counts as silent.
    """
    from tiered_llm.cli.findings import Level
    from tiered_llm.cli.probes import examine

    bad = {Level.PROBLEM, Level.UNCHECKED} if unchecked else {Level.PROBLEM}
    specs = settings.tiers.values()
    reports = asyncio.run(examine(specs, timeout_s=PROBE_TIMEOUT_S, probe=False))
    found = {Tier(report.tier): _silence(report, bad) for report in reports}
    return {tier: why for tier, why in found.items() if why}


def _silence(report: TierReport, bad: set[Level]) -> str:
    for finding in report.findings:
        if finding.check in {"endpoint", "model"} and finding.level in bad:
            where = f" at {report.endpoint}" if report.endpoint else ""
            return f"{report.model_id}{where}: {finding.found}"
    return ""


def none_answers(silent: Mapping[Tier, str], command: str) -> EndpointError:
    """The error of a command that found no tier answering."""
    lines = [f"  {tier.value}: {why}" for tier, why in silent.items()]
    try_it = f"`tiered-llm {command} --simulate` shows it without any model"
    return EndpointError("\n".join(["no tier's endpoint answers:", *lines, try_it]))


@contextmanager
def simulated(settings: Settings, *, pace: float = 1.0) -> Iterator[Settings]:
    """The settings with every tier served by a simulator on loopback, while the block runs.

    Model ids stay where the simulator speaks the provider's protocol; another provider's
    models are served as vLLM serves. Keys and extra arguments stay out of it.

    Args:
        settings: The tiers to stand in for.
        pace: Factor on the simulated latencies; 0 answers at once.
    """
    with _simulators(settings, pace) as simulators:
        yield _served_by(simulators, settings)


@contextmanager
def _simulators(settings: Settings, pace: float) -> Iterator[Mapping[Tier, Simulator]]:
    """A simulator for each tier, so that one can be taken down without the others."""
    from tiered_llm.testing import Simulator

    with _loopback_unproxied(), ExitStack() as stack:
        yield {
            tier: stack.enter_context(Simulator([_model(spec, pace)]))
            for tier, spec in settings.tiers.items()
        }


def _served_by(simulators: Mapping[Tier, Simulator], settings: Settings) -> Settings:
    tiers = settings.tiers
    specs = {tier.value: _served(tiers[tier], each) for tier, each in simulators.items()}
    return settings.model_copy(update=specs)


def _model(spec: TierSpec, pace: float) -> SimulatedModel:
    from tiered_llm.testing import SimulatedModel

    return SimulatedModel(
        name=spec.model_name,
        context_window=spec.window_tokens,
        num_ctx=spec.window_tokens,
        latency_s=_FIRST_TOKEN_S[spec.tier] * pace,
        token_latency_s=_TOKEN_S[spec.tier] * pace,
    )


def _served(spec: TierSpec, simulator: Simulator) -> TierSpec:
    from pydantic import SecretStr

    model_id = spec.model_id if spec.provider in _SPOKEN else f"vllm/{spec.model_name}"
    ollama = spec.provider.startswith("ollama")
    local = {
        "model_id": model_id,
        "base_url": simulator.url if ollama else simulator.openai_url,
        "api_key": SecretStr("simulated"),
        "model_kwargs": {},
    }
    return spec.model_copy(update=local)


@contextmanager
def _loopback_unproxied() -> Iterator[None]:
    """No proxy for 127.0.0.1 meanwhile: the model clients heed `HTTP_PROXY`."""
    before = {name: os.environ.get(name) for name in ("NO_PROXY", "no_proxy")}
    given = ",".join(value for value in before.values() if value)
    try:
        for name in before:
            os.environ[name] = f"{given},127.0.0.1" if given else "127.0.0.1"
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@dataclass(frozen=True, slots=True, kw_only=True)
class Backing:
    """Who answers.

    Attributes:
        settings: The settings to build the model from.
        simulated: Whether the simulator answers.
        silent: The configured tiers that were found not to answer, each with what was found.
        simulators: The simulator of each tier; none if the configured endpoints answer.
    """

    settings: Settings
    simulated: bool
    silent: Mapping[Tier, str]
    simulators: Mapping[Tier, Simulator] = field(default_factory=dict)


@contextmanager
def backed(
    settings: Settings, *, simulate: bool, silent: Mapping[Tier, str], pace: float = 1.0
) -> Iterator[Backing]:
    """Whoever answers, while the block runs.

    Args:
        settings: The configured tiers.
        simulate: Whether the simulator stands in for all of them.
        silent: The tiers that were found not to answer.
        pace: Factor on the simulated latencies.
    """
    if not simulate:
        yield Backing(settings=settings, simulated=False, silent=silent)
        return
    with _simulators(settings, pace) as simulators:
        yield Backing(
            settings=_served_by(simulators, settings),
            simulated=True,
            silent=silent,
            simulators=simulators,
        )


def announce(backing: Backing, *, quiet: bool, plan: Iterable[str] = ()) -> None:
    """Say who answers, and what is planned: on stderr where stdout is for machines."""
    from rich.text import Text

    out = console(stderr=quiet)
    if backing.simulated:
        out.print(Text(f" {BANNER} ", style="bold black on yellow"), soft_wrap=True)
    else:
        specs = backing.settings.tiers.values()
        models = ", ".join(f"{spec.tier} {spec.model_id}" for spec in specs)
        out.print(Text(f"live models: {models}", style="bold"), soft_wrap=True)
    for tier, why in backing.silent.items():
        out.print(Text(f"{tier}: {why}", style="dim"), soft_wrap=True)
    for line in plan:
        out.print(Text(line), soft_wrap=True)
    out.print()
