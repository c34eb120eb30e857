"""Who pays for a model: asked by a middleware that puts another one in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables.config import ensure_config

from tiered_llm.budgets import BudgetCallbackHandler
from tiered_llm.chat_model import TieredChatModel, read_context

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel

    from tiered_llm.budgets import BudgetManager


class _Payer(BudgetCallbackHandler):
    """A budget's handler that tells whose it is."""

    def __init__(self, budget: BudgetManager, *args: Any, **kwargs: Any) -> None:
        super().__init__(budget, *args, **kwargs)
        self.budget = budget


def with_handler(model: BaseChatModel, budget: BudgetManager) -> BaseChatModel:
    """A copy of a foreign model whose every run is paid; the budget's handler hears of it first."""
    who = read_context(ensure_config(), {})  # of the agent's run
    agent = who.agent_spec.name if who.agent_spec else ""
    handler = _Payer(budget, who.tenant_id, user_id=who.user_id, agent=agent or None)
    return model.model_copy(update={"callbacks": [handler, *_handlers(model)]})


def budget_of(model: BaseChatModel) -> BudgetManager | None:
    """The budget that a model was given: its own, or that of a `TieredBudgetMiddleware`."""
    if isinstance(model, TieredChatModel):
        return model.budget
    return next((each.budget for each in _handlers(model) if isinstance(each, _Payer)), None)


def _handlers(model: BaseChatModel) -> list[Any]:
    given: Any = model.callbacks
    return list(given.handlers if isinstance(given, BaseCallbackManager) else given or [])
