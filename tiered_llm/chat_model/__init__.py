"""LangChain's face: the chat model that takes the place of an application's own."""

from tiered_llm.chat_model.context import CallContext, read_context
from tiered_llm.chat_model.model import TieredChatModel
from tiered_llm.chat_model.structured import StructuredTieredModel

__all__ = ["CallContext", "StructuredTieredModel", "TieredChatModel", "read_context"]
