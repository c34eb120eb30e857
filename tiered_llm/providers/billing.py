"""What a model run cost, as far as the provider said, and whether it can have cost anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.messages import AIMessage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import LLMResult
    from langchain_core.runnables import RunnableConfig

_NOT_CONNECTED = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol"})
"""Classes of httpx and httpx2, by name, of requests that never left."""

_REFUSALS = range(400, 500)

MOST_TOKENS = 10**9
"""More than any request uses: what a server says beyond this is no usage."""


def links(error: BaseException, handled: BaseException | None = None) -> Iterator[BaseException]:
    """An error, then what led to it, nearest first, up to what its caller was handling."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and link is not handled and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def was_refused(error: BaseException, handled: BaseException | None = None) -> bool:
    """Whether a request was certainly not worked on: it never left, or was refused with a 4xx."""
    for link in links(error, handled):
        status = getattr(link, "status_code", None)
        if isinstance(status, int) and status in _REFUSALS:
            return True
        if isinstance(link, ConnectionRefusedError) or type(link).__name__ in _NOT_CONNECTED:
            return True
    return False


def usage_of(result: LLMResult) -> tuple[int, int] | None:
    """Tokens in and out of a model's answers; None where it does not tell. Cached answers are 0.

    Several answers to one prompt each carry the usage of the whole request. What no server can
    have used, a negative number for one, is not told.
    """
    found = None
    for generations in result.generations:
        messages = (getattr(generation, "message", None) for generation in generations)
        usages = (each.usage_metadata for each in messages if isinstance(each, AIMessage))
        usage: Any = next((each for each in usages if each is not None), None)
        if usage is None:
            continue
        cached = "total_cost" in usage and usage["total_cost"] == 0
        read, written = (0, 0) if cached else (usage["input_tokens"], usage["output_tokens"])
        if not (0 <= read <= MOST_TOKENS and 0 <= written <= MOST_TOKENS):
            return None
        found = (read, written) if found is None else (found[0] + read, found[1] + written)
    return found


class UsageCollector(BaseCallbackHandler):
    """Sums what the model runs below it used.

    Attributes:
        started: Model runs begun.
        told: Model runs whose usage is known.
        input_tokens: Their tokens in.
        output_tokens: Their tokens out.
    """

    run_inline = True

    def __init__(self) -> None:
        """Start with nothing."""
        self.started = self.told = self.input_tokens = self.output_tokens = 0

    @property
    def complete(self) -> bool:
        """Whether there was a run, and every run that began has told its usage."""
        return self.told == self.started > 0

    def was_free(
        self,
        error: BaseException | None,
        handled: BaseException | None = None,
        *,
        tells_its_runs: bool,
    ) -> bool:
        """Whether what ended so certainly cost nothing; only of a chat model does no run say so."""
        if error is None:
            return False
        if self.started == 0 and tells_its_runs:
            return True
        return self.started <= 1 and was_refused(error, handled)

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        **kwargs: Any,
    ) -> None:
        """A model run begins."""
        del serialized, messages, run_id, kwargs
        self.started += 1

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """A model run ends."""
        del run_id, kwargs
        usage = usage_of(response)
        if usage is not None:
            self.told += 1
            self.input_tokens += usage[0]
            self.output_tokens += usage[1]


def with_first_handler(config: RunnableConfig, handler: BaseCallbackHandler) -> RunnableConfig:
    """The config with one more handler, which hears of every run below it before the others."""
    callbacks: Any = config.get("callbacks")
    if isinstance(callbacks, BaseCallbackManager):
        callbacks = callbacks.copy()
        callbacks.handlers.insert(0, handler)
        callbacks.inheritable_handlers.insert(0, handler)
    else:
        callbacks = [handler, *(callbacks or [])]
    return {**config, "callbacks": callbacks}
