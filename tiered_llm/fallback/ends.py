"""Whether an answer came to its end, seen between a model and the parser behind it.

JSON parsers mend what is cut: without this, half an answer would be a whole one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.runnables import Runnable, RunnableParallel, RunnableSequence

from tiered_llm.fallback.faults import CutShortError
from tiered_llm.fallback.signing import ends

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.runnables import RunnableConfig


class EndCheck(Runnable[Any, Any]):
    """Hands messages on, and fails where the last one does not say that it is the last."""

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """The message itself.

        Raises:
            CutShortError: It was cut.
        """
        del config, kwargs
        if not ends(input):
            raise CutShortError
        return input

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As `invoke`."""
        return self.invoke(input, config, **kwargs)

    def transform(
        self, input: Iterator[Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """The chunks themselves; raises after the last one as `invoke` does."""
        del config, kwargs
        ended = False
        for chunk in input:
            ended = ended or ends(chunk)
            yield chunk
        if not ended:
            raise CutShortError

    async def atransform(
        self, input: AsyncIterator[Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """As `transform`."""
        del config, kwargs
        ended = False
        async for chunk in input:
            ended = ended or ends(chunk)
            yield chunk
        if not ended:
            raise CutShortError


def with_end_check(structured: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """What `with_structured_output` of a model returned, with the check behind the model."""
    if not isinstance(structured, RunnableSequence):
        return structured
    model, *parsers = structured.steps
    if isinstance(model, RunnableParallel):  # with `include_raw`
        raw = model.steps__["raw"]
        return RunnableSequence(RunnableParallel(raw=raw | EndCheck()), *parsers)
    return RunnableSequence(model, EndCheck(), *parsers)
