from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tiered_llm.testing import Answer, ChatRequest, ToolCallAnswer
from tiered_llm.testing.simulator import Message, Tool
from tiered_llm.testing.simulator.answers import generate
from tiered_llm.testing.simulator.models import CallMade
from tiered_llm.testing.simulator.patterns import pattern_answer

WEATHER = Tool(
    name="get_weather",
    description="Get the weather at a location.",
    parameters={"properties": {"location": {"type": "string"}}, "required": ["location"]},
)
REPORT = Tool(name="WeatherReport", description="The final answer.")


def ask(text, **changes):
    request = ChatRequest(protocol="openai", model="m", messages=(Message(role="user", text=text),))
    return replace(request, **changes)


def after_result(request, result, called="get_weather"):
    made = Message(role="assistant", tool_calls=(CallMade(name=called, arguments="{}"),))
    return replace(request, messages=(*request.messages, made, Message(role="tool", text=result)))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Summarise this report", "summary"),
        ("Translate this", "translation"),
        ("Classify the intent", "classification"),
        ("Analyse the security of this", "analysis"),
        ("Hello", "greeting"),
        ("Blue or green?", "answer"),
    ],
)
def test_the_text_names_the_kind_of_task(text, kind):
    assert pattern_answer(ask(text)).text.startswith(f"This is a simulated {kind};")


def test_the_text_grows_with_the_difficulty_and_never_repeats_the_prompt():
    easy, hard = pattern_answer(ask("Hello")), pattern_answer(ask("Design a bank " + "ably " * 99))
    assert len(easy.text) < len(hard.text) < 2000
    assert "ably" not in hard.text


def test_the_same_request_gets_the_same_answer():
    assert pattern_answer(ask("Why?")) == pattern_answer(ask("Why?"))


@pytest.mark.parametrize("text", ["What is the weather in Paris?", "Use the tool."])
def test_a_tool_that_the_words_name_is_called(text):
    (call,) = pattern_answer(ask(text, tools=(WEATHER,))).calls
    assert call.name == "get_weather"
    assert set(call.args) == {"location"}


def test_no_tool_is_called_where_no_word_names_one():
    assert not pattern_answer(ask("Hello", tools=(WEATHER,))).calls


def test_the_closest_of_several_tools_is_called():
    tools = (Tool(name="send_mail", description="Send a mail."), WEATHER)
    (call,) = pattern_answer(ask("weather in Rome", tools=tools)).calls
    assert call.name == "get_weather"


def test_a_named_tool_is_called_whatever_the_words():
    (call,) = pattern_answer(ask("Hi", tools=(REPORT, WEATHER), forced_tool="get_weather")).calls
    assert call.name == "get_weather"


def test_a_required_call_goes_to_a_tool_not_yet_called_so_that_agents_end():
    request = ask("weather?", tools=(WEATHER, REPORT), tool_choice="required")
    (first,) = pattern_answer(request).calls
    (second,) = pattern_answer(after_result(request, "sunny")).calls
    (third,) = pattern_answer(after_result(after_result(request, "sunny"), "", REPORT.name)).calls
    assert (first.name, second.name, third.name) == ("get_weather", "WeatherReport", "get_weather")


def test_a_tools_result_is_quoted_shortly():
    request = after_result(ask("weather?", tools=(WEATHER,)), "It is\n sunny. " * 20)
    text = pattern_answer(request).text
    assert text.startswith("The tool answered: It is sunny.")
    assert text.endswith("…")
    assert len(text) < 110


def test_json_where_json_is_asked_for():
    schema = {"properties": {"setup": {"type": "string"}}}
    assert set(json.loads(pattern_answer(ask("", json_schema=schema)).text)) == {"setup"}
    named = ask("JSON with 'setup' and 'punchline' keys", json_mode=True)
    assert set(json.loads(pattern_answer(named).text)) == {"setup", "punchline"}
    assert json.loads(pattern_answer(ask("", json_mode=True)).text) == {
        "answer": "simulated answer"
    }


def test_an_empty_conversation_is_answered():
    assert pattern_answer(ChatRequest(protocol="ollama", model="m")).text


def make(answer, room=100, **changes):
    return generate(answer, ask("", **changes), input_tokens=5, room=room)


def test_an_answer_ends_before_the_first_stop_text():
    made = make(Answer(text="one two three"), stop=("three", " two", ""))
    assert (made.text, made.finish_reason, made.stop_text) == ("one", "stop", " two")


def test_an_answer_is_cut_to_the_room_there_is():
    made = make(Answer(text="one two three"), room=2)
    assert (made.text, made.finish_reason, made.output_tokens) == ("one two", "length", 2)


def test_a_call_costs_one_token_and_its_arguments():
    made = make(Answer(text="Well.", tool_calls=[{"name": "f", "args": {"a": 1}}]))
    assert made.finish_reason == "tool_calls"
    assert made.calls[0].arguments == '{"a": 1}'
    assert made.output_tokens == 2 + 1 + len(made.calls[0].pieces)


def test_calls_are_cut_to_the_room_there_is():
    calls = [ToolCallAnswer(name=name, args={"a": 1}, id=name) for name in "fgh"]
    whole = make(Answer(tool_calls=calls))
    made = make(Answer(tool_calls=calls), room=whole.output_tokens // 3 + 2)
    assert [call.id for call in made.calls] == ["f", "g"]
    assert made.finish_reason == "length"
    assert made.output_tokens == whole.output_tokens // 3 + 2


def test_broken_arguments_are_kept_as_they_stand():
    call = ToolCallAnswer.parse({"name": "f", "args": '{"a": '})
    assert (call.arguments, call.id) == ('{"a": ', None)
