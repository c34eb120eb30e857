"""Reads `expected.toml`: what each cell of the matrix is to come to."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeAlias

from fault_catalogue import DOORS, Cell, Moment

SOURCE = Path(__file__).with_name("expected.toml")

Entry: TypeAlias = "str | dict[str, str]"
_STANDS_FOR = {"streams": ("stream", "events")}


def expectations() -> dict[Cell, str]:
    """The outcome of each cell that the file speaks of."""
    found: dict[Cell, str] = {}
    for protocol, faults in tomllib.loads(SOURCE.read_text(encoding="utf-8")).items():
        for fault, moments in faults.items():
            for moment, entry in moments.items():
                for family, outcome in _by_family(entry).items():
                    cell = Cell(
                        protocol=protocol, fault=fault, moment=Moment(moment), family=family
                    )
                    if isinstance(entry, dict) or not cell.why_not:
                        found[cell] = outcome
    return found


def _by_family(entry: Entry) -> dict[str, str]:
    if isinstance(entry, str):
        return dict.fromkeys(DOORS, entry)
    return {
        family: outcome
        for name, outcome in entry.items()
        for family in _STANDS_FOR.get(name, (name,))
    }
