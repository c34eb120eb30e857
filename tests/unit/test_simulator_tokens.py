from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiered_llm.testing.simulator import Message, Tool, tokens
from tiered_llm.testing.simulator.models import CallMade, ChatRequest


@given(st.text())
def test_pieces_joined_are_the_text(text):
    assert "".join(tokens.split(text)) == text


@given(st.text())
def test_no_piece_is_empty_and_all_are_counted(text):
    assert all(tokens.split(text))
    assert tokens.count(text) == len(tokens.split(text))


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Hello, world", ("Hello", ",", " world")),
        ("tokenizer", ("tokeni", "zer")),
        ("a  b\n", ("a", " ", " b", "\n")),
        ("你好", ("你", "好")),
        ("", ()),
    ],
)
def test_pieces(text, pieces):
    assert tokens.split(text) == pieces


def test_a_message_costs_its_frame_text_calls_and_images():
    call = CallMade(name="f", arguments='{"a": 1}')
    message = Message(role="assistant", text="Hello", tool_calls=(call,), images=1)
    assert tokens.count_message(message) == 4 + 1 + (1 + tokens.count('{"a": 1}')) + 256


def test_input_tokens_are_those_of_messages_and_tools():
    messages = (Message(role="system", text="Be short."), Message(role="user", text="Hi"))
    plain = ChatRequest(protocol="openai", model="m", messages=messages)
    tool = Tool(name="f", description="Does f.", parameters={"type": "object"})
    offered = ChatRequest(protocol="openai", model="m", messages=messages, tools=(tool,))
    assert plain.input_tokens == (4 + 3) + (4 + 1)
    assert offered.input_tokens == plain.input_tokens + tokens.count_tools([tool])
    assert tokens.count_tools([tool]) > 0
