"""An in-process chat model for tests: says what it is told to, and counts what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import Field

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.callbacks import (
        AsyncCallbackManagerForLLMRun,
        CallbackManagerForLLMRun,
    )
    from langchain_core.messages import BaseMessage


class FakeChatModel(BaseChatModel):
    """Answers `text`, a word a chunk, and bills 7 tokens in and one out for each word.

    ```python
    TieredChatModel(light=FakeChatModel(text="light"), heavy=FakeChatModel(text="heavy"))
    ```
    """

    text: str = "hello there"
    """The answer."""
    error: BaseException | None = Field(default=None, exclude=True)
    """Raised in place of an answer."""
    error_after: int = 0
    """Words streamed before the error."""
    calls: list[Any] = Field(default_factory=list, exclude=True)
    """One entry for each request: its messages and its arguments."""

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        self.calls.append((messages, {"stop": stop, **kwargs}))
        if self.error is not None:
            raise self.error
        message = AIMessage(content=self.text, usage_metadata=self._usage())
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages, stop, **kwargs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        self.calls.append((messages, {"stop": stop, **kwargs}))
        words = self.text.split(" ")
        for n, word in enumerate(words):
            if self.error is not None and n >= self.error_after:
                raise self.error
            text = word if n == 0 else f" {word}"
            usage = self._usage() if n == len(words) - 1 else None
            yield ChatGenerationChunk(message=AIMessageChunk(content=text, usage_metadata=usage))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages, stop, **kwargs):
            yield chunk

    def _usage(self) -> UsageMetadata:
        words = len(self.text.split(" "))
        return UsageMetadata(input_tokens=7, output_tokens=words, total_tokens=7 + words)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind the tools as they are given."""
        return self.bind(tools=list(tools), tool_choice=tool_choice, **kwargs)
