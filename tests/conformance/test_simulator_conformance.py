"""LangChain's own suite for chat models, run by the plain clients against the simulator.

What a real Ollama and a real vLLM pass, the simulator must pass, or tests written
against it would prove nothing.
"""

from __future__ import annotations

import pytest
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from tiered_llm.testing import SimulatedModel, Simulator

MODEL = "qwen2.5:7b"


@pytest.fixture(scope="module")
def sim():
    with Simulator([SimulatedModel(name=MODEL), SimulatedModel(name="other")]) as simulator:
        yield simulator


class _AgainstSimulator(ChatModelIntegrationTests):
    @pytest.fixture(autouse=True)
    def _address(self, sim):
        self._sim = sim

    @property
    def supports_json_mode(self):
        return True

    @property
    def supports_image_inputs(self):
        return False

    @property
    def model_override_value(self):
        return "other"


class TestPlainChatOllama(_AgainstSimulator):
    @property
    def chat_model_class(self):
        return ChatOllama

    @property
    def chat_model_params(self):
        return {"model": MODEL, "base_url": self._sim.url}

    @property
    def has_tool_choice(self):
        return False


@pytest.mark.filterwarnings(
    # ChatOpenAI's own: pydantic v1 models, and dumping what the SDK parsed
    "ignore:Received a Pydantic BaseModel V1 schema:UserWarning",
    "ignore:Pydantic serializer warnings:UserWarning",
)
class TestPlainChatOpenAI(_AgainstSimulator):
    @property
    def chat_model_class(self):
        return ChatOpenAI

    @property
    def chat_model_params(self):
        return {
            "model": MODEL,
            "base_url": self._sim.openai_url,
            "api_key": "x",
            "stream_usage": True,
            "max_retries": 0,
        }
