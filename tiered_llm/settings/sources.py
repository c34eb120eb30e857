"""The four places that settings come from, each read once."""

from __future__ import annotations

import json
import os
import re
import tomllib
from enum import Enum
from io import StringIO
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Final

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from tiered_llm.settings.catalogue import PREFIX, Catalogue, Entry, Path
from tiered_llm.settings.layers import Layer, add_mapping, add_value, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG_VARIABLE = "TIERED_LLM_CONFIG"
RESERVED_VARIABLES = {
    CONFIG_VARIABLE: "The TOML file to read; a name that is given must exist.",
    "TIERED_LLM_DEBUG": "`1` makes the commands show the traceback of an error.",
}
"""Variables with our prefix that are no settings."""

FILE_NAME = "tiered-llm.toml"
PROJECT_FILE = "pyproject.toml"
TABLE = ("tool", "tiered-llm")


class Auto(Enum):
    """Look for the file in its usual place; none there is no error."""

    AUTO = "auto"


AUTO: Final = Auto.AUTO
FileChoice = str | FilePath | Auto | None
"""A file that must exist, `AUTO` for the usual place, `None` for no file."""


def read_layers(
    arguments: Mapping[str, Any], env_file: FileChoice, config_file: FileChoice, known: Catalogue
) -> list[Layer]:
    """Read every source once, the weakest first: TOML, `.env`, environment, arguments."""
    dotenv, values = _read_dotenv(env_file, known)
    if config_file is AUTO:
        config_file = os.environ.get(CONFIG_VARIABLE) or values.get(CONFIG_VARIABLE) or AUTO
    environment = Layer(source="environment")
    _add_variables(environment, os.environ, known)
    given = Layer(source="arguments")
    add_mapping(given, arguments, known, ".".join)
    return [_read_toml(config_file, known), dotenv, environment, given]


def _add_variables(layer: Layer, variables: Mapping[str, str | None], known: Catalogue) -> None:
    for written, text in variables.items():
        name = written.upper()
        path = known.variables.get(name)
        if path is not None and text is not None and text.strip():
            _add_text(layer, written, path, text.strip(), known)
        elif path is None and name.startswith(PREFIX) and name not in RESERVED_VARIABLES:
            names = {*known.variables, *RESERVED_VARIABLES}
            layer.refuse(written, "unknown variable", nearest(name, names))


def _add_text(layer: Layer, name: str, path: Path, text: str, known: Catalogue) -> None:
    entry = known.entries.get(path)
    if entry is None:
        value = _from_json(layer, name, text) if text.startswith("{") else text
        if value is not None:
            _add_whole_section(layer, name, path, value, known)
    elif entry.is_list and not text.startswith("["):
        add_value(layer, entry, [word.strip() for word in text.split(",")], name)
    elif (entry.is_table and not _says_unset(entry, text)) or entry.is_list:
        value = _from_json(layer, name, text)
        if value is not None:
            add_value(layer, entry, value, name)
    else:
        add_value(layer, entry, text, name)


def _says_unset(entry: Entry, text: str) -> bool:
    return entry.optional and text.lower() == "none"


def _add_whole_section(layer: Layer, name: str, path: Path, value: Any, known: Catalogue) -> None:
    def spell(_: Path) -> str:
        return name

    add_mapping(layer, {path[0]: value}, known, spell)


def _from_json(layer: Layer, name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        wrong = f"not JSON: {error.msg} at character {error.pos + 1}"
        layer.refuse(name, wrong, """write JSON, as in '{"name": "value"}'""")
        return None


def _read_dotenv(choice: FileChoice, known: Catalogue) -> tuple[Layer, Mapping[str, str | None]]:
    path = FilePath(".env") if isinstance(choice, Auto) else choice
    layer = Layer(source=str(path))
    text = _read_text(layer, path, must_exist=choice is not AUTO)
    broken = [binding for binding in parse_stream(StringIO(text)) if binding.error]
    for binding in broken:
        layer.refuse(f"line {binding.original.line}", "not an assignment", "write NAME=value")
    values = {} if broken else dotenv_values(stream=StringIO(text))
    _add_variables(layer, values, known)
    return layer, values


def _read_toml(choice: FileChoice, known: Catalogue) -> Layer:
    path = _discover() if isinstance(choice, Auto) else choice
    layer = Layer(source=str(path))
    text = _read_text(layer, path, must_exist=choice is not AUTO)
    data = _parse_toml(layer, text)
    prefix: Path = ()
    if path is not None and FilePath(path).name == PROJECT_FILE:
        prefix = TABLE
        section = _our_table(data)
        if section is None and not layer.problems:
            layer.refuse("tool.tiered-llm", "no such table", f"add it, or name a {FILE_NAME}")
        data = section or {}
    add_mapping(layer, data, known, lambda place: ".".join((*prefix, *place)))
    return layer


def _read_text(layer: Layer, path: str | FilePath | None, *, must_exist: bool) -> str:
    if path is None:
        return ""
    try:
        return FilePath(path).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        if must_exist:
            layer.refuse("the file", "does not exist", "name a file that does, or none")
    except UnicodeDecodeError as error:
        layer.refuse("the file", f"not UTF-8 at byte {error.start}", "save it as UTF-8")
    except OSError as error:
        layer.refuse("the file", f"cannot be read: {error.strerror}", "make it readable")
    return ""


_AT = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)")


def _parse_toml(layer: Layer, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = _AT.search(message)
        line = place.group(1) if place and place.group(1) else str(text.count("\n") + 1)
        wrong = f"malformed TOML: {_AT.sub('', message)}"
        layer.refuse(f"line {line}", wrong, 'write TOML, as in key = "value"')
        return {}


def _discover() -> FilePath | None:
    """The nearest configuration between the current directory and the project's root.

    The root is the nearest directory with a `.git` or a `pyproject.toml`; outside of a
    project only the current directory counts, so that no stranger's file is picked up.
    """
    here = FilePath.cwd()
    for directory in _up_to_root(here):
        for name in (FILE_NAME, PROJECT_FILE):
            path = directory / name
            if path.is_file() and (name == FILE_NAME or _has_table(path)):
                return FilePath(os.path.relpath(path, here))
    return None


def _up_to_root(here: FilePath) -> list[FilePath]:
    walked = []
    for directory in (here, *here.parents):
        walked.append(directory)
        if (directory / ".git").exists() or (directory / PROJECT_FILE).is_file():
            return walked
    return [here]


def _has_table(path: FilePath) -> bool:
    """Whether a project file has our table; one that cannot be read is some other tool's care."""
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return _our_table(project) is not None


def _our_table(project: Mapping[str, Any]) -> dict[str, Any] | None:
    tools = project.get(TABLE[0])
    table = tools.get(TABLE[1]) if isinstance(tools, dict) else None
    return table if isinstance(table, dict) else None
