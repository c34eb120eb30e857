"""Structured output: the same pipeline, each tier structuring in its own way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.runnables import Runnable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import RunnableConfig

    from tiered_llm.chat_model.model import TieredChatModel
    from tiered_llm.fallback import Structured


class StructuredTieredModel(Runnable[Any, Any]):
    """What `TieredChatModel.with_structured_output` returns."""

    def __init__(self, model: TieredChatModel, shape: Structured) -> None:
        """Bind a shape to a model."""
        self.model, self.shape = model, shape

    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """The parsed answer."""
        prepared = self.model.prepare(input, config, kwargs, shape=self.shape)
        return self.model.stages.invoke(*prepared)

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """The parsed answer."""
        prepared = self.model.prepare(input, config, kwargs, shape=self.shape)
        return await self.model.stages.ainvoke(*prepared)

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """The parsed answer as it grows."""
        prepared = self.model.prepare(input, config, kwargs, shape=self.shape)
        return self.model.stages.stream(*prepared)

    def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """The parsed answer as it grows."""
        prepared = self.model.prepare(input, config, kwargs, shape=self.shape)
        return self.model.stages.astream(*prepared)
