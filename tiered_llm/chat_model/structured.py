"""Structured output: the same pipeline, each tier structuring in its own way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.runnables import Runnable
from langchain_core.runnables.configurable import DynamicRunnable

from tiered_llm.chat_model.preparing import prepare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import RunnableConfig

    from tiered_llm.chat_model.model import TieredChatModel
    from tiered_llm.chat_model.preparing import Prepared
    from tiered_llm.fallback import Structured
    from tiered_llm.pipeline import Pipeline


class StructuredTieredModel(Runnable[Any, Any]):
    """What `TieredChatModel.with_structured_output` returns."""

    def __init__(
        self, model: TieredChatModel | DynamicRunnable[Any, Any], shape: Structured
    ) -> None:
        """Bind a shape to a model, or to one whose fields a call's config sets."""
        self.model, self.shape = model, shape

    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """The parsed answer."""
        stages, prepared = self._prepare(input, config, kwargs)
        return stages.invoke(*prepared)

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """The parsed answer."""
        stages, prepared = self._prepare(input, config, kwargs)
        return await stages.ainvoke(*prepared)

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """The parsed answer as it grows."""
        stages, prepared = self._prepare(input, config, kwargs)
        return stages.stream(*prepared)

    def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """The parsed answer as it grows."""
        stages, prepared = self._prepare(input, config, kwargs)
        return stages.astream(*prepared)

    def _prepare(
        self, input: LanguageModelInput, config: RunnableConfig | None, arguments: dict[str, Any]
    ) -> tuple[Pipeline, Prepared]:
        model: Any = self.model
        if isinstance(model, DynamicRunnable):
            model, config = model.prepare(config)
        stop = arguments.pop("stop", None)
        prepared = prepare(model, input, config, arguments, stop=stop, shape=self.shape)
        return model.stages, prepared
