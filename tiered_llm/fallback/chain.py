"""The chain of attempts, built with langchain-core's `with_fallbacks`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import AIMessageChunk, convert_to_messages
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import (
    get_callback_manager_for_config,
    var_child_runnable_config,
)

from tiered_llm.errors import (
    AttemptFailedError,
    ConfigurationError,
    NoCapableTierError,
    Problem,
    StreamInterruptedError,
)
from tiered_llm.fallback.attempt import Attempt
from tiered_llm.fallback.call import Call, Entry
from tiered_llm.fallback.policy import FallbackPolicy
from tiered_llm.fallback.shapes import Plain
from tiered_llm.fallback.watch import UNWATCHED
from tiered_llm.providers import Endpoint, Parameters
from tiered_llm.tiers import Tier, TierSpec, fallback_order
from tiered_llm.tokens import estimate_tokens
from tiered_llm.types import RoutingDecision

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence

    from langchain_core.messages import BaseMessage


class FallbackChain:
    """Tries tiers in a decision's order until one answers.

    Only `AttemptFailedError` leads to the next tier: with its default, `with_fallbacks`
    would take a budget error, a graph's interrupt or a `KeyError` for a dead tier.

    ```python
    chain = FallbackChain(tiers=[settings.spec("standard"), settings.spec("heavy")])
    answer, spec = await chain.execute_with_fallback(messages=messages, preferred_tier="standard")
    ```
    """

    def __init__(
        self,
        tiers: Iterable[TierSpec | Endpoint] | Mapping[Tier, Endpoint],
        policy: FallbackPolicy | None = None,
    ) -> None:
        """Make one attempt for each tier.

        Args:
            tiers: The tiers' specs or endpoints, at most one for each tier.
            policy: What the attempts go by; the defaults if left out.

        Raises:
            ConfigurationError: No tier, two for the same tier, or one that cannot be built.
        """
        self.policy = policy or FallbackPolicy()
        self._retries = self.policy.retries
        self._attempts = {
            tier: Attempt(endpoint, self.policy) for tier, endpoint in _endpoints(tiers).items()
        }
        self._chains: dict[tuple[Tier, ...], Runnable[Any, Any]] = {}

    @property
    def ejected(self) -> tuple[Tier, ...]:
        """The tiers whose endpoints let no call through just now."""
        return tuple(tier for tier, attempt in self._attempts.items() if not attempt.available)

    def runnable(self, order: tuple[Tier, ...]) -> Runnable[Any, Any]:
        """The chain that tries these tiers in turn; the same order gives the same chain."""
        chain = self._chains.get(order)
        if chain is None:
            first, *rest = (self._attempts[tier] for tier in order)
            chain = first.with_fallbacks(rest, exceptions_to_handle=(AttemptFailedError,))
            self._chains[order] = chain
        return chain

    def check_room(self, call: Call, tier: Tier) -> None:
        """Whether the call's payer has room for an attempt of a tier now; nothing stays reserved.

        Raises:
            BudgetExceededError: There is none.
        """
        if call.wallet is not None:
            attempt = self._attempts[tier]
            call.wallet.reserve(attempt.spec, attempt.wanted_tokens(call)).void()

    async def acheck_room(self, call: Call, tier: Tier) -> None:
        """As `check_room`, on the event loop."""
        if call.wallet is not None:
            attempt = self._attempts[tier]
            held = await call.wallet.areserve(attempt.spec, attempt.wanted_tokens(call))
            await held.avoid()

    def begin(self, call: Call, decision: RoutingDecision) -> None:
        """Take up a call with its decision; its time runs from here."""
        call.decision = decision
        self._queue(call, decision.order)
        deadline_s = call.deadline_s or self.policy.fallback.deadline_s
        if deadline_s is not None:
            call.until_s = self.policy.clock.monotonic_s() + deadline_s
        self._retries.pay_in()

    def invoke(self, call: Call, messages: list[BaseMessage], config: RunnableConfig) -> Any:
        """One whole answer.

        Raises:
            AllTiersFailedError: Every attempt that could be made failed.
        """
        unwatched, queue = is_unwatched(config), call.queue
        config = _traced(call, config)
        try:
            if unwatched:
                try:
                    with _inside(config) as child:
                        return queue[0].invoke(messages, child, call=call)
                except AttemptFailedError:
                    queue = queue[1:]
                    if not queue:
                        raise
            return self._runnable_of(queue).invoke(messages, config, call=call)
        except AttemptFailedError:
            raise call.all_failed() from _last_cause(call)

    async def ainvoke(self, call: Call, messages: list[BaseMessage], config: RunnableConfig) -> Any:
        """One whole answer; raises as `invoke` does."""
        unwatched, queue = is_unwatched(config), call.queue
        config = _traced(call, config)
        try:
            if unwatched:
                try:
                    with _inside(config) as child:
                        return await queue[0].ainvoke(messages, child, call=call)
                except AttemptFailedError:
                    queue = queue[1:]
                    if not queue:
                        raise
            return await self._runnable_of(queue).ainvoke(messages, config, call=call)
        except AttemptFailedError:
            raise call.all_failed() from _last_cause(call)

    def stream(
        self, call: Call, messages: list[BaseMessage], config: RunnableConfig
    ) -> Iterator[Any]:
        """The answer's pieces.

        Raises:
            AllTiersFailedError: Every attempt that could be made failed.
            StreamInterruptedError: The stream broke after it had begun.
        """
        while True:
            chain: Any = self._runnable_of(call.queue)
            parts = chain.stream(messages, _traced(call, config), call=call)
            try:
                for part in parts:
                    if not part.mute:
                        yield part.content
            except AttemptFailedError:
                raise call.all_failed() from _last_cause(call)
            except StreamInterruptedError as error:
                if not self._restarts(call):
                    raise
                mark = restart_mark(error)
            else:
                return
            finally:
                try:
                    parts.close()
                finally:
                    call.close()
            yield mark
            config = _again(config)

    async def astream(
        self,
        call: Call,
        messages: list[BaseMessage],
        config: RunnableConfig,
        decide: Callable[[], Awaitable[None]] | None = None,
    ) -> AsyncGenerator[Any, None]:
        """The answer's pieces; raises as `stream` does.

        A call that has not begun is begun by `decide`, and whoever watches it is told here:
        a generator around this one, which did no more than that, would cost every chunk.
        """
        with call.watch or UNWATCHED:
            if decide is not None:
                await decide()
            while True:
                chain: Any = self._runnable_of(call.queue)
                parts = chain.astream(messages, _traced(call, config), call=call)
                try:
                    async for part in parts:
                        if not part.mute:
                            yield part.content
                except AttemptFailedError:
                    raise call.all_failed() from _last_cause(call)
                except StreamInterruptedError as error:
                    if not self._restarts(call):
                        raise
                    mark = restart_mark(error)
                else:
                    return
                finally:
                    try:
                        await parts.aclose()
                    finally:
                        await call.aclose()
                yield mark
                config = _again(config)

    async def execute_with_fallback(
        self,
        llm_client: Runnable[Any, Any] | Callable[[TierSpec], Any] | None = None,
        messages: Sequence[Any] = (),
        preferred_tier: TierSpec | Tier | str | None = None,
        config: RunnableConfig | None = None,
    ) -> tuple[Any, TierSpec]:
        """One whole answer and the tier that gave it.

        Args:
            llm_client: A chat model that stands in for every tier's, or a function from a
                tier's spec to its chat model; the specs' own models if left out.
            messages: Messages as LangChain takes them: objects, dicts or pairs.
            preferred_tier: The tier to begin with; the lightest if left out. What follows
                is first stronger, then weaker.
            config: As every LangChain runnable takes it.

        Raises:
            NoCapableTierError: The messages fit no tier's window.
            AllTiersFailedError: Every attempt that could be made failed.
            ConfigurationError: The preferred tier is none of the chain's.
        """
        chain = self if llm_client is None else self._over(llm_client)
        asked = convert_to_messages(messages)
        tokens = sum(estimate_tokens(message.text) for message in asked)
        decision = chain._decided(preferred_tier, tokens)  # noqa: SLF001  # of its own kind
        call = Call(
            shape=Plain(), parameters=Parameters(), arguments={}, tier_arguments={}, overrides={}
        )
        call.input_tokens = tokens
        chain.begin(call, decision)
        answer = await chain.ainvoke(call, asked, config or RunnableConfig())
        return answer, chain._attempts[call.answered].spec  # noqa: SLF001

    def _over(self, client: Runnable[Any, Any] | Callable[[TierSpec], Any]) -> FallbackChain:
        """This chain over other models for the same tiers."""
        endpoints = {}
        for tier, attempt in self._attempts.items():
            model = client if isinstance(client, Runnable) else client(attempt.spec)
            endpoints[tier] = Endpoint(attempt.spec, model)
        return FallbackChain(endpoints, self.policy)

    def _decided(self, preferred: TierSpec | Tier | str | None, tokens: int) -> RoutingDecision:
        specs = {tier: attempt.spec for tier, attempt in self._attempts.items()}
        wanted = preferred.tier if isinstance(preferred, TierSpec) else preferred
        if wanted is not None and wanted not in specs:
            wrong = f"{wanted!s} is none of the chain's tiers"
            raise _refused(wrong, f"use {', '.join(specs)}")
        fitting = tuple(tier for tier, spec in specs.items() if tokens < spec.window_tokens)
        if not fitting:
            why = f"about {tokens} tokens do not fit its window"
            raise NoCapableTierError({tier: [why] for tier in specs})
        first = Tier(wanted) if wanted is not None else min(fitting)
        if first not in fitting:
            first = fallback_order(first, fitting)[0]
        return RoutingDecision(
            selected_tier=first,
            model_id=specs[first].model_id,
            candidates=fitting,
            fallbacks=fallback_order(first, fitting),
        )

    def _runnable_of(self, queue: tuple[Attempt, ...]) -> Runnable[Any, Any]:
        return self.runnable(tuple(attempt.spec.tier for attempt in queue))

    def _queue(self, call: Call, order: tuple[Tier, ...]) -> None:
        call.queue = tuple(self._attempts[tier] for tier in order)

    def _restarts(self, call: Call) -> bool:
        """Whether a broken stream begins anew, and if so, on which tiers."""
        if not call.may_restart or call.entry is not Entry.MESSAGE:
            return False
        failed = call.failures[-1]
        last = self._attempts[failed.tier]
        treatment = self.policy.faults.treatment(failed.fault)
        left = tuple(a for a in call.after(last) if a.may_take(call) and treatment.fall_back)
        if not left and treatment.again and last.available:
            left = (last,)
        late = call.until_s <= self.policy.clock.monotonic_s()
        spent = self._retries.saved < 1
        if late or spent or not left or len(call.failures) >= self.policy.fallback.max_attempts:
            return False
        self._queue(call, tuple(attempt.spec.tier for attempt in left))
        return True


def restart_mark(error: StreamInterruptedError) -> AIMessageChunk:
    """The chunk that says: what came before is void, the answer begins anew."""
    broken = {
        "tier": error.tier.value,
        "fault": error.fault,
        "void_characters": len(error.partial_text),
    }
    return AIMessageChunk(content="", response_metadata={"restarts": [broken]})


def _traced(call: Call, config: RunnableConfig) -> RunnableConfig:
    """The config of the chain's run, which shows the first attempt."""
    return {**config, **call.trace(config, call.queue[0].spec.tier)}  # type: ignore[typeddict-item]


