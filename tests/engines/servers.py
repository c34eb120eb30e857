"""The two kinds of server over llama.cpp, and the tiers that they stand for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
from engines.processes import ServerProcess

from tiered_llm import TierSpec
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from pathlib import Path

ENDLESS_TOKENS = 1e9
"""Mean length of an answer that no test will see the end of."""

MODELS = {Tier.LIGHT: "light-model", Tier.STANDARD: "standard-model", Tier.HEAVY: "heavy-model"}

CLOSE = {"default_headers": {"Connection": "close"}}
"""For ChatOpenAI: no client closes the sockets that it keeps alive, and Python warns of each."""


class EngineServer(ServerProcess):
    """A server over llama.cpp, which tells what its engine is doing."""

    module: ClassVar[str]
    provider: ClassVar[str]
    path: ClassVar[str] = ""
    more: ClassVar[dict[str, Any]] = {}

    def __init__(self, model: Path, *, context_tokens: int = 8192) -> None:
        """Start it with a GGUF file, under the names of all tiers.

        Args:
            model: The GGUF file.
            context_tokens: Window of a request, in tokens.
        """
        self._context_tokens = context_tokens
        given = ["--names", ",".join(MODELS.values()), "--context", str(context_tokens)]
        super().__init__([sys.executable, "-m", self.module, str(model), *given])

    def spec(self, tier: Tier, **more: Any) -> TierSpec:
        """This server as a tier."""
        return TierSpec(
            **{
                "tier": tier,
                "model_id": f"{self.provider}/{MODELS[tier]}",
                "base_url": self.url + self.path,
                "context_window": self._context_tokens,
                "model_kwargs": self.more,
                **more,
            }
        )

    def busy(self) -> bool:
        """Whether the engine is generating for anybody."""
        slots = httpx.get(f"{self.addresses[-1]}/slots").json()
        return any(slot["is_processing"] for slot in slots)

    def generated_tokens(self) -> int:
        """Tokens generated so far, in all requests that are over."""
        lines = httpx.get(f"{self.addresses[-1]}/metrics").text.splitlines()
        (count,) = (line for line in lines if line.startswith("llamacpp:tokens_predicted_total "))
        return int(count.split()[1])


class OllamaServer(EngineServer):
    """Ollama's protocol in front of llama.cpp."""

    module = "engines.ollama_server"
    provider = "ollama"


class LlamaServer(EngineServer):
    """llama.cpp's own server, spoken to as vLLM is."""

    module = "engines.llama_server"
    provider = "vllm"
    path = "/v1"
    more: ClassVar[dict[str, Any]] = CLOSE


def engine_specs(ollama: OllamaServer, llama: LlamaServer) -> dict[Tier, TierSpec]:
    """The three tiers over two servers."""
    return {
        Tier.LIGHT: ollama.spec(Tier.LIGHT),
        Tier.STANDARD: ollama.spec(Tier.STANDARD),
        Tier.HEAVY: llama.spec(Tier.HEAVY),
    }
