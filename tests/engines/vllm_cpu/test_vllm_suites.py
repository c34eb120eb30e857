"""LangChain's integration tests on the real vLLM, plain and through tiers."""

from __future__ import annotations

import pytest
from engines.known_failures import missing_from_ours
from engines.standard_suites import Plain, Tiered

from tiered_llm.tiers import Tier

pytestmark = [
    # ChatOpenAI's own: pydantic 1 schemas, and dumping what the SDK parsed
    pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
]


class _Vllm:
    engine, tier = "vllm", Tier.HEAVY

    @pytest.fixture(autouse=True)
    def _wired(self, vllm, ollama):
        self.specs = {Tier.LIGHT: ollama.spec(Tier.LIGHT), Tier.HEAVY: vllm.spec(Tier.HEAVY)}


class TestPlainVllm(_Vllm, Plain):
    pass


class TestTieredVllm(_Vllm, Tiered):
    pass


def test_ours_is_asked_all_that_the_plain_client_passes():
    assert missing_from_ours(TestPlainVllm, TestTieredVllm) == set()
