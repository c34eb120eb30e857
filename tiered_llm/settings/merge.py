"""Layers, weakest first, into one: for each setting the strongest source that names it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from tiered_llm.settings.layers import OFF, Layer, Leaf, tier_paths
from tiered_llm.settings.sections import (
    DEFAULT_SPECS,
    DEFAULT_TASK_TIERS,
    DEFAULT_WEIGHTS,
    PROVIDER_URLS,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiered_llm.settings.catalogue import Path

DEFAULT = "default"
_DEFAULT_TABLES: dict[Path, Mapping[str, Any]] = {
    ("routing", "task_tiers"): DEFAULT_TASK_TIERS,
    ("complexity", "weights"): DEFAULT_WEIGHTS,
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a setting stands: its source, and its spelling there."""

    source: str
    key: str


@dataclass(frozen=True, slots=True)
class Places:
    """Where each setting came from; no part of what makes two settings equal."""

    by_path: Mapping[Path, Place] = field(default_factory=dict, compare=False, repr=False)

    def of(self, path: Path) -> Place:
        """The place of a setting; of one given within a whole, its place in that whole."""
        for length in range(len(path), 0, -1):
            if place := self.by_path.get(path[:length]):
                return Place(place.source, ".".join((place.key, *path[length:])))
        return self._of_section(path)

    def _of_section(self, path: Path) -> Place:
        """The place of a section: where somebody set something in it, if anybody did."""
        inside = [place for known, place in self.by_path.items() if covers(path, known)]
        given = (place for place in inside if place.source != DEFAULT)
        place = next(given, Place(DEFAULT, ""))
        return Place(place.source, ".".join(path))


def merge(layers: list[Layer]) -> dict[Path, Leaf]:
    """The strongest leaf for each place, defaults of the tiers and tables included."""
    leaves = {leaf.path: leaf for leaf in _default_leaves()}
    for layer in layers:
        for path, leaf in layer.leaves.items():
            for other in [known for known in leaves if covers(path, known)]:
                del leaves[other]
            leaves[path] = leaf
    for path in tier_paths():
        _complete_tier(leaves, path)
    return leaves


def places_of(leaves: Mapping[Path, Leaf]) -> Places:
    """Where each leaf stands, without its value."""
    return Places({path: Place(leaf.source, leaf.key) for path, leaf in leaves.items()})


def nested(leaves: Mapping[Path, Leaf]) -> dict[str, Any]:
    """The leaves as nested mappings; tiers and task types that are off are left out."""
    data: dict[str, Any] = {}
    for path, leaf in leaves.items():
        if path[:-1] in _DEFAULT_TABLES and leaf.value is OFF:
            continue
        *outer, name = path
        inside = data
        for step in outer:
            inside = inside.setdefault(step, {})
        inside[name] = leaf.value
    for (name,) in tier_paths():
        data[name] = _tier_data(name, data.get(name))
    return data


def covers(path: Path, other: Path) -> bool:
    """Whether one place is the other, within it, or around it."""
    length = min(len(path), len(other))
    return path[:length] == other[:length]


def _default_leaves() -> list[Leaf]:
    of_tiers = [
        _default((tier.value, name), getattr(spec, name))
        for tier, spec in DEFAULT_SPECS.items()
        for name in spec.model_fields_set - {"tier", "base_url", "gpu_memory_gb"}
    ]
    of_tables = [
        _default((*path, name), value)
        for path, table in _DEFAULT_TABLES.items()
        for name, value in table.items()
    ]
    return of_tiers + of_tables


def _default(path: Path, value: Any) -> Leaf:
    return Leaf(path=path, value=value, source=DEFAULT, key=".".join(path))


def _complete_tier(leaves: dict[Path, Leaf], at: Path) -> None:
    """Add the defaults that hold only where the model is run by its user: address, GPU memory."""
    model_id = leaves.get((*at, "model_id"))
    provider = str(model_id.value).partition("/")[0] if model_id else ""
    if provider not in PROVIDER_URLS:
        return
    memory = next(spec.gpu_memory_gb for t, spec in DEFAULT_SPECS.items() if t.value == at[0])
    for name, value in (("base_url", PROVIDER_URLS[provider]), ("gpu_memory_gb", memory)):
        leaves.setdefault((*at, name), _default((*at, name), value))


def _tier_data(name: str, data: Any) -> Any:
    if data is None or isinstance(data, BaseModel):
        return data
    return None if data["model_id"] is OFF else {**data, "tier": name}
