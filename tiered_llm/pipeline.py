"""One request through every stage: the page to read first.

```
request ─▶ estimate ─▶ route ─▶ call, with fallback ─▶ answer, signed with its routing
```

Nothing here reads a clock, a file or a network: the stages do, at their edges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiered_llm.errors import AllTiersFailedError, AttemptFailedError
from tiered_llm.fallback import FallbackChain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import Runnable, RunnableConfig

    from tiered_llm.complexity import Estimator
    from tiered_llm.fallback import Call
    from tiered_llm.providers import Endpoint
    from tiered_llm.routing import ModelRouter
    from tiered_llm.tiers import Tier
    from tiered_llm.types import RoutingDecision, RoutingRequest


class Pipeline:
    """The stages of a call, joined. Shared by any number of threads and event loops."""

    def __init__(
        self, *, estimator: Estimator, router: ModelRouter, endpoints: Mapping[Tier, Endpoint]
    ) -> None:
        """Join an estimator, a router and the tiers' endpoints."""
        self.estimator = estimator
        self.router = router
        self.endpoints = endpoints
        self._fallback = FallbackChain(endpoints)

    def decide(self, request: RoutingRequest) -> RoutingDecision:
        """Estimate and route.

        Raises:
            NoCapableTierError: No configured tier can serve the request.
        """
        return self.router.decide(request, self.estimator.estimate_request(request))

    async def adecide(self, request: RoutingRequest) -> RoutingDecision:
        """Estimate and route; waits where the estimator has to."""
        aestimate = getattr(self.estimator, "aestimate_request", None)
        if aestimate is None:
            return self.decide(request)
        return self.router.decide(request, await aestimate(request))

    def invoke(
        self,
        request: RoutingRequest,
        call: Call,
        messages: list[BaseMessage],
        config: RunnableConfig,
    ) -> Any:
        """One whole answer.

        Raises:
            NoCapableTierError: No configured tier can serve the request.
            AllTiersFailedError: Every tier that can was tried and failed.
        """
        chain, config = self._route(self.decide(request), call, config)
        try:
            return chain.invoke(messages, config, call=call)
        except AttemptFailedError as error:
            raise AllTiersFailedError(call.failures) from error.__cause__

    async def ainvoke(
        self,
        request: RoutingRequest,
        call: Call,
        messages: list[BaseMessage],
        config: RunnableConfig,
    ) -> Any:
        """One whole answer; raises as `invoke` does."""
        chain, config = self._route(await self.adecide(request), call, config)
        try:
            return await chain.ainvoke(messages, config, call=call)
        except AttemptFailedError as error:
            raise AllTiersFailedError(call.failures) from error.__cause__

    def stream(
        self,
        request: RoutingRequest,
        call: Call,
        messages: list[BaseMessage],
        config: RunnableConfig,
    ) -> Iterator[Any]:
        """The answer's pieces; raises as `invoke` does, and what breaks a begun stream."""
        chain, config = self._route(self.decide(request), call, config)
        parts: Any = chain.stream(messages, config, call=call)
        try:
            for part in parts:
                if not part.mute:
                    yield part.content
        except AttemptFailedError as error:
            raise AllTiersFailedError(call.failures) from error.__cause__
        finally:
            parts.close()

    async def astream(
        self,
        request: RoutingRequest,
        call: Call,
        messages: list[BaseMessage],
        config: RunnableConfig,
    ) -> AsyncIterator[Any]:
        """The answer's pieces; raises as `stream` does."""
        chain, config = self._route(await self.adecide(request), call, config)
        parts: Any = chain.astream(messages, config, call=call)
        try:
            async for part in parts:
                if not part.mute:
                    yield part.content
        except AttemptFailedError as error:
            raise AllTiersFailedError(call.failures) from error.__cause__
        finally:
            await parts.aclose()
            await call.aclose()

    def _route(
        self, decision: RoutingDecision, call: Call, config: RunnableConfig
    ) -> tuple[Runnable[Any, Any], RunnableConfig]:
        call.decision = decision
        traced: RunnableConfig = {**config, **call.trace(config, decision.selected_tier)}  # type: ignore[typeddict-item]
        return self._fallback.runnable(decision.order), traced

    def __deepcopy__(self, memo: dict[int, Any]) -> Pipeline:
        """A copy of a model shares its pipeline: it holds no state of the model's."""
        return self
