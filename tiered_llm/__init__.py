"""A LangChain chat model that is three: each call goes to the cheapest tier that will do.

```python
from tiered_llm import TieredChatModel

model = TieredChatModel.from_settings()
model.invoke("Hello").response_metadata["routing"]["tier"]
```

Names are loaded when first used: `import tiered_llm` itself imports no provider, no
LangGraph and no OpenTelemetry SDK.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiered_llm.budgets import (
        BudgetCallbackHandler,
        BudgetExceededError,
        BudgetManager,
        BudgetRule,
        LedgerError,
        LedgerLostError,
    )
    from tiered_llm.chat_model import TieredChatModel
    from tiered_llm.complexity import ComplexityEstimator, Estimator
    from tiered_llm.errors import (
        AllTiersFailedError,
        ConfigurationError,
        NoCapableTierError,
        StreamInterruptedError,
        TieredLLMError,
        UnsupportedArgumentError,
    )
    from tiered_llm.fallback import DEFAULT_FAULTS, FallbackChain, FaultTable, Health, Treatment
    from tiered_llm.metrics import (
        AttemptRecord,
        CallRecord,
        DecisionLogError,
        ModelMetricsCollector,
    )
    from tiered_llm.routing import ModelRouter
    from tiered_llm.settings import Settings, get_settings
    from tiered_llm.telemetry import Telemetry
    from tiered_llm.tiers import Ability, Tier, TierSpec
    from tiered_llm.types import AgentSpec, ComplexityEstimate, RoutingDecision, RoutingRequest

_HOMES = {
    "Ability": "tiers",
    "AgentSpec": "types",
    "AllTiersFailedError": "errors",
    "AttemptRecord": "metrics",
    "BudgetCallbackHandler": "budgets",
    "BudgetExceededError": "budgets",
    "BudgetManager": "budgets",
    "BudgetRule": "budgets",
    "CallRecord": "metrics",
    "ComplexityEstimate": "types",
    "ComplexityEstimator": "complexity",
    "ConfigurationError": "errors",
    "DEFAULT_FAULTS": "fallback",
    "DecisionLogError": "metrics",
    "Estimator": "complexity",
    "FallbackChain": "fallback",
    "FaultTable": "fallback",
    "Health": "fallback",
    "LedgerError": "budgets",
    "LedgerLostError": "budgets",
    "ModelMetricsCollector": "metrics",
    "ModelRouter": "routing",
    "NoCapableTierError": "errors",
    "RoutingDecision": "types",
    "RoutingRequest": "types",
    "Settings": "settings",
    "StreamInterruptedError": "errors",
    "Telemetry": "telemetry",
    "Tier": "tiers",
    "TierSpec": "tiers",
    "TieredChatModel": "chat_model",
    "TieredLLMError": "errors",
    "UnsupportedArgumentError": "errors",
    "Treatment": "fallback",
    "get_settings": "settings",
}
"""Each public name, and the room where it lives."""

__all__ = [
    "DEFAULT_FAULTS",
    "Ability",
    "AgentSpec",
    "AllTiersFailedError",
    "AttemptRecord",
    "BudgetCallbackHandler",
    "BudgetExceededError",
    "BudgetManager",
    "BudgetRule",
    "CallRecord",
    "ComplexityEstimate",
    "ComplexityEstimator",
    "ConfigurationError",
    "DecisionLogError",
    "Estimator",
    "FallbackChain",
    "FaultTable",
    "Health",
    "LedgerError",
    "LedgerLostError",
    "ModelMetricsCollector",
    "ModelRouter",
    "NoCapableTierError",
    "RoutingDecision",
    "RoutingRequest",
    "Settings",
    "StreamInterruptedError",
    "Telemetry",
    "Tier",
    "TierSpec",
    "TieredChatModel",
    "TieredLLMError",
    "Treatment",
    "UnsupportedArgumentError",
    "__version__",
    "get_settings",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its room."""
    if name == "__version__":
        from importlib.metadata import version

        return version("tiered-llm")
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
