"""Writes docs/reference/fault-matrix.md from what the tests expect of each cell."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

from fault_catalogue import CELLS, DOORS, FAULTS, PROTOCOLS, REASONS, Cell, Moment
from fault_expected import expectations

PAGE = Path(__file__).parents[2] / "docs/reference/fault-matrix.md"

_FRAME = Path(__file__).with_name("page.md")

_COLUMNS = {
    Moment.BEFORE: "before the first chunk",
    Moment.ROLE: "after the role chunk",
    Moment.CONTENT: "after content",
    Moment.TOOL: "in a tool call",
}
_NO_CELL = "\N{EN DASH}"
_MARKS = dict(zip(REASONS, "¹²³⁴⁵⁶", strict=True))


def page() -> str:
    """The whole page."""
    expected = expectations()
    return Template(_FRAME.read_text(encoding="utf-8")).substitute(
        runs=sum(len(DOORS[cell.family]) for cell in CELLS),
        no_cell=_NO_CELL,
        tables="\n".join(_table(protocol, expected) for protocol in PROTOCOLS),
        reasons="\n".join(f"- {_MARKS[name]} {reason}" for name, reason in REASONS.items()),
    )


def _table(protocol: str, expected: dict[Cell, str]) -> str:
    lines = [
        f"## {PROTOCOLS[protocol]}\n",
        f"| fault | {' | '.join(_COLUMNS.values())} |",
        "|---" * (1 + len(_COLUMNS)) + "|",
    ]
    for fault in FAULTS:
        cells = (_cell(protocol, fault, moment, expected) for moment in _COLUMNS)
        lines.append(f"| {fault} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(protocol: str, fault: str, moment: Moment, expected: dict[Cell, str]) -> str:
    """One outcome, or one for each of the families that differ."""
    families: dict[str, list[str]] = {}
    for family in DOORS:
        cell = Cell(protocol=protocol, fault=fault, moment=moment, family=family)
        text = _NO_CELL + _MARKS[cell.why_not] if cell.why_not else _marked(expected[cell])
        families.setdefault(text, []).append(f"`{family}`")
    if len(families) == 1:
        return next(iter(families))
    return "<br>".join(f"{', '.join(names)}: {text}" for text, names in families.items())


def _marked(outcome: str) -> str:
    """An outcome with its classes and faults in code."""
    return re.sub(r"\w+Error|(?<=\()\w+(?=\))", lambda name: f"`{name[0]}`", outcome)
