"""LangChain's own suites for chat models, on a `TieredChatModel` over wire-level servers.

Twice: with the light tier answering, which speaks Ollama's protocol, and with the heavy one,
which speaks vLLM's.
"""

from __future__ import annotations

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from tiered_llm import TieredChatModel
from tiered_llm.tiers import Tier

pytestmark = [
    # what a plain ChatOpenAI says too: of a pydantic 1 schema, and when its parsed message,
    # whose type says that `parsed` is None, goes through a callback handler
    pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
]


class _Suite:
    first: Tier

    @pytest.fixture(autouse=True)
    def _wired(self, simulated_tiers):
        self._specs = simulated_tiers.specs

    @property
    def chat_model_class(self):
        return TieredChatModel

    @property
    def chat_model_params(self):
        return {"tier": self.first, **{tier.value: spec for tier, spec in self._specs.items()}}

    @property
    def standard_chat_model_params(self):
        # timeout, max_retries and api_key belong to each tier's spec and are refused here
        return {"temperature": 0, "max_tokens": 100, "stop": []}

    @property
    def supports_json_mode(self):
        return True

    @property
    def supports_image_inputs(self):
        return False


class _Light(_Suite):
    first = Tier.LIGHT

    @property
    def has_tool_choice(self):
        return False  # Ollama's protocol has no such thing


class _Heavy(_Suite):
    first = Tier.HEAVY


class TestLightFirstUnit(_Light, ChatModelUnitTests):
    pass


class TestHeavyFirstUnit(_Heavy, ChatModelUnitTests):
    pass


class TestLightFirst(_Light, ChatModelIntegrationTests):
    pass


class TestHeavyFirst(_Heavy, ChatModelIntegrationTests):
    pass
