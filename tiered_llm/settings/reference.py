"""The settings on paper: the file that `tiered-llm init` writes, the tables of the reference."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

from tiered_llm.settings.catalogue import PREFIX, Catalogue, Entry, catalogue_of
from tiered_llm.settings.model import Settings
from tiered_llm.settings.sources import RESERVED_VARIABLES
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_HEAD = f"""\
# Settings of tiered_llm. Every line that begins with # and a key holds a default: take off
# the # and change the value. Stronger than this file are, in this order: arguments, the
# environment, .env. `tiered-llm doctor --settings` shows where each value comes from.
#
# Every key has a variable: light.base_url is {PREFIX}LIGHT__BASE_URL.
# "none" leaves a setting unset; `standard = false` before the first table switches a tier off.
"""


def toml_template() -> str:
    """A TOML file with every setting, its default and its meaning; read as it is, it says nothing.

    The defaults stand in comments, so that a file written today does not hold on to them.
    """
    known = catalogue_of(Settings)
    lines = [_HEAD]
    # in TOML a key after a table's head belongs to that table: the tableless ones go first
    entries = sorted(known.entries.values(), key=lambda entry: len(entry.path) > 1)
    for section, group in groupby(entries, key=lambda entry: entry.path[:-1]):
        if section:
            meaning = Settings.model_fields[section[0]].description
            lines.append(f"\n[{'.'.join(section)}]  # {meaning}")
        lines.extend(_section_lines(list(group)))
    return "\n".join(lines) + "\n"


def _section_lines(entries: list[Entry]) -> Iterable[str]:
    tables = [entry for entry in entries if entry.is_table and entry.default]
    for entry in entries:
        if entry not in tables:
            yield f"\n{_meaning(entry)}\n#{entry.path[-1]} = {toml_value(entry.default)}"
    for entry in tables:
        yield f"\n[{entry.key}]  {_meaning(entry)}"
        yield from (f"#{name} = {toml_value(value)}" for name, value in entry.default.items())


def _meaning(entry: Entry) -> str:
    seed = entry.variables[0] if len(entry.variables) > 1 else None
    return f"# {entry.field.description}" + (f" Also {seed}." if seed else "")


def toml_value(value: Any) -> str:
    """A value as TOML spells it; unset as the word `none`."""
    if value is None:
        return '"none"'
    if isinstance(value, str):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, (bool, tuple, dict)):
        return json.dumps(value)
    return str(value)


def reference_tables() -> str:
    """The tables of `docs/reference/settings.md`: key, variables, default, meaning."""
    known = catalogue_of(Settings)
    parts = ["## General", _table(_general(known))]
    parts += ["## Tiers: `[light]`, `[standard]`, `[heavy]`", _table(_of_tiers(known))]
    sections = dict.fromkeys(path[0] for path in known.sections)
    for name in (name for name in sections if name not in set(Tier)):
        entries = [entry for entry in known.entries.values() if entry.path[0] == name]
        parts += [f"## Table `[{name}]`", _table(map(_row, entries))]
    parts += ["## Variables that are no settings", _reserved(RESERVED_VARIABLES)]
    return "\n\n".join(parts) + "\n"


_Row = tuple[str, str, str, str]


def _general(known: Catalogue) -> Iterable[_Row]:
    return [_row(entry) for entry in known.entries.values() if len(entry.path) == 1]


def _of_tiers(known: Catalogue) -> Iterable[_Row]:
    """One row for the three tiers' field, with three defaults where they differ."""
    for entry in known.entries.values():
        if entry.path[0] != Tier.LIGHT.value:
            continue
        name = entry.path[1]
        same = [known.entries[tier.value, name] for tier in Tier]
        defaults = list(dict.fromkeys(_default(each) for each in same))
        variables = f"`{PREFIX}<TIER>__{name.upper()}`"
        if name == "model_id":
            variables = f"`MODEL_LIGHT`, `MODEL_STANDARD`, `MODEL_HEAVY`, {variables}"
        meaning = entry.field.description or ""
        yield f"`<tier>.{name}`", variables, ", ".join(defaults), meaning


def _row(entry: Entry) -> _Row:
    variables = ", ".join(f"`{name}`" for name in entry.variables)
    return f"`{entry.key}`", variables, _default(entry), entry.field.description or ""


def _default(entry: Entry) -> str:
    if entry.default is None:
        return "unset"
    if entry.is_table and entry.default:
        items = (f"`{name}` {value}" for name, value in entry.default.items())
        return ", ".join(items)
    return f"`{toml_value(entry.default)}`"


def _table(rows: Iterable[_Row]) -> str:
    head = ["| key | variable | default | meaning |", "|---|---|---|---|"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)])


def _reserved(variables: Mapping[str, str]) -> str:
    head = ["| variable | meaning |", "|---|---|"]
    return "\n".join([*head, *(f"| `{name}` | {text} |" for name, text in variables.items())])
