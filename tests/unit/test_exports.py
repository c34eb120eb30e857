"""The public names: pinned, so that none comes or goes by accident, and loaded late."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tiered_llm

PUBLIC = [
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

HEAVY = (
    "langchain_core",
    "langchain_openai",
    "langchain_ollama",
    "langgraph",
    "opentelemetry.sdk",
    "pydantic",
    "typer",
)


def test_the_public_names_are_these():
    assert tiered_llm.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_resolves(name):
    value = getattr(tiered_llm, name)
    assert getattr(value, "__name__", name) == name


def test_dir_lists_the_public_names():
    assert set(PUBLIC) <= set(dir(tiered_llm))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'tiered_llm' has no attribute 'Teir'"):
        _ = tiered_llm.Teir


def test_a_star_import_gives_the_public_names():
    namespace = {}
    exec("from tiered_llm import *", namespace)  # noqa: S102 - a constant
    assert set(PUBLIC) <= set(namespace)


def _loaded_by(code):
    shown = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_loads_nothing_heavy():
    loaded = _loaded_by("import tiered_llm")
    assert "tiered_llm" in loaded
    assert not loaded & set(HEAVY)


def test_an_error_can_be_named_without_loading_langchain():
    loaded = _loaded_by("from tiered_llm import AllTiersFailedError")
    assert "tiered_llm.errors" in loaded
    assert not loaded & {"langchain_core", "langgraph"}


def test_the_version_is_the_distributions():
    from importlib.metadata import version

    assert tiered_llm.__version__ == version("tiered-llm")
