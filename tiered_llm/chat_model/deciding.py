"""A model that tells where a call would go, and whose calls go where that was decided.

A graph that decides in one node and calls in another needs both: the decision is made once, shown,
and kept to, while fallback, budget and records stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Self, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import RunnableConfig
from pydantic import PrivateAttr

from tiered_llm.chat_model.preparing import Prepared, prepare
from tiered_llm.chat_model.self_describing import SelfDescribing
from tiered_llm.fallback import BoundTools
from tiered_llm.tiers import Ability
from tiered_llm.types import ComplexityEstimate, RoutingDecision, RoutingRequest


class DecidingModel(SelfDescribing):
    """A model over a pipeline, which can be asked for a decision alone."""

    _decided: RoutingDecision | None = PrivateAttr(default=None)

    @property
    def decided(self) -> RoutingDecision | None:
        """Where every call of this model goes, if `with_decision` has said so."""
        private = self.__pydantic_private__ or {}  # on every call: past __getattr__
        return private.get("_decided")

    def estimate(
        self, input: LanguageModelInput, config: RunnableConfig | None = None
    ) -> ComplexityEstimate:
        """How hard a call seems, and why; nothing is sent or decided."""
        prepared = self._prepared(input, config, {}, hold=True, needs=())
        return self.stages.estimator.estimate_request(prepared.request)

    async def aestimate(
        self, input: LanguageModelInput, config: RunnableConfig | None = None
    ) -> ComplexityEstimate:
        """As `estimate`; waits where the estimator has to."""
        prepared = self._prepared(input, config, {}, hold=True, needs=())
        return await self.stages.aestimate(prepared.request)

    def route(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        hold: bool = True,
        needs: Iterable[Ability] = (),
        estimate: ComplexityEstimate | None = None,
        **kwargs: Any,
    ) -> RoutingDecision:
        """Where a call would go; nothing is sent, reserved or recorded.

        ```python
        decision = model.route(messages, config, tools=tools)
        answer = model.with_decision(decision).bind_tools(tools).invoke(messages, config)
        ```

        Args:
            input: As the call's own.
            config: As the call's own.
            hold: Whether the tier that began a turn is held, as by a call. After steps that failed
                it is held in any case: escalation goes up from it.
            needs: Abilities that the call will need beside those that its arguments tell.
            estimate: How hard it seems, where that has been estimated already.
            kwargs: As the call's own; `tools` as `bind_tools` takes them.

        Raises:
            NoCapableTierError: No configured tier can serve the request.
            ConfigurationError: A malformed context value.
        """
        prepared = self._prepared(input, config, kwargs, hold=hold, needs=needs)
        return self.stages.route(prepared.request, prepared.call, estimate)

    async def aroute(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        hold: bool = True,
        needs: Iterable[Ability] = (),
        estimate: ComplexityEstimate | None = None,
        **kwargs: Any,
    ) -> RoutingDecision:
        """As `route`; waits where the estimator or the budget's store has to."""
        prepared = self._prepared(input, config, kwargs, hold=hold, needs=needs)
        return await self.stages.aroute(prepared.request, prepared.call, estimate)

    def check_room(
        self,
        input: LanguageModelInput,
        decision: RoutingDecision,
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> None:
        """Whether the budget has room for a call to the decided tier now; nothing stays reserved.

        Others may come between this and the call, which reserves for itself.

        Raises:
            BudgetExceededError: It has none.
            LedgerError: The store cannot be reached, or has lost what it held.
        """
        prepared = self._prepared(input, config, kwargs, hold=True, needs=())
        self.stages.fallback.check_room(prepared.call, decision.tier)

    async def acheck_room(
        self,
        input: LanguageModelInput,
        decision: RoutingDecision,
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> None:
        """As `check_room`, on the event loop."""
        prepared = self._prepared(input, config, kwargs, hold=True, needs=())
        await self.stages.fallback.acheck_room(prepared.call, decision.tier)

    def with_decision(self, decision: RoutingDecision | None) -> Self:
        """A copy whose calls go where the decision says; fallback, budget and records as ever.

        With None its calls are decided one by one again.
        """
        copied = self.model_copy()
        copied._decided = decision  # noqa: SLF001  # its own kind
        return copied

    def _prepared(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None,
        arguments: dict[str, Any],
        *,
        hold: bool,
        needs: Iterable[Ability],
    ) -> Prepared:
        given = dict(arguments)
        if "tools" in given and not isinstance(given["tools"], BoundTools):
            given["tools"] = BoundTools(given["tools"])
        prepared = prepare(cast("Any", self), input, config, given, stop=given.pop("stop", None))
        request = prepared.request
        wanted = replace(request, needs=request.needs | frozenset(needs))
        return prepared._replace(request=wanted if hold else _let_go(wanted))


def _let_go(request: RoutingRequest) -> RoutingRequest:
    """The request as the beginning of a turn, unless steps before it have failed."""
    return request if request.failed_steps else replace(request, held_tier=None, in_turn=False)
