"""Models that pay from the books: our own, and foreign ones with the handler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accounting.calls import TENANT, Call
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI

from tiered_llm import TieredChatModel, TierSpec, get_settings
from tiered_llm.budgets import BudgetCallbackHandler

if TYPE_CHECKING:
    from accounting.calls import Books
    from langchain_core.language_models import BaseChatModel

    from tiered_llm.settings import Settings
    from tiered_llm.testing import Simulator

NAME = "qwen2.5:7b"
TIRELESS = {"wait_s": 0.0, "retry_share": 1.0, "retry_reserve": 1_000}
"""Faults by the hundred, and still every attempt is made."""


def settings(max_attempts: int) -> Settings:
    """So that a call has as many attempts as that, whatever became of the calls before it."""
    given = {**TIRELESS, "max_attempts": max_attempts}
    return get_settings(breaker={"enabled": False}, fallback=given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Payer:
    """How a model on one server pays."""

    dialect: str
    books: Books
    server: Simulator

    def model(self, **fields: Any) -> BaseChatModel:
        raise NotImplementedError

    def config(self, number: int) -> dict[str, Any]:
        raise NotImplementedError

    def calls(self, model: BaseChatModel, numbers: range) -> list[Call]:
        return [
            Call(number=number, model=model, config=self.config(number), server=self.server)
            for number in numbers
        ]


class Tiered(Payer):
    """`TieredChatModel(budget=…)`."""

    def model(self, timeout_s: float = 60.0, max_attempts: int = 1, **fields: Any) -> BaseChatModel:
        spec = TierSpec(
            tier="light",
            model_id=f"{self.dialect}/{NAME}",
            base_url=self.server.openai_url if self.dialect == "vllm" else self.server.url,
            timeout_s=timeout_s,
        )
        watched = {"metrics": self.books.collector, "telemetry": self.books.traced.telemetry}
        held = {"settings": settings(max_attempts), "budget": self.books.manager}
        given = {**held, **watched, **fields}
        return TieredChatModel(light=spec, **given)

    def config(self, number: int) -> dict[str, Any]:
        who = {"tenant_id": TENANT, "user_id": str(number)}
        return {"configurable": who, "metadata": who}


class Handled(Payer):
    """A plain ChatOllama or ChatOpenAI, as users have it, and `BudgetCallbackHandler`."""

    def model(self, timeout_s: float = 60.0, **fields: Any) -> BaseChatModel:
        if self.dialect == "ollama":
            client = {"timeout": timeout_s}
            return ChatOllama(model=NAME, base_url=self.server.url, client_kwargs=client, **fields)
        given = {"timeout": timeout_s, "max_retries": 0, "stream_chunk_timeout": None, **fields}
        return ChatOpenAI(model=NAME, base_url=self.server.openai_url, api_key="none", **given)

    def config(self, number: int) -> dict[str, Any]:
        handler = BudgetCallbackHandler(self.books.manager, TENANT, user_id=str(number))
        return {"callbacks": [handler]}
