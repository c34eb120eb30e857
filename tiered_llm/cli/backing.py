"""Who answers a command's model calls: the configured endpoints, or the simulator."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tiered_llm.errors import EndpointError
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tiered_llm.cli.findings import TierReport
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


def silent_tiers(settings: Settings, timeout_s: float = PROBE_TIMEOUT_S) -> dict[Tier, str]:
    """The tiers whose endpoint or model is not there, each with what was found.

    No model is run. An endpoint that no probe knows counts as silent.
    """
    from tiered_llm.cli.probes import examine

    reports = asyncio.run(examine(settings.tiers.values(), timeout_s=timeout_s, probe=False))
    found = {Tier(report.tier): _silence(report) for report in reports}
    return {tier: why for tier, why in found.items() if why}


def _silence(report: TierReport) -> str:
    from tiered_llm.cli.findings import Level

    bad = {Level.PROBLEM, Level.UNCHECKED}
    for finding in report.findings:
        if finding.check in {"endpoint", "model"} and finding.level in bad:
            where = f"{report.model_id} at {report.endpoint}"
            return f"{where}: {finding.check} {finding.found}{finding.do and f'; {finding.do}'}"
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
    from tiered_llm.testing import Simulator

    models = {spec.model_name: _model(spec, pace) for spec in settings.tiers.values()}
    with _loopback_unproxied(), Simulator(models.values()) as simulator:
        specs = {tier.value: _served(spec, simulator) for tier, spec in settings.tiers.items()}
        yield settings.model_copy(update=specs)


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