def is_unwatched(config: RunnableConfig) -> bool:
    """Whether no handler would hear of a run: none in the config, the context or the environment.

    A chain run that nobody sees costs half as much as a model's own `invoke`; the first attempt
    of a whole answer then does without.
    """
    callbacks = config.get("callbacks")
    if getattr(callbacks, "handlers", callbacks):
        return False
    return not get_callback_manager_for_config(config).handlers


@contextmanager
def _inside(config: RunnableConfig) -> Iterator[RunnableConfig]:
    """The config for what runs inside of a chain run, as `with_fallbacks` would set it."""
    child = cast("RunnableConfig", {n: v for n, v in config.items() if n not in _OF_ONE_RUN})
    token = var_child_runnable_config.set(child)
    try:
        yield child
    finally:
        var_child_runnable_config.reset(token)


_OF_ONE_RUN = {"run_id", "run_name"}


def _again(config: RunnableConfig) -> RunnableConfig:
    """The config of a second run: the caller's run id was the first one's."""
    return {name: value for name, value in config.items() if name != "run_id"}  # type: ignore[return-value]


def _last_cause(call: Call) -> BaseException | None:
    return call.failures[-1].__cause__ if call.failures else None


def _endpoints(
    tiers: Iterable[TierSpec | Endpoint] | Mapping[Tier, Endpoint],
) -> dict[Tier, Endpoint]:
    given = tiers.values() if isinstance(tiers, Mapping) else tiers
    found: dict[Tier, Endpoint] = {}
    for item in given:
        endpoint = item if isinstance(item, Endpoint) else Endpoint(item)
        if endpoint.spec.tier in found:
            wrong = f"two are for {endpoint.spec.tier.value}"
            raise _refused(wrong, "give one for each tier")
        found[endpoint.spec.tier] = endpoint
    if not found:
        wrong = "none is given"
        raise _refused(wrong, "give at least one TierSpec")
    return dict(sorted(found.items()))


def _refused(wrong: str, right: str) -> ConfigurationError:
    return ConfigurationError([Problem(source="arguments", key="tiers", wrong=wrong, right=right)])
