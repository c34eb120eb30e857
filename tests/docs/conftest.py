from __future__ import annotations

import pytest


@pytest.fixture
def endpoints(clean_environment, simulated_tiers, monkeypatch):
    """Environment variables that point the three tiers to simulators, and nothing else."""
    for name, value in simulated_tiers.settings_env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return simulated_tiers
