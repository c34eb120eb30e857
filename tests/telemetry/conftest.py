"""A real SDK, real servers, and the two real instrumentors."""

from __future__ import annotations

import pytest
from telemetry.instrumentors import INSTRUMENTORS, nobody
from telemetry.tracing import Tracing

from tiered_llm import TieredChatModel
from tiered_llm.telemetry import trouble

collect_ignore = ["phoenix"]  # a stage of its own: `make test-phoenix`


@pytest.fixture
def tracing():
    return Tracing()


@pytest.fixture
def wired(simulated_tiers, clean_environment, tracing):
    """Makes a traced model over three simulators: `wired(emit_genai_spans=True)`."""

    def make(*, telemetry=None, fields=None, **options):
        tiers = {tier.value: spec for tier, spec in simulated_tiers.specs.items()}
        told = telemetry or tracing.telemetry(**options)
        return TieredChatModel(**{**tiers, "telemetry": told, **(fields or {})})

    return make


@pytest.fixture(params=["nobody", *INSTRUMENTORS])
def instrumentor(request, tracing):
    """The name of the instrumentor that is on; `nobody` for none."""
    with INSTRUMENTORS.get(request.param, nobody)(tracing.provider):
        yield request.param


@pytest.fixture(autouse=True)
def _heard_anew():
    trouble.forget()
