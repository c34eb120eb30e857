"""Tools and structured output on real engines, which hold the model to the schema."""

from __future__ import annotations

import pytest
from engines.doors import DOORS, attempts, to
from engines.servers import LlamaServer, OllamaServer, engine_specs
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from tiered_llm import TieredChatModel
from tiered_llm.tiers import Tier


@tool
def get_weather(city: str, days: int) -> str:
    """The weather in a city."""
    return f"{city}: sunny for {days} days"


class Contact(BaseModel):
    name: str
    age: int
    married: bool


QUESTION = HumanMessage("What is the weather in Oslo?")


def loop(model, door, between=lambda: None):
    """One turn of an agent: question, tool call, tool result, answer."""
    call = DOORS[door](model, [QUESTION])
    (wanted,) = call.tool_calls
    result = get_weather.invoke(wanted)
    assert isinstance(result, ToolMessage)
    between()
    return call, DOORS[door](model, [QUESTION, call, result])


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("tier", Tier)
def test_a_turn_goes_from_question_to_tool_to_text(wired, tier, door):
    call, answer = loop(wired(tier=tier).bind_tools([get_weather]), door)
    (wanted,) = call.tool_calls
    assert wanted["name"] == "get_weather"
    assert isinstance(wanted["args"]["city"], str)
    assert isinstance(wanted["args"]["days"], int)
    assert answer.text.split()
    assert not answer.tool_calls
    assert attempts(call) == attempts(answer) == [(tier, "answered", None)]
    assert call.usage_metadata["input_tokens"] > 100  # the tools are in the prompt


@pytest.mark.parametrize("door", ["invoke", "astream"])
def test_a_turn_ends_on_another_tier_when_its_own_dies(tiny, llama, start, door):
    ollama = start(OllamaServer, tiny)
    specs = engine_specs(ollama, llama)
    model = TieredChatModel(light=specs[Tier.LIGHT], heavy=specs[Tier.HEAVY])
    call, answer = loop(model.bind_tools([get_weather]), door, between=ollama.kill)
    assert attempts(call) == [("light", "answered", None)]
    assert attempts(answer) == [("light", "failed", "unreachable"), ("heavy", "answered", None)]
    assert answer.text.split()


@pytest.mark.parametrize("door", ["invoke", "astream"])
def test_a_turn_begins_on_another_tier_when_its_own_is_dead(tiny, ollama, start, door):
    llama = start(LlamaServer, tiny)
    model = TieredChatModel(
        light=llama.spec(Tier.LIGHT), heavy=ollama.spec(Tier.HEAVY), tier=None
    ).bind_tools([get_weather])
    llama.kill()
    call, answer = loop(model, door)
    assert attempts(call) == [("light", "failed", "unreachable"), ("heavy", "answered", None)]
    assert attempts(answer) == [("heavy", "answered", None)]  # the turn is held where it began


# ChatOpenAI's own, when it dumps what the SDK parsed
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("door", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("tier", Tier)
def test_structured_output_is_in_the_schema(wired, tier, door):
    structured = wired().with_structured_output(Contact, method="json_schema", include_raw=True)
    answer = DOORS[door](structured, "Extract: Ada, 36", to(tier))
    assert answer["parsing_error"] is None
    assert isinstance(answer["parsed"], Contact)
    assert attempts(answer["raw"]) == [(tier, "answered", None)]


def test_structured_output_falls_back(tiny, llama, start):
    ollama = start(OllamaServer, tiny)
    specs = engine_specs(ollama, llama)
    model = TieredChatModel(light=specs[Tier.LIGHT], heavy=specs[Tier.HEAVY])
    structured = model.with_structured_output(Contact, method="json_schema", include_raw=True)
    ollama.kill()
    answer = structured.invoke("Extract: Ada, 36")
    assert isinstance(answer["parsed"], Contact)
    assert attempts(answer["raw"])[0] == ("light", "failed", "unreachable")
