"""Telemetry's own errors: logged once for each kind, by their class alone."""

from __future__ import annotations

import logging
from typing import Final

_log = logging.getLogger("tiered_llm.telemetry")

MOST_KINDS: Final = 100
"""Kinds of errors that are logged; programs may make up any number."""

_TOLD: set[str] = set()


def tell(trouble: Exception) -> None:
    """Warn of a kind of error when it is first seen; its text may quote what must not be logged."""
    kind = type(trouble).__name__
    if kind not in _TOLD and len(_TOLD) < MOST_KINDS:
        _TOLD.add(kind)
        _log.warning("telemetry failed (%s); calls go on without", kind)


def forget() -> None:
    """Warn anew of every kind. For tests."""
    _TOLD.clear()
