"""pytest fixtures: models on the wire in one line of a user's test.

pytest loads this module in every run where `tiered_llm` is installed, so it imports nothing
but pytest until a fixture is asked for.

```python
def test_greets(simulator):
    model = ChatOllama(model="qwen2.5:7b", base_url=simulator.url)
    assert model.invoke("Hello").content
```
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tiered_llm.testing.simulator import Simulator
    from tiered_llm.tiers import Tier, TierSpec

_WINDOW_TOKENS = 32_768
_MODELS = {"light": "qwen2.5:7b", "standard": "qwen2.5:32b", "heavy": "qwen2.5:72b"}
_PROVIDERS = {"light": "ollama", "standard": "ollama", "heavy": "vllm"}
_COST_WEIGHTS = {"light": 1, "standard": 3, "heavy": 10}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedTiers:
    """Three simulators, one for each tier.

    Attributes:
        light: Serves `qwen2.5:7b`, to be spoken to as Ollama.
        standard: Serves `qwen2.5:32b`, to be spoken to as Ollama.
        heavy: Serves `qwen2.5:72b`, to be spoken to as vLLM.
        specs: The tiers as settings take them, with the simulators' addresses.
    """

    light: Simulator
    standard: Simulator
    heavy: Simulator
    specs: Mapping[Tier, TierSpec]

    @property
    def settings_env(self) -> dict[str, str]:
        """The specs as environment variables, for `monkeypatch.setenv` or a child process."""
        variables: dict[str, str] = {}
        for tier, spec in self.specs.items():
            variables[f"MODEL_{tier.name}"] = spec.model_id
            variables[f"TIERED_LLM_{tier.name}__BASE_URL"] = str(spec.base_url)
        return variables

    def reset(self) -> None:
        """Reset all three."""
        for simulator in (self.light, self.standard, self.heavy):
            simulator.reset()


@pytest.fixture(scope="session")
def _shared_simulator() -> Iterator[Simulator]:
    with _simulator(*_MODELS.values()) as simulator:
        yield simulator


@pytest.fixture
def simulator(_shared_simulator: Simulator) -> Simulator:
    """One simulator with three models: `qwen2.5:7b`, `qwen2.5:32b`, `qwen2.5:72b`. Fresh.

    The process's breakers are closed and its retry budget is full.
    """
    _shared_simulator.reset()
    _forget_health()
    return _shared_simulator


@pytest.fixture(scope="session")
def _shared_tiers() -> Iterator[SimulatedTiers]:
    with ExitStack() as stack:
        running = {tier: stack.enter_context(_simulator(name)) for tier, name in _MODELS.items()}
        yield SimulatedTiers(**running, specs=_specs(running))


@pytest.fixture
def simulated_tiers(_shared_tiers: SimulatedTiers) -> SimulatedTiers:
    """Three simulators, one for each tier, with the specs that point to them. Fresh.

    The process's breakers are closed and its retry budget is full.
    """
    _shared_tiers.reset()
    _forget_health()
    return _shared_tiers


def _forget_health() -> None:
    """Close the process's breakers: what one test broke must not be left alone in the next."""
    from tiered_llm.fallback import PROCESS_HEALTH

    PROCESS_HEALTH.reset()


def _simulator(*names: str) -> Simulator:
    from tiered_llm.testing.simulator import SimulatedModel, Simulator

    models = [
        SimulatedModel(name=name, context_window=_WINDOW_TOKENS, num_ctx=_WINDOW_TOKENS)
        for name in names
    ]
    return Simulator(models)


def _specs(running: Mapping[str, Simulator]) -> Mapping[Tier, TierSpec]:
    from tiered_llm.tiers import Tier, TierSpec

    return {
        Tier(tier): TierSpec(
            tier=Tier(tier),
            model_id=f"{_PROVIDERS[tier]}/{_MODELS[tier]}",
            base_url=simulator.openai_url if _PROVIDERS[tier] == "vllm" else simulator.url,
            cost_weight=_COST_WEIGHTS[tier],
            context_window=_WINDOW_TOKENS,
        )
        for tier, simulator in running.items()
    }
