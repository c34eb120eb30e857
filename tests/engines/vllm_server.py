"""vLLM's own server on a CPU, from an environment of its own."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.processes import ServerProcess
from engines.servers import CLOSE, MODELS

from tiered_llm import TierSpec

if TYPE_CHECKING:
    from tiered_llm.tiers import Tier

ENVIRONMENT = Path(__file__).parents[2] / ".venv-vllm"
"""What `make test-vllm` makes."""

CONTEXT_TOKENS = 8192

_OPTIONS = (
    *("--host", "127.0.0.1", "--dtype", "float32", "--max-model-len", str(CONTEXT_TOKENS)),
    *("--enforce-eager", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
    *("--served-model-name", *MODELS.values()),
)

_PATIENCE_S = 300.0


class VllmServer(ServerProcess):
    """vLLM with a model, under the names of all tiers."""

    def __init__(self, model: Path, folder: Path) -> None:
        """Start it; it takes some 30 seconds.

        Args:
            model: Folder of the model.
            folder: Where it may leave what it needs while it runs.
        """
        self._place = _reserved_port()
        port = self._place.getsockname()[1]
        self._address = f"http://127.0.0.1:{port}/v1"
        variables = {
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
            "VLLM_CACHE_ROOT": str(ENVIRONMENT / "cache"),
            "TMPDIR": str(folder),
        }
        command = [str(ENVIRONMENT / "bin" / "vllm"), "serve", str(model), "--port", str(port)]
        super().__init__([*command, *_OPTIONS], variables=variables, patience_s=_PATIENCE_S)

    def read_addresses(self, line: str) -> list[str]:
        """Its address, once its web server has started."""
        return [self._address] if "Application startup complete" in line else []

    def stop(self) -> None:
        """Stop it with its engine and its workers, and give its port back."""
        super().stop()
        self._place.close()

    def spec(self, tier: Tier, **more: Any) -> TierSpec:
        """This server as a tier."""
        return TierSpec(
            **{
                "tier": tier,
                "model_id": f"vllm/{MODELS[tier]}",
                "base_url": self.url,
                "context_window": CONTEXT_TOKENS,
                "model_kwargs": CLOSE,
                **more,
            }
        )


def _reserved_port() -> socket.socket:
    """A socket that holds a free port and does not listen; vLLM takes it by SO_REUSEADDR.

    vLLM does not tell which port it took where it is to choose one.
    """
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind(("127.0.0.1", 0))
    return place
