"""What a model of several tiers says of itself: profile, name, parameters, token counts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import BaseMessage
from pydantic import Field

from tiered_llm.complexity import read_conversation
from tiered_llm.fallback import BoundTools
from tiered_llm.providers import PARAMETER_NAMES, common_profile
from tiered_llm.tokens import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models.model_profile import ModelProfile

    from tiered_llm.pipeline import Pipeline


class SelfDescribing(BaseChatModel):
    """A chat model over a pipeline: the parameters it has in common with every tier.

    What it says of itself holds for all of them.
    """

    temperature: float | None = Field(default=None, ge=0)
    """Sampling temperature for every tier."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Longest answer in tokens, for every tier."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Nucleus sampling for every tier."""
    seed: int | None = None
    """Seed of the sampler for every tier."""
    stop: list[str] | None = None
    """Stop sequences where a call gives none."""
    streaming: bool | None = None
    """Whether the tiers' models stream inside `invoke` too, where they have that choice."""

    @property
    @abstractmethod
    def stages(self) -> Pipeline:
        """The pipeline behind the model."""

    def _resolve_model_profile(self) -> ModelProfile | None:
        """What all tiers can do, and the least of their limits."""
        return common_profile(end.spec for end in self.stages.endpoints.values())

    @property
    def _llm_type(self) -> str:
        return "tiered-llm"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        tiers = {t.value: e.spec.model_id for t, e in self.stages.endpoints.items()}
        given = {name: getattr(self, name) for name in PARAMETER_NAMES}
        return {"tiers": tiers, **{n: v for n, v in given.items() if v is not None}}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = LangSmithParams(
            ls_provider="tiered_llm",
            ls_model_name=kwargs.get("model", "tiered"),
            ls_model_type="chat",
        )
        stop = stop or self.stop
        if stop:
            params["ls_stop"] = stop
        if (temperature := kwargs.get("temperature", self.temperature)) is not None:
            params["ls_temperature"] = temperature
        if (max_tokens := kwargs.get("max_tokens", self.max_tokens)) is not None:
            params["ls_max_tokens"] = max_tokens
        return params

    def get_token_ids(self, text: str) -> list[int]:
        """Ids by `custom_get_token_ids`, else one for each byte: never fewer than tokens."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        return list(text.encode())

    def get_num_tokens(self, text: str) -> int:
        """Tokens of a text: by `custom_get_token_ids`, else estimated; no network is used."""
        if self.custom_get_token_ids is not None:
            return len(self.custom_get_token_ids(text))
        return estimate_tokens(text)

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Tokens of messages and tools: by `custom_get_token_ids`, else estimated."""
        tool_tokens = BoundTools(tools).tokens if tools else 0
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens_from_messages(messages) + tool_tokens
        return read_conversation(messages).input_tokens + tool_tokens
