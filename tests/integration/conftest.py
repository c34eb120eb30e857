from __future__ import annotations

import pytest

from tiered_llm import TieredChatModel
from tiered_llm.tiers import Tier

NAMES = {Tier.LIGHT: "qwen2.5:7b", Tier.STANDARD: "qwen2.5:32b", Tier.HEAVY: "qwen2.5:72b"}


@pytest.fixture
def wired(simulated_tiers):
    """Makes a model over the three simulators: `wired(temperature=0)`."""

    def make(**fields):
        tiers = {tier.value: spec for tier, spec in simulated_tiers.specs.items()}
        return TieredChatModel(**{**tiers, **fields})

    return make


@pytest.fixture
def at(simulated_tiers):
    """The simulator of a tier, and its model's name: `at("light")`."""

    def find(tier):
        return getattr(simulated_tiers, Tier(tier).value), NAMES[Tier(tier)]

    return find


@pytest.fixture
def bodies(at):
    """The request bodies that a tier's server has seen: `bodies("light")`."""

    def read(tier):
        return [record.body for record in at(tier)[0].requests]

    return read
