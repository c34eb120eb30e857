"""Runnables around a chat model: `.bind(…)`, `.with_config(…)`, `.with_retry(…)`.

What a model understands, and what may be set on it, is the innermost model's own; what is
done with it is done inside its wrappers, which are put around the result again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.runnables import RunnableBinding
from langchain_core.runnables.base import RunnableBindingBase

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable


def core_of(model: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """The innermost runnable: a chat model, or whatever is no wrapper."""
    while isinstance(model, RunnableBindingBase):
        model = model.bound
    return model


def rewrapped(model: Runnable[Any, Any], core: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """The same wrappers around another core."""
    if not isinstance(model, RunnableBindingBase):
        return core
    return model.model_copy(update={"bound": rewrapped(model.bound, core)})


def generator_of(model: Runnable[Any, Any]) -> tuple[BaseChatModel, dict[str, Any]] | None:
    """The chat model whose `generate` does what a runnable's `invoke` would, and its arguments.

    `None` where there is none: a retry would be lost, and other runnables have no `generate`.
    """
    bound: dict[str, Any] = {}
    while isinstance(model, RunnableBinding):
        bound = {**model.kwargs, **bound}
        model = model.bound
    return (model, bound) if isinstance(model, BaseChatModel) else None
