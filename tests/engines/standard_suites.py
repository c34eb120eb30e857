"""LangChain's integration tests for chat models, on a real engine: plain, and through tiers.

Each pair of suites asks the same server: a plain ChatOllama or ChatOpenAI, and a
`TieredChatModel` that sends every call to the tier with that server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from engines.servers import MODELS
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from tiered_llm import TieredChatModel
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel

    from tiered_llm import TierSpec

SEED = 1
"""Of the engines' sampling: what passes once passes always."""


class EngineSuite(ChatModelIntegrationTests):
    """What is asked of both.

    Attributes:
        engine: The server's kind, as the table of known failures calls it.
        tiered: Whether a `TieredChatModel` answers.
        specs: The tiers, set by a fixture before each test.
    """

    engine: ClassVar[str]
    tiered: ClassVar[bool]
    tier: ClassVar[Tier]
    specs: dict[Tier, TierSpec]

    @property
    def supports_json_mode(self) -> bool:
        """Both engines hold a model to JSON."""
        return True

    @property
    def has_tool_choice(self) -> bool:
        """Ollama's protocol has no such thing."""
        return self.engine != "ollama"

    @property
    def supports_image_inputs(self) -> bool:
        """The tiny model reads text."""
        return False


class Plain(EngineSuite):
    """The client itself."""

    tiered = False

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        """ChatOllama for Ollama's protocol, ChatOpenAI for OpenAI's."""
        return ChatOllama if self.engine == "ollama" else ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        """What the tier's spec says, in the client's own words."""
        spec = self.specs[self.tier]
        given = {"model": spec.model_name, "base_url": spec.base_url, "seed": SEED}
        if self.engine == "ollama":
            return given
        fixed: dict[str, Any] = {"api_key": "x", "stream_usage": True, "max_retries": 0}
        return {**given, **fixed, **spec.model_kwargs}

    @property
    def model_override_value(self) -> str | None:
        """Another name of the same model; OpenAI's servers here answer under the first."""
        return MODELS[Tier.STANDARD] if self.engine == "ollama" else None


class Tiered(EngineSuite):
    """A model over three tiers, all calls sent to the one in question."""

    tiered = True

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        """Ours."""
        return TieredChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        """All tiers, and the one to insist on."""
        tiers = {tier.value: spec for tier, spec in self.specs.items()}
        seeded = {"seed": SEED}
        for tier, spec in self.specs.items():
            more = {"model_kwargs": {**spec.model_kwargs, **seeded}}
            tiers[tier.value] = spec.model_copy(update=more)
        return {"tier": self.tier, **tiers}
