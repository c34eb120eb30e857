"""One attempt at one tier: the small runnable of which a fallback chain is made.

An attempt says the call in its tier's words, lets the tier's model own the only model run,
holds a stream back until it commits itself, and raises either `AttemptFailedError`, on which
the next tier is tried, or the provider's own error, which passes through.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import Runnable
from langchain_core.runnables.config import var_child_runnable_config

from tiered_llm.errors import AttemptFailedError
from tiered_llm.fallback.call import Entry
from tiered_llm.fallback.events import aas_events, as_events
from tiered_llm.fallback.faults import Fault, classify
from tiered_llm.fallback.gate import Gate
from tiered_llm.fallback.parts import Begin, End, Part, has_content
from tiered_llm.fallback.signing import Signing, ends, finished
from tiered_llm.providers import (
    adapt,
    core_of,
    fields_of,
    generator_of,
    rewrapped,
    tells_its_end,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig

    from tiered_llm.fallback.call import Call
    from tiered_llm.providers import Endpoint
    from tiered_llm.tiers import TierSpec


class Attempt(Runnable[Any, Any]):
    """A tier's model, called as a fallback chain calls its members.

    What a call brings along travels in the keyword argument `call`, which `with_fallbacks`
    hands through; the input stays what tracers expect, the messages.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        """Take the tier's endpoint."""
        self._endpoint = endpoint
        self._gate = Gate(endpoint.spec.max_concurrency)
        self._tells_its_end = tells_its_end(endpoint.model)

    @property
    def spec(self) -> TierSpec:
        """The tier that this attempt asks."""
        return self._endpoint.spec

    def invoke(
        self, input: list[BaseMessage], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """One whole answer, signed with its routing."""
        call: Call = kwargs["call"]
        with self._gate.enter(), self._failing(call):
            model, arguments = self._bound(call, self._endpoint.model)
            config = self._traced(call, _childs(config))
            if call.entry is Entry.GENERATE:
                generator = generator_of(model)
                if generator is not None:
                    target, bound = generator
                    given = {**_spread(config), **bound, **arguments}
                    return self._signed(call, target.generate([input], **given))
            answer = model.invoke(input, config, **arguments)
            self._refuse_endless(answer)
            answer = call.sign(answer, self.spec)
        return _as_result(answer) if call.entry is Entry.GENERATE else answer

    async def ainvoke(
        self, input: list[BaseMessage], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """One whole answer, signed with its routing."""
        call: Call = kwargs["call"]
        async with self._gate.aenter():
            with self._failing(call):
                model, arguments = self._bound(call, self._endpoint.async_model())
                config = self._traced(call, _childs(config))
                if call.entry is Entry.GENERATE:
                    generator = generator_of(model)
                    if generator is not None:
                        target, bound = generator
                        given = {**_spread(config), **bound, **arguments}
                        return self._signed(call, await target.agenerate([input], **given))
                answer = await model.ainvoke(input, config, **arguments)
                self._refuse_endless(answer)
                answer = call.sign(answer, self.spec)
        return _as_result(answer) if call.entry is Entry.GENERATE else answer

    def stream(
        self, input: list[BaseMessage], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Part]:
        """The answer's pieces, none before the stream has committed itself."""
        call: Call = kwargs["call"]
        config = self._traced(call, _childs(config))
        signing = self._signing(call)
        with self._gate.enter():
            with self._failing(call):
                pieces = self._open(call, input, config)
                held = _hold(pieces)
                self._refuse_unfinished(held)
            yield Begin()
            with _breaking(signing):
                for piece in chain(held, pieces):
                    yield Part(signing.sign(piece))
                yield from map(Part, signing.missing())
            yield End(watched=_watched(config))

    def astream(
        self, input: list[BaseMessage], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Part]:
        """The answer's pieces, none before the stream has committed itself."""
        call: Call = kwargs["call"]
        parts = self._astream(call, input, self._traced(call, config or {}))
        call.opened.append(parts)
        return parts

    async def _astream(
        self, call: Call, messages: list[BaseMessage], config: RunnableConfig
    ) -> AsyncGenerator[Part, None]:
        signing = self._signing(call)
        async with self._gate.aenter():
            with self._failing(call):
                pieces = await self._aopen(call, messages, config)
                held = await _ahold(pieces)
                self._refuse_unfinished(held)
            yield Begin()
            with _breaking(signing):
                for piece in held:
                    yield Part(signing.sign(piece))
                async for piece in pieces:
                    yield Part(signing.sign(piece))
                for piece in signing.missing():
                    yield Part(piece)
            yield End(watched=_watched(config))

    def _open(
        self, call: Call, messages: list[BaseMessage], config: RunnableConfig
    ) -> Iterator[Any]:
        """The model's own stream, of chunks or of protocol events."""
        model, arguments = self._bound(call, self._endpoint.model)
        if call.entry is not Entry.EVENTS:
            return model.stream(messages, config, **arguments)
        if _has_events(model):
            target = cast("Any", model)
            return iter(target.stream_events(messages, config, version="v3", **arguments))
        return as_events(model.stream(messages, config, **arguments))

    async def _aopen(
        self, call: Call, messages: list[BaseMessage], config: RunnableConfig
    ) -> AsyncGenerator[Any, None]:
        """The model's own stream, to be closed with the call."""
        model, arguments = self._bound(call, self._endpoint.async_model())
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
        self, call: Call, model: Runnable[Any, Any]
    ) -> tuple[Runnable[Any, Any], dict[str, Any]]:
        """The model as this call wants it, and the arguments left for the call itself."""
        own = dict(call.tier_arguments.get(self.spec.tier, {}))
        parameters = call.parameters.overridden_by(own)
        updates, arguments = adapt(model, parameters, {**call.arguments, **own})
        if call.stop is not None:
            arguments["stop"] = call.stop
        updates = {**_applicable(self._overrides(call), model), **updates}
        how = tuple((name, _identity(value)) for name, value in sorted(updates.items()))
        core = core_of(model)
        bound = call.shape.bind(core, lambda: _variant(core, updates), how)
        return rewrapped(model, bound), arguments

    def _overrides(self, call: Call) -> dict[str, Any]:
        cache = self._endpoint.cache(call.overrides.get("cache"))
        rest = {name: value for name, value in call.overrides.items() if name != "cache"}
        return rest if cache is None else {**rest, "cache": cache}

    def _traced(self, call: Call, child: RunnableConfig) -> RunnableConfig:
        """The config of the model's run; the chain's own run shows the first attempt."""
        if not call.failures:
            return child
        return cast("RunnableConfig", {**child, **call.retrace(child, self.spec.tier)})

    @contextmanager
    def _failing(self, call: Call) -> Iterator[None]:
        """Turn what another tier may do better into the error that asks the next one."""
        try:
            yield
        except AttemptFailedError as error:
            call.failures.append(error)
            raise
        except Exception as error:
            fault = classify(error)
            if fault is None:
                raise
            failed = AttemptFailedError(self.spec.tier, fault.value)
            call.failures.append(failed)
            raise failed from error

    def _signing(self, call: Call) -> Signing:
        return Signing(call, self.spec, tells_its_end=self._tells_its_end)

    def _refuse_unfinished(self, held: list[Any]) -> None:
        """Fail where a stream ended before it committed itself, and not by the model's will."""
        silent = self._tells_its_end and not any(map(has_content, held))
        if not held or (silent and not any(map(ends, held))):
            raise AttemptFailedError(self.spec.tier, Fault.INTERRUPTED.value)

    def _refuse_endless(self, answer: Any) -> None:
        """Fail where a model that tells the end of its answers did not: it was cut short."""
        told = not isinstance(answer, AIMessage) or finished(answer.response_metadata)
        if self._tells_its_end and not told:
            raise AttemptFailedError(self.spec.tier, Fault.INTERRUPTED.value)

    def _signed(self, call: Call, result: LLMResult) -> LLMResult:
        self._refuse_endless(cast("Any", result.generations[0][0]).message)
        generations: list[Any] = [
            generation.model_copy(update={"message": call.sign(generation.message, self.spec)})
            for generation in cast("Any", result.generations[0])
        ]  # copies: a cache may hold them too
        return result.model_copy(update={"generations": [generations]})


def _childs(config: RunnableConfig | None) -> RunnableConfig:
    """The config that makes the model's run a child of the chain's run.

    `with_fallbacks` hands it to `astream` alone. The others find it in the context, while
    `invoke` and `ainvoke` are handed the caller's own config, with which the two runs would
    be siblings.
    """
    return var_child_runnable_config.get() or config or {}


def _applicable(overrides: Any, model: Runnable[Any, Any]) -> dict[str, Any]:
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


@contextmanager
def _breaking(signing: Signing) -> Iterator[None]:
    """Turn a fault after the stream has begun into the error that carries what there was."""
    try:
        yield
    except Exception as error:
        fault = classify(error)
        if fault is None:
            raise
        raise signing.interrupted(fault) from error


def _hold(pieces: Iterator[Any]) -> list[Any]:
    """The pieces up to and with the first one that commits the stream."""
    held: list[Any] = []
    for piece in pieces:
        held.append(piece)
        if has_content(piece):
            break
    return held


async def _ahold(pieces: AsyncIterator[Any]) -> list[Any]:
    """The pieces up to and with the first one that commits the stream."""
    held: list[Any] = []
    async for piece in pieces:
        held.append(piece)
        if has_content(piece):
            break
    return held


async def _closing(events: Any) -> AsyncGenerator[Any, None]:
    """A v3 event stream that is closed with its reader: its producer is a task of its own."""
    async with events:
        async for event in events:
            yield event


def _watched(config: RunnableConfig) -> bool:
    """Whether anybody sees the run's output."""
    callbacks = config.get("callbacks")
    handlers = getattr(callbacks, "handlers", callbacks)
    return bool(handlers)
