"""Arguments that cannot be, told at the start."""

from __future__ import annotations

from tiered_llm.errors import ConfigurationError, Problem


def refused(*, key: str, wrong: str, right: str) -> ConfigurationError:
    """The error for one wrong argument."""
    return ConfigurationError([Problem(source="arguments", key=key, wrong=wrong, right=right)])
