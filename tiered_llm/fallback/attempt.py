"""One tier's place in a fallback chain: the small runnable of which the chain is made.

It asks its tier, again if that is worth it, and raises either `AttemptFailedError`, on which
the next tier is tried, or an error that passes through. What is asked is in `Asking`, what
its end means in `Trial`.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import AbstractAsyncContextManager, nullcontext
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.runnables import Runnable
from langchain_core.runnables.config import var_child_runnable_config

from tiered_llm.fallback.asking import Asking
from tiered_llm.fallback.gate import Gate
from tiered_llm.fallback.parts import Begin, End, Part
from tiered_llm.fallback.signing import Signing
from tiered_llm.fallback.trial import Trial
from tiered_llm.providers import core_of
from tiered_llm.providers.billing import with_first_handler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig

    from tiered_llm.fallback.breaker import Breaker
    from tiered_llm.fallback.call import Call
    from tiered_llm.fallback.policy import FallbackPolicy
    from tiered_llm.providers import Endpoint
    from tiered_llm.tiers import TierSpec

_NO_LIMIT = nullcontext()
_LATE = "the call's deadline has passed"


class Attempt(Runnable[Any, Any]):
    """A tier's model, called as a fallback chain calls its members.

    What a call brings along travels in the keyword argument `call`, which `with_fallbacks`
    hands through; the input stays what tracers expect, the messages.
    """

    def __init__(self, endpoint: Endpoint, policy: FallbackPolicy) -> None:
        """Take the tier's endpoint and what it goes by."""
        self.endpoint, self.policy = endpoint, policy
        self.spec: TierSpec = endpoint.spec
        self.clock = policy.clock
        self.breaker: Breaker | None = None
        if policy.breaker.enabled:
            self.breaker = policy.health.breaker(endpoint, policy.breaker)
        self.tells_its_runs = isinstance(core_of(endpoint.model), BaseChatModel)
        self._gate = Gate(endpoint.spec.max_concurrency)
        self._asking = Asking(endpoint)

    @property
    def available(self) -> bool:
        """Whether the endpoint's breaker would let a call through."""
        return self.breaker is None or self.breaker.available

    def may_take(self, call: Call) -> bool:
        """Whether the tier could be asked, as things stand."""
        return self.available and not call.too_small(self.spec)

    def invoke(
        self, input: list[BaseMessage], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """One whole answer, signed with its routing."""
        call: Call = kwargs["call"]
        while True:
            child = _childs(config)
            with (trial := Trial(self, call, child)), self._gate.enter(self._left_s(call)):
                trial.begin(input)
                traced = self._traced(trial, call, child)
                with trial.around_whole():
                    answer = self._asking.whole(call, input, traced, self._left_s(call))
                trial.answer = answer
                return answer
            self.clock.sleep(trial.wait_s)

    async def ainvoke(
        self, input: list[BaseMessage], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """One whole answer, signed with its routing."""
        call: Call = kwargs["call"]
        while True:
            child = _childs(config)
            async with (
                (trial := Trial(self, call, child)),
                self._gate.aenter(self._left_s(call)),
                self._limit(call),
            ):
                await trial.abegin(input)
                traced = self._traced(trial, call, child)
                with trial.around_whole():
                    answer = await self._asking.awhole(call, input, traced, self._left_s(call))
                trial.answer = answer
                return answer
            await self.clock.asleep(trial.wait_s)

    def stream(
        self, input: list[BaseMessage], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Part]:
        """The answer's pieces, none before the stream has committed itself."""
        call: Call = kwargs["call"]
        parts = self._stream(call, input, _childs(config))
        call.flowing.append(parts)
        return parts

    def _stream(
        self, call: Call, messages: list[BaseMessage], child: RunnableConfig
    ) -> Generator[Part, None, None]:
        while True:
            trial, signing = Trial(self, call, child), self._signing(call)
            with trial, self._gate.enter(self._left_s(call)):
                trial.begin(messages)
                traced = self._traced(trial, call, child)
                held, rest = self._asking.pieces(call, messages, traced, self._left_s(call))
                trial.commit(signing)
                yield Begin()
                try:
                    for piece in chain(held, self._in_time(call, rest)):
                        yield Part(signing.sign(piece))
                    yield from map(Part, signing.missing())
                finally:
                    _close(rest)
                yield End(watched=_watched(traced))
                return
            self.clock.sleep(trial.wait_s)

    def astream(
        self, input: list[BaseMessage], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Part]:
        """The answer's pieces, none before the stream has committed itself."""
        call: Call = kwargs["call"]
        parts = self._astream(call, input, config or {})
        call.opened.append(parts)
        return parts

    async def _astream(
        self, call: Call, messages: list[BaseMessage], config: RunnableConfig
    ) -> AsyncGenerator[Part, None]:
        while True:
            trial, signing = Trial(self, call, config), self._signing(call)
            async with trial:
                async with self._gate.aenter(self._left_s(call)):
                    async with self._limit(call):
                        await trial.abegin(messages)
                        traced = self._traced(trial, call, config)
                        asked = self._asking.apieces(call, messages, traced, self._left_s(call))
                        held, rest = await asked
                    trial.commit(signing)
                    yield Begin()
                    for piece in held:
                        yield Part(signing.sign(piece))
                    async for piece in self._ain_time(call, rest):
                        yield Part(signing.sign(piece))
                    for piece in signing.missing():
                        yield Part(piece)
                    yield End(watched=_watched(traced))
                return
            await self.clock.asleep(trial.wait_s)

    def _signing(self, call: Call) -> Signing:
        return Signing(call, self.spec, tells_its_end=self._asking.tells_its_end)

    def wanted_tokens(self, call: Call) -> int | None:
        """The longest answer that a call asks of the tier; None where nobody says."""
        return self._asking.wanted_tokens(call)

    def _traced(self, trial: Trial, call: Call, child: RunnableConfig) -> RunnableConfig:
        """The config of the model's run; the chain's own run shows the first attempt."""
        if call.failures or call.queue[0] is not self:
            child = cast("RunnableConfig", {**child, **call.retrace(child, self.spec.tier)})
        if trial.usage is None:
            return child
        return with_first_handler(child, trial.usage)

    def _left_s(self, call: Call) -> float | None:
        """Seconds until the call's deadline, if it has one; never quite none."""
        if call.until_s == math.inf:
            return None
        return max(0.001, call.until_s - self.clock.monotonic_s())

    def _limit(self, call: Call) -> AbstractAsyncContextManager[Any]:
        left_s = self._left_s(call)
        return _NO_LIMIT if left_s is None else asyncio.timeout(left_s)

    def _in_time(self, call: Call, pieces: Iterator[Any]) -> Iterator[Any]:
        return pieces if call.until_s == math.inf else self._until(call.until_s, pieces)

    def _ain_time(self, call: Call, pieces: AsyncIterator[Any]) -> AsyncIterator[Any]:
        return pieces if call.until_s == math.inf else self._auntil(call, pieces)

    def _until(self, until_s: float, pieces: Iterator[Any]) -> Iterator[Any]:
        """The pieces, as long as there is time: a thread can look at the clock between two."""
        for piece in pieces:
            if self.clock.monotonic_s() >= until_s:
                raise TimeoutError(_LATE)
            yield piece

    async def _auntil(self, call: Call, pieces: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The pieces, as long as there is time; the reader's own time between two counts too."""
        while True:
            try:
                async with self._limit(call):
                    piece = await anext(pieces)
            except StopAsyncIteration:
                return
            yield piece


def _childs(config: RunnableConfig | None) -> RunnableConfig:
    """The config that makes the model's run a child of the chain's run.

    `with_fallbacks` hands it to `astream` alone. The others find it in the context, while
    `invoke` and `ainvoke` are handed the caller's own config, with which the two runs would
    be siblings.
    """
    return var_child_runnable_config.get() or config or {}


def _close(stream: Iterator[Any]) -> None:
    """End a model's stream, and with it the model's run, now: not when it is collected."""
    close = getattr(stream, "close", None)
    if close is not None:
        close()


def _watched(config: RunnableConfig) -> bool:
    """Whether anybody sees the run's output."""
    callbacks = config.get("callbacks")
    handlers = getattr(callbacks, "handlers", callbacks)
    return bool(handlers)
