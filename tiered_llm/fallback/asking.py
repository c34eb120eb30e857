"""A call said in one tier's words, and the tier's model asked: whole, or as a stream.

What is bound here owns the only model run. Nothing is caught here, and nothing decided but
whether an answer came to its end.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, LLMResult

from tiered_llm.errors import AttemptFailedError
from tiered_llm.fallback.call import Entry
from tiered_llm.fallback.events import aas_events, as_events
from tiered_llm.fallback.faults import Fault
from tiered_llm.fallback.parts import has_content
from tiered_llm.fallback.signing import ends, finished
from tiered_llm.providers import (
    adapt,
    clamp,
    core_of,
    fields_of,
    generator_of,
    is_openai,
    rewrapped,
    tells_its_end,
    time_left,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import Runnable, RunnableConfig

    from tiered_llm.fallback.call import Call
    from tiered_llm.providers import Endpoint

_NO_LIMIT = nullcontext()


class Asking:
    """Puts calls to one endpoint's model."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Take the tier's endpoint."""
        self._endpoint, self._spec = endpoint, endpoint.spec
        self.tells_its_end = tells_its_end(endpoint.model)
        self._takes_a_timeout = is_openai(endpoint.model)

    def whole(
        self,
        call: Call,
        messages: list[BaseMessage],
        config: RunnableConfig,
        left_s: float | None,
    ) -> Any:
        """One answer, signed with its routing."""
        model, arguments = self._bound(call, self._endpoint.model, left_s)
        generator = generator_of(model) if call.entry is Entry.GENERATE else None
        with _within(left_s):
            if generator is None:
                answer = model.invoke(messages, config, **arguments)
            else:
                target, bound = generator
                answer = target.generate([messages], **_spread(config), **{**bound, **arguments})
        return self._signed(call, answer)

    async def awhole(
        self,
        call: Call,
        messages: list[BaseMessage],
        config: RunnableConfig,
        left_s: float | None,
    ) -> Any:
        """One answer, signed with its routing."""
        model, arguments = self._bound(call, self._endpoint.async_model(), left_s)
        generator = generator_of(model) if call.entry is Entry.GENERATE else None
        if generator is None:
            answer = await model.ainvoke(messages, config, **arguments)
        else:
            target, bound = generator
            given = {**bound, **arguments}
            answer = await target.agenerate([messages], **_spread(config), **given)
        return self._signed(call, answer)

    def pieces(
        self,
        call: Call,
        messages: list[BaseMessage],
        config: RunnableConfig,
        left_s: float | None,
    ) -> tuple[list[Any], Iterator[Any]]:
        """The pieces up to the one that commits the stream, and the rest of them.

        Raises:
            AttemptFailedError: The stream ended before, and not by the model's will.
        """
        with _within(left_s):
            rest = self._open(call, messages, config, left_s)
            held: list[Any] = []
            for piece in rest:
                held.append(piece)
                if has_content(piece):
                    break
        self._refuse_unfinished(held)
        return held, rest

    async def apieces(
        self,
        call: Call,
        messages: list[BaseMessage],
        config: RunnableConfig,
        left_s: float | None,
    ) -> tuple[list[Any], AsyncGenerator[Any, None]]:
        """The same on an event loop; the stream is to be closed with the call."""
        rest = await self._aopen(call, messages, config, left_s)
        held: list[Any] = []
        async for piece in rest:
            held.append(piece)
            if has_content(piece):
                break
        self._refuse_unfinished(held)
        return held, rest

    def _open(
        self,
        call: Call,
        messages: list[BaseMessage],
        config: RunnableConfig,
        left_s: float | None,
    ) -> Iterator[Any]:
        """The model's own stream, of chunks or of protocol events."""
        model, arguments = self._bound(call, self._endpoint.model, left_s)
        if call.entry is not Entry.EVENTS:
            return model.stream(messages, config, **arguments)
        if _has_events(model):
            target = cast("Any", model)
            return iter(target.stream_events(messages, config, version="v3", **arguments))
        return as_events(model.stream(messages, config, **arguments))

    async def _aopen(
        self,
        call: Call,
        messages: list[BaseMessage],
        config: RunnableConfig,
        left_s: float | None,
    ) -> AsyncGenerator[Any, None]:
        model, arguments = self._bound(call, self._endpoint.async_model(), left_s)
        stream: Any
        if call.entry is not Entry.EVENTS:
            stream = model.astream(messages, config, **arguments)
        elif _has_events(model):
            target = cast("Any", model)
            stream = _closing(
                await target.astream_events(messages, config, version="v3", **arguments)
            )
        else:
            stream = aas_events(model.astream(messages, config, **arguments))
        call.opened.append(stream)
        return cast("AsyncGenerator[Any, None]", stream)

    def _bound(
        self, call: Call, model: Runnable[Any, Any], left_s: float | None
    ) -> tuple[Runnable[Any, Any], dict[str, Any]]:
        """The model as this call wants it, and the arguments left for the call itself."""
        if left_s is None and call.is_bare and not self._endpoint.cache(None):
            return model, {}
        own = dict(call.tier_arguments.get(self._spec.tier, {}))
        parameters = call.parameters.overridden_by(own)
        updates, arguments = adapt(model, parameters, {**call.arguments, **own})
        if call.granted is not None:
            clamp(model, call.granted, updates, arguments)
        if call.stop is not None:
            arguments["stop"] = call.stop
        if left_s is not None and self._takes_a_timeout:
            own_s = arguments.get("timeout") or getattr(core_of(model), "request_timeout", None)
            arguments["timeout"] = min(left_s, own_s) if isinstance(own_s, (int, float)) else left_s
        updates = {**_applicable(self._overrides(call), model), **updates}
        how = tuple((name, _identity(value)) for name, value in sorted(updates.items()))
        core = core_of(model)
        bound = call.shape.bind(core, lambda: _variant(core, updates), how)
        return rewrapped(model, bound), arguments

    def wanted_tokens(self, call: Call) -> int | None:
        """The longest answer that the call, or else the tier's model, asks for."""
        own = dict(call.tier_arguments.get(self._spec.tier, {}))
        asked = call.parameters.overridden_by(own).max_tokens
        return asked or self._spec.max_output_tokens

    def _overrides(self, call: Call) -> dict[str, Any]:
        cache = self._endpoint.cache(call.overrides.get("cache"))
        rest = {name: value for name, value in call.overrides.items() if name != "cache"}
        return rest if cache is None else {**rest, "cache": cache}

    def _refuse_unfinished(self, held: list[Any]) -> None:
        """Fail where a stream ended before it committed itself, and not by the model's will."""
        if held and not isinstance(held[-1], AIMessageChunk):
            self._refuse_endless(held[-1])  # a whole answer, where streaming is disabled
        silent = self.tells_its_end and not any(map(has_content, held))
        if not held or (silent and not any(map(ends, held))):
            raise AttemptFailedError(self._spec.tier, Fault.INTERRUPTED.value)

    def _refuse_endless(self, answer: Any) -> None:
        """Fail where a model that tells the end of its answers did not: it was cut short."""
        if isinstance(answer, dict):
            answer = answer.get("raw")
        if not self.tells_its_end or not isinstance(answer, AIMessage):
            return
        if not isinstance(answer, AIMessageChunk) and not finished(answer.response_metadata):
            raise AttemptFailedError(self._spec.tier, Fault.INTERRUPTED.value)

    def _signed(self, call: Call, answer: Any) -> Any:
        """The answer with its routing; of `generate`, in copies: a cache may hold them too."""
        if not isinstance(answer, LLMResult):
            self._refuse_endless(answer)
            answer = call.sign(answer, self._spec)
            return _as_result(answer) if call.entry is Entry.GENERATE else answer
        self._refuse_endless(cast("Any", answer.generations[0][0]).message)
        generations: list[Any] = [
            generation.model_copy(update={"message": call.sign(generation.message, self._spec)})
            for generation in cast("Any", answer.generations[0])
        ]
        return answer.model_copy(update={"generations": [generations]})


