"""One source's settings as leaves: a place, a value, and where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

from tiered_llm.errors import Problem
from tiered_llm.settings.catalogue import ALIASES, Catalogue, Entry, Path
from tiered_llm.tiers import Tier, TierSpec

OFF_WORDS = frozenset({"none", "off", "null"})
OFF = None
"""The model id of a tier that is switched off, the tier of a task type that is taken out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One setting as one source gives it.

    Attributes:
        path: The setting's place.
        value: Its value; may be a secret, therefore not part of the repr.
        source: A file's path, `environment`, `.env`, `arguments` or `default`.
        key: The setting in the spelling of its source.
    """

    path: Path
    value: Any = field(repr=False)
    source: str
    key: str


@dataclass(slots=True, kw_only=True)
class Layer:
    """What one source says, and what is wrong with it."""

    source: str
    leaves: dict[Path, Leaf] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def add(self, path: Path, value: Any, key: str) -> None:
        """Take a leaf; two names for one setting must say the same."""
        known = self.leaves.get(path)
        if known is not None and known.value != value:
            wrong = f"says something else than {known.key}, which is the same setting"
            self.refuse(key, wrong, "keep one of the two")
            return
        self.leaves[path] = Leaf(path=path, value=value, source=self.source, key=key)

    def refuse(self, key: str, wrong: str, right: str) -> None:
        """Note a problem with this source."""
        self.problems.append(Problem(source=self.source, key=key, wrong=wrong, right=right))


Spelling = Callable[[Path], str]


def add_mapping(
    layer: Layer, data: Mapping[str, Any], catalogue: Catalogue, spell: Spelling, at: Path = ()
) -> None:
    """Add a nested mapping's settings to a layer, unknown keys as problems.

    Args:
        layer: Where to add.
        data: The mapping, as TOML, JSON or keyword arguments give it.
        catalogue: The settings there are.
        spell: How the source spells a place.
        at: The place that the mapping describes.
    """
    for name, value in data.items():
        written = (*at, str(name))
        path = (*at, ALIASES.get(str(name), str(name))) if at else written
        if path in catalogue.sections:
            _add_section(layer, value, catalogue, spell, path)
        elif entry := catalogue.entries.get(path):
            add_value(layer, entry, value, spell(written))
        elif not (name == "tier" and at and value == at[0]):
            layer.refuse(spell(written), "unknown key", nearest(str(name), _names(catalogue, at)))


def _add_section(
    layer: Layer, value: Any, catalogue: Catalogue, spell: Spelling, path: Path
) -> None:
    if isinstance(value, Mapping):
        add_mapping(layer, value, catalogue, spell, path)
    elif isinstance(value, BaseModel):
        layer.add(path, value, spell(path))
    elif catalogue.sections[path] is TierSpec and (value in (None, False) or _is_text(value)):
        layer.add((*path, "model_id"), switched_off(value), spell(path))
    elif catalogue.sections[path] is TierSpec:
        layer.refuse(spell(path), "not a tier", "give a table, a model id, or false for no tier")
    else:
        layer.refuse(spell(path), "not a table", f"give a table, as in [{'.'.join(path)}]")


def add_value(layer: Layer, entry: Entry, value: Any, key: str) -> None:
    """Add one setting's value; a table is added name by name, so that sources complement."""
    if entry.is_table and isinstance(value, Mapping) and not entry.is_private:
        for name, item in value.items():
            layer.add((*entry.path, str(name)), switched_off(item), f"{key}.{name}")
        if value or not entry.optional:
            return
    if entry.optional or entry.path[-1] == "model_id":
        value = switched_off(value)
    layer.add(entry.path, value, key)


def switched_off(value: Any) -> Any:
    """`OFF` for `false` and the words `none`, `off` and `null`, else the value itself."""
    if value is False or (isinstance(value, str) and value.strip().lower() in OFF_WORDS):
        return OFF
    return value


def nearest(name: str, names: Iterable[str]) -> str:
    """Which name was meant, or which names there are."""
    known = sorted(names)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"


def tier_paths() -> tuple[Path, ...]:
    """The places of the tiers, light first."""
    return tuple((tier.value,) for tier in Tier)


def _names(catalogue: Catalogue, at: Path) -> set[str]:
    places = (*catalogue.entries, *catalogue.sections)
    return {path[len(at)] for path in places if path[: len(at)] == at and len(path) > len(at)}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
