"""LangChain's integration tests on llama.cpp and Ollama's protocol, plain and through tiers."""

from __future__ import annotations

import pytest
from engines.known_failures import DIFFERENCES, missing_from_ours
from engines.standard_suites import Plain, Tiered

from tiered_llm.tiers import Tier

pytestmark = [
    # ChatOpenAI's own: pydantic 1 schemas, and dumping what the SDK parsed
    pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
]


class _Wired:
    @pytest.fixture(autouse=True)
    def _wired(self, specs):
        self.specs = specs


class _Ollama(_Wired):
    engine, tier = "ollama", Tier.LIGHT


class _Llama(_Wired):
    engine, tier = "llama.cpp", Tier.HEAVY


class TestPlainOllama(_Ollama, Plain):
    pass


class TestTieredOllama(_Ollama, Tiered):
    pass


class TestPlainLlama(_Llama, Plain):
    pass


class TestTieredLlama(_Llama, Tiered):
    pass


@pytest.mark.parametrize(
    ("plain", "tiered", "different"),
    [
        (TestPlainOllama, TestTieredOllama, set(DIFFERENCES)),
        (TestPlainLlama, TestTieredLlama, set()),
    ],
)
def test_ours_is_asked_all_that_the_plain_client_passes(plain, tiered, different):
    assert missing_from_ours(plain, tiered) == different