def _within(left_s: float | None) -> AbstractContextManager[None]:
    return _NO_LIMIT if left_s is None else time_left(left_s)


def _applicable(overrides: Any, model: Runnable[Any, Any]) -> dict[str, Any]:
    if not overrides:
        return {}
    fields = fields_of(model)
    return {name: value for name, value in overrides.items() if name in fields}


def _variant(model: Any, updates: dict[str, Any]) -> Runnable[Any, Any]:
    variant: Runnable[Any, Any] = model.model_copy(update=updates) if updates else model
    return variant


def _identity(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool)) else id(value)


def _as_result(answer: Any) -> LLMResult:
    """What `generate` gives, of a runnable that has no `generate`."""
    return LLMResult(generations=[[ChatGeneration(message=answer)]])


def _spread(config: RunnableConfig) -> dict[str, Any]:
    """A config as `generate` takes it, argument by argument."""
    names = ("callbacks", "tags", "metadata", "run_name")
    return {name: config.get(name) for name in names}


def _has_events(model: Runnable[Any, Any]) -> bool:
    return generator_of(model) is not None


async def _closing(events: Any) -> AsyncGenerator[Any, None]:
    """A v3 event stream that is closed with its reader: its producer is a task of its own."""
    async with events:
        async for event in events:
            yield event
