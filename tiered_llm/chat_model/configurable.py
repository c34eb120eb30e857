"""A model with configurable fields that stays configurable when it is bound.

langchain-core binds the default model instead: a `temperature` given in a call's config is
lost as soon as tools are bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import Runnable, RunnableBinding  # get_type_hints
from langchain_core.runnables.configurable import RunnableConfigurableFields

from tiered_llm.chat_model.structured import StructuredTieredModel


class ConfigurableTieredModel(RunnableConfigurableFields):  # type: ignore[type-arg]  # with them, pydantic would build the abstract base
    """What `TieredChatModel.configurable_fields` returns."""

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, Any]:
        """Bind tools, as `TieredChatModel.bind_tools` does."""
        binding: Any = self._model.bind_tools(tools, **kwargs)
        return RunnableBinding(bound=self, kwargs=binding.kwargs)

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[Any, Any]:
        """Structure the answers, as `TieredChatModel.with_structured_output` does."""
        structured: Any = self._model.with_structured_output(schema, **kwargs)
        return StructuredTieredModel(self, structured.shape)

    @property
    def _model(self) -> Any:
        return self.default
