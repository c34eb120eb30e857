from __future__ import annotations

import enum
from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter

from tiered_llm.testing.simulator.schemas import sample


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    name: str = Field(min_length=30)
    kind: Literal["part"]
    weight: float = Field(gt=2, lt=3)
    count: int = Field(ge=10, multiple_of=7)


class Everything(BaseModel):
    title: str = Field(max_length=5)
    colour: Colour
    part: Part
    parts: Annotated[list[Part], Field(min_length=2, max_length=3)]
    pair: tuple[int, str]
    maybe: str | None
    nothing: None
    either: int | str
    yes: bool
    day: date
    moment: datetime
    uid: UUID
    free: dict[str, int]
    small: int = Field(le=-4)
    optional: int = 3


class Node(BaseModel):
    value: int
    left: Node | None
    others: list[Node]


def test_a_sample_satisfies_a_schema_with_nearly_everything():
    value = sample(Everything.model_json_schema())
    assert Everything.model_validate(value)
    assert "optional" not in value


def test_a_schema_that_contains_itself_ends():
    assert Node.model_validate(sample(Node.model_json_schema()))


def test_the_same_schema_and_text_give_the_same_value():
    schema, text = Everything.model_json_schema(), "a 'red' one, 14 of them"
    assert sample(schema, text) == sample(schema, text)


@given(low=st.integers(-1000, 1000), width=st.integers(0, 100))
def test_integers_stay_within_their_bounds(low, width):
    value = sample({"type": "integer", "minimum": low, "maximum": low + width}, "5 and -7")
    assert low <= value <= low + width


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "integer"}, "add 3 and 4", 3),
        ({"type": "integer", "minimum": 4}, "add 3 and 4", 4),
        ({"type": "number"}, "give 2.5", 2.5),
        ({"type": "number", "multipleOf": 2}, "give 3", 2.0),
        ({"type": "string"}, "named 'Ada'", "Ada"),
        ({"type": "string"}, "weather in San Francisco, please", "San Francisco"),
        ({"type": "string"}, "", "simulated value"),
        ({"type": "string", "maxLength": 3}, "", "sim"),
        ({"enum": ["red", "blue"]}, "the blue one", "blue"),
        ({"enum": ["red", "blue"]}, "any", "red"),
        ({"type": ["null", "boolean"]}, "", True),
        ({"type": ["null"]}, "", None),
        ({"const": 7}, "", 7),
        ({}, "", "simulated value"),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 0}, "", []),
        ({"oneOf": [{"type": "null"}, {"type": "integer"}]}, "", 1),
        ({"properties": {"a": {"type": "null"}}}, "", {"a": None}),
        ({"$ref": "#"}, "", "simulated value"),
    ],
)
def test_values(schema, text, value):
    assert sample(schema, text) == value


def test_all_of_is_merged():
    parts = [
        {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
        {"properties": {"b": {"type": "boolean"}}, "required": ["b"]},
        {"description": "no properties"},
    ]
    assert sample({"allOf": parts}) == {"a": 1, "b": True}


def test_numbers_of_the_text_are_used_once_each_in_their_order():
    schema = {"properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
    assert sample(schema, "what is 3 + 4") == {"a": 3, "b": 4}


def test_formats_are_valid():
    formats = {"type": "string", "format": "date-time"}
    assert TypeAdapter(datetime).validate_python(sample(formats))
    assert sample({"type": "string", "format": "unheard-of"}) == "simulated value"
