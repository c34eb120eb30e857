"""Tiers behind the real vLLM: answers, tools, schemas, and its own words when it refuses."""

from __future__ import annotations

import pytest
from engines.doors import DOORS, attempts, to
from engines.servers import LlamaServer
from engines.vllm_server import CONTEXT_TOKENS
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from tiered_llm import AllTiersFailedError, TieredChatModel
from tiered_llm.tiers import Tier

TEMPLATE_TOKENS = 19
"""What the chat template adds to a lone message; each of its characters is one token more."""


@tool
def get_weather(city: str, days: int) -> str:
    """The weather in a city."""
    return f"{city}: sunny for {days} days"


class Contact(BaseModel):
    name: str
    age: int


QUESTION = HumanMessage("What is the weather in Oslo?")


@pytest.fixture
def model(vllm, ollama):
    """Light is Ollama's protocol, heavy is vLLM."""
    return TieredChatModel(light=ollama.spec(Tier.LIGHT), heavy=vllm.spec(Tier.HEAVY))


@pytest.mark.parametrize("door", DOORS)
def test_vllm_answers_with_its_usage_and_its_routing(model, door):
    answer = DOORS[door](model, "Hello there", to("heavy"))
    assert answer.text.split()
    assert answer.usage_metadata["input_tokens"] == len("Hello there") + TEMPLATE_TOKENS
    assert answer.usage_metadata["output_tokens"] > len(answer.text.split())
    assert answer.response_metadata["routing"]["model_id"] == "vllm/heavy-model"
    assert attempts(answer) == [("heavy", "answered", None)]


@pytest.mark.parametrize("door", DOORS)
def test_a_turn_goes_from_question_to_tool_to_text(model, door):
    # vLLM holds the arguments to the tool's schema where `strict` asks for it
    bound = model.bind_tools([get_weather], strict=True)
    call = DOORS[door](bound, [QUESTION], to("heavy"))
    (wanted,) = call.tool_calls
    assert wanted["name"] == "get_weather"
    assert isinstance(wanted["args"]["city"], str)
    assert isinstance(wanted["args"]["days"], int)
    answer = DOORS[door](bound, [QUESTION, call, get_weather.invoke(wanted)], to("heavy"))
    assert answer.text.split()
    assert not answer.tool_calls


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # ChatOpenAI's own
@pytest.mark.parametrize("door", ["invoke", "ainvoke", "stream", "astream"])
def test_structured_output_is_in_the_schema(model, door):
    structured = model.with_structured_output(Contact, method="json_schema", include_raw=True)
    answer = DOORS[door](structured, "Extract: Ada, 36", to("heavy"))
    assert isinstance(answer["parsed"], Contact)
    assert attempts(answer["raw"]) == [("heavy", "answered", None)]


LONG = "word " * 1800
"""9,000 tokens to the tiny model, which reads characters; some 2,300 by the estimate."""


@pytest.fixture(scope="module")
def larger(tiny):
    """llama.cpp with twice vLLM's window."""
    with LlamaServer(tiny, context_tokens=2 * CONTEXT_TOKENS) as server:
        yield server


@pytest.mark.parametrize("door", DOORS)
def test_a_prompt_that_overflows_is_asked_of_a_larger_window(vllm, larger, door):
    model = TieredChatModel(light=vllm.spec(Tier.LIGHT), heavy=larger.spec(Tier.HEAVY))
    answer = DOORS[door](model, LONG)
    assert attempts(answer) == [("light", "failed", "overflow"), ("heavy", "answered", None)]
    assert answer.usage_metadata["input_tokens"] > CONTEXT_TOKENS


def test_an_overflow_keeps_vllms_words(vllm):
    with pytest.raises(AllTiersFailedError) as caught:
        TieredChatModel(light=vllm.spec(Tier.LIGHT)).invoke(LONG)
    assert "maximum context length is 8192 tokens" in str(caught.value.attempts[0].__cause__)


@pytest.mark.parametrize("door", DOORS)
def test_an_unknown_model_is_a_fault_of_configuration(vllm, llama, door):
    wrong = vllm.spec(Tier.LIGHT, model_id="vllm/no-such-model")
    answer = DOORS[door](TieredChatModel(light=wrong, heavy=llama.spec(Tier.HEAVY)), "Hello")
    assert attempts(answer) == [("light", "failed", "configuration"), ("heavy", "answered", None)]
