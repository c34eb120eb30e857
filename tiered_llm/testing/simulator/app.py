"""The Starlette application: both dialects on one port, and what clients ask beside chat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tiered_llm.clock import SYSTEM_CLOCK
from tiered_llm.testing.simulator import ollama
from tiered_llm.testing.simulator.chat import ChatEndpoint
from tiered_llm.testing.simulator.openai import OpenAI

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from tiered_llm.testing.simulator.delivery import Gate
    from tiered_llm.testing.simulator.journal import Journal
    from tiered_llm.testing.simulator.models import SimulatedModel


def build(models: Mapping[str, SimulatedModel], journal: Journal, gate: Gate) -> Starlette:
    """The application for some models."""
    info = _Information(models)
    chat = ChatEndpoint(ollama.Ollama(), models, journal, gate)
    completions = ChatEndpoint(OpenAI(), models, journal, gate)
    return Starlette(
        routes=[
            Route("/", info.root),
            Route("/health", info.health),
            Route("/api/version", info.version),
            Route("/api/tags", info.tags),
            Route("/api/show", info.show, methods=["POST"]),
            Route("/api/chat", chat, methods=["POST"]),
            Route("/v1/models", info.models),
            Route("/v1/chat/completions", completions, methods=["POST"]),
        ]
    )


class _Information:
    """The endpoints that tell about the models."""

    def __init__(self, models: Mapping[str, SimulatedModel]) -> None:
        self._models = models
        self._created = int(SYSTEM_CLOCK.now().timestamp())

    async def root(self, _request: Request) -> Response:
        return PlainTextResponse("Ollama is running")

    async def health(self, _request: Request) -> Response:
        return Response()

    async def version(self, _request: Request) -> Response:
        return JSONResponse({"version": ollama.VERSION})

    async def tags(self, _request: Request) -> Response:
        return JSONResponse(ollama.listing(list(self._models)))

    async def show(self, request: Request) -> Response:
        body: dict[str, Any] = await request.json()
        name = body.get("model") or body.get("name") or ""
        if model := self._models.get(name):
            return JSONResponse(ollama.describe(name, model.context_window))
        error = ollama.Ollama().unknown_model(name)
        return JSONResponse({"error": error.message}, status_code=error.status)

    async def models(self, _request: Request) -> Response:
        cards = [self._card(model) for model in self._models.values()]
        return JSONResponse({"object": "list", "data": cards})

    def _card(self, model: SimulatedModel) -> dict[str, Any]:
        return {
            "id": model.name,
            "object": "model",
            "created": self._created,
            "owned_by": "vllm",
            "root": model.name,
            "parent": None,
            "max_model_len": model.context_window,
        }
