"""What a model cannot do is not asked of it, rather than skipped in every run."""

from __future__ import annotations

from conformance.selection import deselect_what_is_beyond


def pytest_collection_modifyitems(config, items):
    deselect_what_is_beyond(config, items)
