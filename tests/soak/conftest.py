"""What the soaks share: their seed, their clock, their servers."""

from __future__ import annotations

import os
import secrets

import pytest
from soak.tier_servers import TierServers

from tiered_llm.clock import SystemClock


class AheadClock(SystemClock):
    """The machine's clock, and a hand on it."""

    ahead_s = 0.0

    def monotonic_s(self):
        return super().monotonic_s() + self.ahead_s


@pytest.fixture
def clock():
    return AheadClock()


@pytest.fixture
def seed(clean_environment):
    """What the faults are drawn from; `SOAK_SEED=…` in the environment has a failure again."""
    drawn = int(os.environ.get("SOAK_SEED") or secrets.randbelow(1_000_000))
    print(f"SOAK_SEED={drawn}")  # noqa: T201  # pytest shows it with a failure
    return drawn


@pytest.fixture
def servers(seed):
    """Servers that close a connection with each answer: whatever stays open is a leak."""
    with TierServers(seed=seed, keep_alive=False) as running:
        yield running
        running.until_empty()


@pytest.fixture
def lasting_servers(seed):
    """Servers that keep connections alive, as Ollama and vLLM do."""
    with TierServers(seed=seed, keep_alive=True) as running:
        yield running
