"""Tiers and what is known of the model behind each.

A tier is a class of model by price and strength. A `TierSpec` names the model that
serves a tier and states what routing, accounting and fallback must know of it.
"""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_serializer,
    field_validator,
)


class Tier(StrEnum):
    """Light, standard or heavy, ordered by strength: `Tier.LIGHT < Tier.HEAVY`.

    Attributes:
        rank: Place in the order: 0 light, 1 standard, 2 heavy.
    """

    rank: int

    def __new__(cls, value: str) -> Self:
        """Number the tiers in the order of their definition."""
        tier = str.__new__(cls, value)
        tier._value_ = value
        tier.rank = len(cls.__members__)
        return tier

    LIGHT = "light"
    STANDARD = "standard"
    HEAVY = "heavy"

    def __lt__(self, other: object) -> bool:
        """Order by strength, not by spelling; a tier's name counts as the tier."""
        return self.rank < _rank(other)

    def __le__(self, other: object) -> bool:
        """Order by strength, not by spelling; a tier's name counts as the tier."""
        return self.rank <= _rank(other)

    def __gt__(self, other: object) -> bool:
        """Order by strength, not by spelling; a tier's name counts as the tier."""
        return self.rank > _rank(other)

    def __ge__(self, other: object) -> bool:
        """Order by strength, not by spelling; a tier's name counts as the tier."""
        return self.rank >= _rank(other)


def _rank(tier: object) -> int:
    return (tier if isinstance(tier, Tier) else Tier(str(tier))).rank


@cache
def fallback_order(selected: Tier, candidates: tuple[Tier, ...]) -> tuple[Tier, ...]:
    """Stronger tiers first, nearest one first; then the weaker ones, nearest first."""
    above = sorted(tier for tier in candidates if tier > selected)
    below = sorted((tier for tier in candidates if tier < selected), reverse=True)
    return (*above, *below)


class Ability(StrEnum):
    """What a request may need of a model beyond answering text."""

    TOOLS = "tools"
    VISION = "vision"
    STRUCTURED_OUTPUT = "structured_output"
    JSON_MODE = "json_mode"


MASK = "**********"
"""What stands for a secret, as pydantic writes it."""


def _has_account(url: str) -> bool:
    return "@" in url.partition("://")[2].partition("?")[0]


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        named = parts.scheme in {"http", "https"} and bool(parts.hostname)
        return named and parts.port != 0 and not any(map(str.isspace, url))
    except ValueError:  # its message may quote the URL
        return False


_MODEL_ID = re.compile(r"[A-Za-z0-9_.-]+/\S+")


UNKNOWN_WINDOW = 2**31 - 1
"""The window assumed of a ready model that does not state one: nothing is barred for it."""


class TierSpec(BaseModel):
    """The model that serves one tier. Frozen; unknown fields are refused.

    ```python
    TierSpec(tier="heavy", model_id="vllm/qwen2.5:72b", base_url="http://gpu1:8000/v1")
    ```
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    tier: Tier
    model_id: str = Field(description="Provider and model in LiteLLM's form, `ollama/qwen2.5:7b`.")
    base_url: str | None = Field(None, description="Endpoint; the provider's own default if unset.")
    api_key: SecretStr | None = Field(None, description="Key for the endpoint, never shown.")
    context_window: int = Field(
        32_768, gt=0, description="Tokens that input and output share in the model."
    )
    num_ctx: int | None = Field(
        None, gt=0, description="Ollama's window in tokens; `context_window` if unset."
    )
    max_output_tokens: int | None = Field(
        None, gt=0, description="Longest answer in tokens; the model's own limit if unset."
    )
    tools: bool = Field(default=True, description="Can call tools.")
    vision: bool = Field(default=False, description="Can read images.")
    structured_output: bool = Field(default=True, description="Can answer in a given JSON schema.")
    json_mode: bool = Field(default=True, description="Can be held to valid JSON.")
    cost_weight: Decimal = Field(
        Decimal(1), gt=0, description="Cost units for one token; light is 1 by convention."
    )
    input_usd_per_million: Decimal | None = Field(
        None, ge=0, description="Price of a million input tokens, in US dollars."
    )
    output_usd_per_million: Decimal | None = Field(
        None, ge=0, description="Price of a million output tokens, in US dollars."
    )
    gpu_memory_gb: float = Field(0.0, ge=0, description="GPU memory the model occupies, in GB.")
    timeout_s: float = Field(120.0, gt=0, description="Longest wait for one answer, in seconds.")
    max_concurrency: int | None = Field(
        None, gt=0, description="Most calls at once from one process; no bound if unset."
    )
    model_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        repr=False,
        description="Extra arguments of the LangChain model class.",
    )

    @field_validator("model_id")
    @classmethod
    def _check_model_id(cls, value: str) -> str:
        if not _MODEL_ID.fullmatch(value):
            msg = f"{value!r} is not a model id: write provider/model, as in 'ollama/qwen2.5:7b'"
            raise ValueError(msg)
        return value

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if _has_account(value):
            msg = "holds a user name or password: give the secret as api_key, which is never shown"
            raise ValueError(msg)
        if not _is_url(value):
            msg = "not a URL: write scheme and host, as in 'http://localhost:11434'"
            raise ValueError(msg)
        return value

    @field_serializer("model_kwargs")
    def _mask_model_kwargs(self, value: dict[str, Any]) -> dict[str, str]:
        """Names alone: the values may hold a header with a secret."""
        return dict.fromkeys(value, MASK)

    @property
    def provider(self) -> str:
        """The part of the id before the first slash: `ollama`, `vllm`, `openai`."""
        return self.model_id.partition("/")[0]

    @property
    def model_name(self) -> str:
        """The part of the id after the first slash: what the endpoint calls the model."""
        return self.model_id.partition("/")[2]

    @property
    def window_tokens(self) -> int:
        """Tokens a call may really use: Ollama truncates to `num_ctx` without a word."""
        return min(self.context_window, self.num_ctx or self.context_window)

    def may_take_more_than(self, other: TierSpec) -> bool:
        """Whether this window is larger than another; of unknown ones, the stronger tier's is."""
        if UNKNOWN_WINDOW in {self.window_tokens, other.window_tokens}:
            return self.tier > other.tier
        return self.window_tokens > other.window_tokens

    def able(self, ability: Ability) -> bool:
        """Whether the tier has an ability."""
        return bool(getattr(self, ability.value))

    def __hash__(self) -> int:
        """Hash on what tells endpoints apart; equality still compares every field."""
        return hash((self.tier, self.model_id, self.base_url))
