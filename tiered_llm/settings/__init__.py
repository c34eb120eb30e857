"""Settings: arguments, environment, `.env`, TOML, defaults, in that order; checked at the start."""

from __future__ import annotations

from tiered_llm.settings.budget import BudgetRuleSettings, BudgetSettings
from tiered_llm.settings.model import Origin, Settings, explain_settings, get_settings
from tiered_llm.settings.sections import (
    DEFAULT_SPECS,
    DEFAULT_TASK_TIERS,
    DEFAULT_WEIGHTS,
    BreakerSettings,
    ComplexitySettings,
    FallbackSettings,
    MetricsSettings,
    RoutingSettings,
    TelemetrySettings,
)

__all__ = [
    "DEFAULT_SPECS",
    "DEFAULT_TASK_TIERS",
    "DEFAULT_WEIGHTS",
    "BreakerSettings",
    "BudgetRuleSettings",
    "BudgetSettings",
    "ComplexitySettings",
    "FallbackSettings",
    "MetricsSettings",
    "Origin",
    "RoutingSettings",
    "Settings",
    "TelemetrySettings",
    "explain_settings",
    "get_settings",
]
