"""One request through every stage: the page to read first.

```
request ─▶ estimate ─▶ route ─▶ reserve ─▶ call, with fallback ─▶ settle ─▶ answer, signed
           └────────────── watched: recorded, and traced ─────────────────┘
```

Nothing here reads a clock, a file or a network: the stages do, at their edges.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tiered_llm.fallback import UNWATCHED, FallbackChain
from tiered_llm.watching import Watchers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig

    from tiered_llm.complexity import Estimator
    from tiered_llm.fallback import Call, FallbackPolicy
    from tiered_llm.providers import Endpoint
    from tiered_llm.routing import ModelRouter
    from tiered_llm.tiers import Tier
    from tiered_llm.types import ComplexityEstimate, RoutingDecision, RoutingRequest


class Pipeline:
    """The stages of a call, joined. Shared by any number of threads and event loops."""

    def __init__(
        self,
        *,
        estimator: Estimator,
        router: ModelRouter,
        endpoints: Mapping[Tier, Endpoint],
        policy: FallbackPolicy | None = None,
        watchers: Watchers | None = None,
    ) -> None:
        """Join an estimator, a router and the tiers' endpoints.

        `policy` rules the fallback, `watchers` are told of every call.
        """
        self.estimator = estimator
        self.router = router
        self.endpoints = endpoints
        self.fallback = FallbackChain(endpoints, policy)
        self.watchers = watchers or Watchers()

    def decide(
        self, request: RoutingRequest, estimate: ComplexityEstimate | None = None
    ) -> RoutingDecision:
        """Estimate, unless that has been done, and route.

        Raises:
            NoCapableTierError: No configured tier can serve the request.
        """
        known = estimate or self.estimator.estimate_request(request)
        return self.router.decide(self._with_health(request), known)

    async def adecide(
        self, request: RoutingRequest, estimate: ComplexityEstimate | None = None
    ) -> RoutingDecision:
        """Estimate, unless that has been done, and route; waits where the estimator has to."""
        known = estimate or await self.aestimate(request)
        return self.router.decide(self._with_health(request), known)

    async def aestimate(self, request: RoutingRequest) -> ComplexityEstimate:
        """How hard a request seems; waits where the estimator has to."""
        aestimate = getattr(self.estimator, "aestimate_request", None)
        if aestimate is None:
            return self.estimator.estimate_request(request)
        estimate: ComplexityEstimate = await aestimate(request)
        return estimate

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
            AllTiersFailedError: Every attempt that could be made failed.
        """
        with call.watch or UNWATCHED:
            self._begin(request, call)
            return self.fallback.invoke(call, messages, config)

    async def ainvoke(
        self,
        request: RoutingRequest,
        call: Call,
        messages: list[BaseMessage],
        config: RunnableConfig,
    ) -> Any:
        """One whole answer; raises as `invoke` does."""
        with call.watch or UNWATCHED:
            await self._abegin(request, call)
            return await self.fallback.ainvoke(call, messages, config)

    def stream(
        self,
        request: RoutingRequest,
        call: Call,
        messages: list[BaseMessage],
        config: RunnableConfig,
    ) -> Iterator[Any]:
        """The answer's pieces; raises as `invoke` does, and what breaks a begun stream."""
        with call.watch or UNWATCHED:
            self._begin(request, call)
            yield from self.fallback.stream(call, messages, config)

    def astream(
        self,
        request: RoutingRequest,
        call: Call,
        messages: list[BaseMessage],
        config: RunnableConfig,
    ) -> AsyncIterator[Any]:
        """The answer's pieces; raises as `stream` does."""
        begin = partial(self._abegin, request, call)
        return self.fallback.astream(call, messages, config, begin)

    def route(
        self, request: RoutingRequest, call: Call, estimate: ComplexityEstimate | None = None
    ) -> RoutingDecision:
        """Where a call goes, as things stand: by its payer's budget and the endpoints' health too.

        Raises:
            NoCapableTierError: No configured tier can serve the request.
        """
        return call.decided or self.decide(self._paid(request, call), estimate)

    async def aroute(
        self, request: RoutingRequest, call: Call, estimate: ComplexityEstimate | None = None
    ) -> RoutingDecision:
        """As `route`; waits where the estimator or the budget's store has to."""
        return call.decided or await self.adecide(await self._apaid(request, call), estimate)

    def _begin(self, request: RoutingRequest, call: Call) -> None:
        if call.decided is not None:
            self._decided(request, call, call.decided)
            return
        paid = self._paid(request, call)
        self._decided(paid, call, self.decide(paid))

    async def _abegin(self, request: RoutingRequest, call: Call) -> None:
        if call.decided is not None:
            self._decided(request, call, call.decided)
            return
        paid = await self._apaid(request, call)
        self._decided(paid, call, await self.adecide(paid))

    def _decided(self, request: RoutingRequest, call: Call, decision: RoutingDecision) -> None:
        self.fallback.begin(call, decision)
        if call.watch is not None:
            call.watch.decided(decision, request.budget_cap)

    def _paid(self, request: RoutingRequest, call: Call) -> RoutingRequest:
        """The request with what its payer's budget still allows."""
        cap = None if call.wallet is None else call.wallet.cap()
        return replace(request, budget_cap=cap) if cap else request

    async def _apaid(self, request: RoutingRequest, call: Call) -> RoutingRequest:
        cap = None if call.wallet is None else await call.wallet.acap()
        return replace(request, budget_cap=cap) if cap else request

    def _with_health(self, request: RoutingRequest) -> RoutingRequest:
        ejected = self.fallback.ejected
        return replace(request, ejected=ejected) if ejected else request

    def __deepcopy__(self, memo: dict[int, Any]) -> Pipeline:
        """A copy of a model shares its pipeline: it holds no state of the model's."""
        return self
