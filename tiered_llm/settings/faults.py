"""Pydantic's errors and our findings as problems: where, what, and what would be right."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel

from tiered_llm.errors import Problem
from tiered_llm.settings.catalogue import member_of
from tiered_llm.settings.layers import nearest
from tiered_llm.settings.masking import shown
from tiered_llm.settings.merge import DEFAULT, Place, Places, covers
from tiered_llm.settings.sections import DEFAULT_SPECS
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from tiered_llm.settings.catalogue import Catalogue, Entry, Path
    from tiered_llm.settings.checks import Finding
    from tiered_llm.settings.layers import Leaf


def problems_of_values(error: ValidationError, known: Catalogue, places: Places) -> list[Problem]:
    """One problem for each value that pydantic refused."""
    details = error.errors(include_url=False, include_context=False)
    return [_problem_of_value(detail, known, places) for detail in details]


def refused_paths(error: ValidationError) -> list[Path]:
    """The places that pydantic refused."""
    return [_path(detail) for detail in error.errors(include_url=False, include_input=False)]


def without(leaves: Mapping[Path, Leaf], refused: Iterable[Path]) -> dict[Path, Leaf]:
    """The leaves that were not refused; a tier keeps a model id, so that the rest is checked."""
    gone = tuple(refused)
    kept = {p: leaf for p, leaf in leaves.items() if not any(covers(p, bad) for bad in gone)}
    for tier, spec in DEFAULT_SPECS.items():
        path = (tier.value, "model_id")
        if path in gone:
            kept[path] = replace(leaves[path], value=spec.model_id)
    return kept


def problems_of_findings(
    findings: Iterable[Finding], refused: Iterable[Path], known: Catalogue, places: Places
) -> list[Problem]:
    """One problem for each finding that is not just the echo of a refused value."""
    gone = tuple(refused)
    return [
        _problem_of_finding(finding, known, places)
        for finding in findings
        if not any(covers(path, bad) for path in finding.paths for bad in gone)
    ]


_WORDS: dict[Any, str] = {
    bool: "true or false",
    Tier: ", ".join(tier.value for tier in Tier),
    dict: "a table of names and values, in variables as JSON",
    tuple: "a list",
}


def expected(entry: Entry, path: Path | None = None) -> str:
    """What a setting, or an item of one, takes in a few words: `write a number above 0`."""
    kind, metadata = member_of(entry, path[len(entry.path) :] if path else ())
    if kind in {int, float, Decimal}:
        number = "a whole number" if kind is int else "a number"
        return f"write {number}{_bounds(metadata)}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"write a table of {', '.join(kind.model_fields)}"
    if get_origin(kind) is Literal:
        return f"write {', '.join(get_args(kind))}"
    return f"write {_WORDS.get(get_origin(kind) or kind, 'text')}"


def _bounds(metadata: Iterable[Any]) -> str:
    words = ", ".join(word for bound in metadata if (word := _bound(bound)))
    return f" {words}" if words else ""


def _bound(bound: Any) -> str:
    if isinstance(bound, Gt):
        return f"above {bound.gt}"
    if isinstance(bound, Ge):
        return f"from {bound.ge} up"
    return f"{bound.le} at most" if isinstance(bound, Le) else ""


def _problem_of_value(detail: ErrorDetails, known: Catalogue, places: Places) -> Problem:
    path = _path(detail)
    entry = known.entry_at(path)
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error" and ": " in message:
        wrong, _, right = message.rpartition(": ")
    elif detail["type"] == "value_error" and path[-1] == "base_url":
        # urllib's own message, which may quote a password
        wrong, right = "not a URL", "write scheme and host, as in 'http://localhost:11434'"
    else:
        wrong, right = message, expected(entry, path) if entry else "see the reference of settings"
    wrong = (wrong[:1].lower() + wrong[1:]).removeprefix("input ")
    if entry and detail["type"] == "extra_forbidden":
        table, _ = member_of(entry, path[len(entry.path) : -1])
        wrong, right = "unknown key", nearest(path[-1], table.model_fields)
    elif detail["type"] == "missing":
        wrong = "is missing"
    elif entry and not entry.is_private and detail["type"] != "value_error":
        wrong = f"{shown(entry, detail['input'])!r} {wrong}"
    place = _place(path, known, places)
    return Problem(source=place.source, key=place.key, wrong=wrong, right=right)


def _problem_of_finding(finding: Finding, known: Catalogue, places: Places) -> Problem:
    """Blame the first setting that somebody gave; defaults are never at fault alone."""
    candidates = [_place(path, known, places) for path in finding.paths]
    place = next((p for p in candidates if p.source != DEFAULT), candidates[0])
    return Problem(source=place.source, key=place.key, wrong=finding.wrong, right=finding.right)


def _place(path: Path, known: Catalogue, places: Places) -> Place:
    """Where a setting stands; of a private table not the name within, which may be a tenant's."""
    entry = known.entry_at(path)
    return places.of(entry.path if entry and entry.is_private else path)


def _path(detail: ErrorDetails) -> Path:
    return tuple(str(step) for step in detail["loc"])
