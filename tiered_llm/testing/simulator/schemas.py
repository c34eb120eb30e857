"""A value that satisfies a JSON schema, guided by what the user's text mentions.

Understood: types, enum, const, required, nested objects, arrays, anyOf, oneOf, allOf, $ref,
bounds, lengths and the common string formats. Not solved: `pattern`, `uniqueItems`, `not`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_DEEP = 4
_MAX_REFERENCES = 16
_OPEN, _CLOSE = r"\"'\u2018\u201c\u00ab\u300c", r"\"'\u2019\u201d\u00bb\u300d"
_QUOTED = re.compile(f"[{_OPEN}]([^{_OPEN}{_CLOSE}]+)[{_CLOSE}]")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z]\w+(?:,? [A-Z]\w+)*")
_FORMATS = {
    "date": "2025-01-01",
    "date-time": "2025-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "nobody@example.com",
    "uri": "https://example.com/",
    "ipv4": "192.0.2.1",
}


def sample(schema: Schema, text: str = "") -> Any:
    """A value that the schema allows; the same one for the same schema and text.

    Numbers and quoted words of the text are used first, in their order, where they fit.
    """
    return _Sampler(schema, text).value(schema, "value", 0)


class _Sampler:
    """One pass over a schema; uses up what the text mentions."""

    def __init__(self, root: Schema, text: str) -> None:
        self._root = root
        self._text = text.casefold()
        self._words = [*_QUOTED.findall(text), *_NAME.findall(text)]
        self._numbers = [float(number) for number in _NUMBER.findall(text)]

    def value(self, schema: Schema, name: str, depth: int) -> Any:
        schema = self._resolve(schema, depth)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._choice(schema["enum"])
        make = {
            "object": self._object,
            "array": self._array,
            "integer": self._integer,
            "number": self._number,
            "boolean": lambda *_: True,
            "null": lambda *_: None,
        }.get(_type_of(schema), self._string)
        return make(schema, name, depth)

    def _resolve(self, schema: Schema, depth: int) -> Schema:
        """Follow references and alternatives to a schema that stands for itself.

        Deep down, null is preferred, lest a schema that contains itself never ends.
        """
        for _ in range(_MAX_REFERENCES):
            if "$ref" in schema:
                schema = {**self._lookup(schema["$ref"]), **_without(schema, "$ref")}
            elif branches := schema.get("anyOf") or schema.get("oneOf"):
                schema = {
                    **_without(schema, "anyOf", "oneOf"),
                    **_likeliest(branches, deep=depth >= _DEEP),
                }
            elif parts := schema.get("allOf"):
                whole = [self._resolve(part, depth) for part in parts]
                schema = _merged([_without(schema, "allOf"), *whole])
            else:
                break
        return schema

    def _lookup(self, reference: str) -> Schema:
        place: Any = self._root
        for key in reference.removeprefix("#").strip("/").split("/"):
            place = place.get(key, {}) if key else place
        return dict(place)

    def _choice(self, options: list[Any]) -> Any:
        named = (option for option in options if str(option).casefold() in self._text)
        return next(named, options[0])

    def _object(self, schema: Schema, _name: str, depth: int) -> dict[str, Any]:
        properties: Schema = schema.get("properties", {})
        wanted = schema.get("required", list(properties) if depth < _DEEP else [])
        return {key: self.value(properties.get(key, {}), key, depth + 1) for key in wanted}

    def _array(self, schema: Schema, name: str, depth: int) -> list[Any]:
        least = schema.get("minItems", 0 if depth >= _DEEP else 1)
        length = max(least, len(schema.get("prefixItems", ())))
        length = min(length, schema.get("maxItems", length))
        kinds = [*schema.get("prefixItems", ()), *[schema.get("items", {})] * length][:length]
        return [self.value(kind, name, depth + 1) for kind in kinds]

    def _integer(self, schema: Schema, _name: str, _depth: int) -> int:
        low, high = _bounds(schema, step=1)
        step = int(schema.get("multipleOf", 1)) or 1
        mentioned = self._take_number(low, high, step)
        return int(_nearest(low, high, step) if mentioned is None else mentioned)

    def _number(self, schema: Schema, _name: str, _depth: int) -> float:
        low, high = _bounds(schema, step=0.001)
        step = schema.get("multipleOf", 0)
        mentioned = self._take_number(low, high, step)
        return _nearest(low, high, step) if mentioned is None else mentioned

    def _take_number(self, low: float, high: float, step: float) -> float | None:
        for number in self._numbers:
            if low <= number <= high and (not step or number % step == 0):
                self._numbers.remove(number)
                return number
        return None

    def _string(self, schema: Schema, name: str, _depth: int) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        word = self._words.pop(0) if self._words else f"simulated {name}"
        least = schema.get("minLength", 0)
        return word.ljust(least, ".")[: schema.get("maxLength", max(least, len(word)))]


def _type_of(schema: Schema) -> str:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, str):
        return kind
    return next((name for name in kind if name != "null"), "null")


def _without(schema: Schema, *keys: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in keys}


def _likeliest(branches: list[Schema], *, deep: bool) -> Schema:
    """The first alternative that is not null; deep down, null if it is one of them."""
    wanted = (branch for branch in branches if (branch.get("type") == "null") is deep)
    return next(wanted, branches[0])


def _merged(parts: list[Schema]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for part in parts:
        properties = {**whole.get("properties", {}), **part.get("properties", {})}
        required = [*whole.get("required", ()), *part.get("required", ())]
        whole |= part
        whole |= {"properties": properties} if properties else {}
        whole |= {"required": list(dict.fromkeys(required))} if required else {}
    return whole


def _bounds(schema: Schema, *, step: float) -> tuple[float, float]:
    low = schema.get("minimum", -math.inf)
    high = schema.get("maximum", math.inf)
    if "exclusiveMinimum" in schema:
        low = max(low, schema["exclusiveMinimum"] + step)
    if "exclusiveMaximum" in schema:
        high = min(high, schema["exclusiveMaximum"] - step)
    return low, high


def _nearest(low: float, high: float, step: float) -> float:
    """The allowed value nearest to 1."""
    value = min(max(1.0, low), high)
    return math.ceil(value / step) * step if step and value % step else value
