"""Every setting there is: its key, its variables, its default and its meaning.

One list, taken from the models' own fields, from which come the reading of sources, the
search for the nearest name, the file that `tiered-llm init` writes and the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic.fields import FieldInfo

Path = tuple[str, ...]
"""A setting's place: `("light", "base_url")`."""

PREFIX = "TIERED_LLM_"
DELIMITER = "__"
ALIASES = {"model": "model_id"}
"""Shorthands accepted in a tier's table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One setting.

    Attributes:
        path: Its place.
        field: The model's field: type, bounds, description.
        default: The value it has if no source names it.
        variables: Its names in the environment, the seed's name first.
    """

    path: Path
    field: FieldInfo
    default: Any
    variables: tuple[str, ...]

    @property
    def key(self) -> str:
        """Its spelling in TOML: `light.base_url`."""
        return ".".join(self.path)

    @property
    def kind(self) -> Any:
        """Its type, without `None`."""
        return plain_type(self.field.annotation)

    @property
    def optional(self) -> bool:
        """Whether it may be unset."""
        return type(None) in get_args(self.field.annotation)

    @property
    def is_table(self) -> bool:
        """Whether its value is a table of names."""
        return get_origin(self.kind) is dict

    @property
    def is_list(self) -> bool:
        """Whether its value is a list."""
        return get_origin(self.kind) is tuple

    @property
    def is_secret(self) -> bool:
        """Whether its value is never shown at all."""
        return self.kind is SecretStr

    @property
    def is_private(self) -> bool:
        """Whether its value stays out of messages: secrets, and what may hold one."""
        return self.is_secret or not self.field.repr


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All settings of a model.

    Attributes:
        entries: The settings by their place, in the order of their declaration.
        sections: The places that hold settings of their own.
        variables: What each environment variable names: a setting or a whole section.
    """

    entries: Mapping[Path, Entry]
    sections: Mapping[Path, type[BaseModel]]
    variables: Mapping[str, Path]

    def entry_at(self, path: Path) -> Entry | None:
        """The setting that a place belongs to: itself, or the table or list it stands in."""
        places = (path[:length] for length in range(len(path), 0, -1))
        return next((self.entries[place] for place in places if place in self.entries), None)


def plain_type(annotation: Any) -> Any:
    """A field's type with `None` taken off."""
    if get_origin(annotation) not in {Union, UnionType}:
        return annotation
    return next(kind for kind in get_args(annotation) if kind is not type(None))


def member_of(entry: Entry, steps: Path) -> tuple[Any, Sequence[Any]]:
    """The type and bounds of a setting, or of what stands within its tables and lists.

    What is within no table and no list, or under a key that nobody knows, is any object.
    """
    kind, metadata = entry.kind, entry.field.metadata
    for step in steps:
        if get_origin(kind) in {dict, tuple}:
            item = get_args(kind)[0 if get_origin(kind) is tuple else 1]
            kind, *more = get_args(item) if get_origin(item) is Annotated else (item,)
            metadata = [bound for field in more for bound in field.metadata]
        elif known := getattr(kind, "model_fields", {}).get(step):
            kind, metadata = plain_type(known.annotation), known.metadata
        else:
            kind, metadata = object, []
    return kind, metadata


@cache
def catalogue_of(model: type[BaseModel]) -> Catalogue:
    """List a settings model's keys, down to the fields of its sections."""
    entries: dict[Path, Entry] = {}
    sections: dict[Path, type[BaseModel]] = {}
    for name, field in model.model_fields.items():
        section = _section_type(field)
        default = field.get_default(call_default_factory=True)
        if section is None:
            entries[(name,)] = _entry((name,), field, default, _seed_variables(field))
            continue
        sections[(name,)] = section
        entries.update(_section_entries(name, field, section, default))
    variables = {variable: e.path for e in entries.values() for variable in e.variables}
    variables.update({variable_of(path): path for path in sections})
    return Catalogue(entries=entries, sections=sections, variables=variables)


def variable_of(path: Path) -> str:
    """A setting's own environment variable: `TIERED_LLM_LIGHT__BASE_URL`."""
    return PREFIX + DELIMITER.join(path).upper()


def _section_type(field: FieldInfo) -> type[BaseModel] | None:
    kind = plain_type(field.annotation)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _section_entries(
    name: str, field: FieldInfo, section: type[BaseModel], default: Any
) -> dict[Path, Entry]:
    found: dict[Path, Entry] = {}
    for inner, inner_field in section.model_fields.items():
        if inner == "tier":  # the section's own name says it
            continue
        seed = _seed_variables(field) if inner == "model_id" else ()
        path: Path = (name, inner)
        found[path] = _entry(path, inner_field, getattr(default, inner), seed)
    return found


def _entry(path: Path, field: FieldInfo, default: Any, seed: tuple[str, ...]) -> Entry:
    return Entry(path=path, field=field, default=default, variables=(*seed, variable_of(path)))


def _seed_variables(field: FieldInfo) -> tuple[str, ...]:
    extra = field.json_schema_extra
    return (str(extra["env"]),) if isinstance(extra, dict) and "env" in extra else ()
