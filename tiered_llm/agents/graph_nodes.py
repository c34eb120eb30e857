"""The ready graph's own nodes; the one that routes is `create_routing_node`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config
from langgraph.graph import END
from langgraph.types import Command, interrupt

from tiered_llm.agents.answers import (
    AnswerError,
    check_payer,
    choice_of,
    limit_name_of,
    question_of,
    raised,
    refusal_of,
)
from tiered_llm.agents.nodes import create_model_node, tell
from tiered_llm.agents.plain import decision_of
from tiered_llm.budgets import BudgetExceededError, Payer
from tiered_llm.chat_model import read_context
from tiered_llm.chat_model.context import CONTEXT_NAMES
from tiered_llm.errors import ConfigurationError, NoCapableTierError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from tiered_llm.budgets import BudgetManager
    from tiered_llm.chat_model import TieredChatModel
    from tiered_llm.types import RoutingDecision

STOPPED = "I have stopped here: the budget is used up, and it was decided not to go on."


class _Node(Runnable[Any, Any]):
    """A node over a model; it opens no run of its own: LangGraph's is enough."""

    def __init__(self, model: TieredChatModel, tools: Sequence[Any] = ()) -> None:
        self._model = model
        self._tools: dict[str, Any] = {"tools": list(tools)} if tools else {}

    def _payer(self, config: RunnableConfig | None) -> Payer:
        defaults = {name: getattr(self._model, name) for name in CONTEXT_NAMES}
        who = read_context(ensure_config(config), defaults)
        agent = who.agent_spec.name if who.agent_spec else ""
        return Payer(tenant_id=who.tenant_id, user_id=who.user_id, agent=agent or None)


class _PayingNode(_Node):
    """A node that a budget may stop."""

    def __init__(self, model: TieredChatModel, tools: Sequence[Any], *, asks: bool) -> None:
        """Ask, or raise."""
        super().__init__(model, tools)
        self._asks = asks

    def _refused(self, error: BudgetExceededError, config: RunnableConfig | None) -> Command[Any]:
        if not self._asks:
            raise error
        return Command(goto="ask", update={"budget": refusal_of(error, self._payer(config))})


class EstimateNode(_Node):
    """How hard the request seems."""

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """The estimate, for the state."""
        del kwargs
        estimate = self._model.estimate(input["messages"], config)
        return {"estimate": estimate.to_dict(), "budget": {}}

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As `invoke`."""
        del kwargs
        estimate = await self._model.aestimate(input["messages"], config)
        return {"estimate": estimate.to_dict(), "budget": {}}


class BudgetNode(_PayingNode):
    """Whether the payer has room for the decided tier; where not, a human is asked, or nobody.

    A decision of other settings, out of an old checkpoint, is made anew, as by the call.
    """

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """On to the call, or to the question."""
        del kwargs
        messages, decision = input["messages"], decision_of(input.get("routing"), self._model)
        if decision is None:
            decision = self._model.route(messages, config, **self._tools)
        try:
            self._model.check_room(messages, decision, config, **self._tools)
        except BudgetExceededError as error:
            return self._refused(error, config)
        return Command(goto="call")

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As `invoke`."""
        del kwargs
        messages, decision = input["messages"], decision_of(input.get("routing"), self._model)
        if decision is None:
            decision = await self._model.aroute(messages, config, **self._tools)
        try:
            await self._model.acheck_room(messages, decision, config, **self._tools)
        except BudgetExceededError as error:
            return self._refused(error, config)
        return Command(goto="call")


class CallNode(_PayingNode):
    """The decided tier's answer; others may have come between the budget's look and the call."""

    def __init__(self, model: TieredChatModel, tools: Sequence[Any], *, asks: bool) -> None:
        """Ask, or raise."""
        super().__init__(model, tools, asks=asks)
        self._call = create_model_node(model, tools=tools)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """On with the answer, or to the question."""
        del kwargs
        try:
            return Command(goto="record", update=self._call.invoke(input, config))
        except BudgetExceededError as error:
            return self._refused(error, config)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As `invoke`."""
        del kwargs
        try:
            return Command(goto="record", update=await self._call.ainvoke(input, config))
        except BudgetExceededError as error:
            return self._refused(error, config)


class AskNode(_Node):
    """A human's word on a budget that is reached.

    What is asked stands in the state since before this node began: run anew, it asks the same and
    raises to the same limit. An answer that cannot be used is written there too, and asked for
    again in a step of its own: so that no step has more than one answer to go through anew.
    """

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Stop here until somebody resumes the graph; then do as they say."""
        del kwargs
        refusal = input["budget"]
        answer, payer = interrupt(question_of(refusal)), self._payer(config)
        try:
            check_payer(refusal, payer)
            choice, by = choice_of(answer)
            if choice == "light":
                return _back(self._model.route(input["messages"], _in_light(config), **self._tools))
            if by is not None:
                self._raise(refusal, by, payer)
        except (AnswerError, ConfigurationError, NoCapableTierError) as error:
            return _again(refusal, error)
        return _stop(refusal) if choice == "stop" else _back()

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As `invoke`."""
        del kwargs
        refusal = input["budget"]
        answer, payer = interrupt(question_of(refusal)), self._payer(config)
        try:
            check_payer(refusal, payer)
            choice, by = choice_of(answer)
            if choice == "light":
                light = _in_light(config)
                return _back(await self._model.aroute(input["messages"], light, **self._tools))
            if by is not None:
                await self._araise(refusal, by, payer)
        except (AnswerError, ConfigurationError, NoCapableTierError) as error:
            return _again(refusal, error)
        return _stop(refusal) if choice == "stop" else _back()

    def _raise(self, refusal: Mapping[str, Any], by: Decimal, payer: Payer) -> None:
        limit = raised(refusal, by, self._budget.usage_of(payer))
        if limit is not None:
            self._budget.set_limit(payer.tenant_id, limit_name_of(refusal), limit)

    async def _araise(self, refusal: Mapping[str, Any], by: Decimal, payer: Payer) -> None:
        limit = raised(refusal, by, await self._budget.ausage_of(payer))
        if limit is not None:
            await self._budget.aset_limit(payer.tenant_id, limit_name_of(refusal), limit)

    @property
    def _budget(self) -> BudgetManager:
        budget = self._model.budget
        assert budget is not None  # noqa: S101  # it refused
        return budget


class RecordNode(_Node):
    """What came of the call, shown and told; the decision log has it from the call itself."""

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """The outcome, for the state and the custom stream."""
        del config, kwargs
        answer, routing = input["messages"][-1], input["routing"]
        usage = getattr(answer, "usage_metadata", None) or {}
        outcome = {
            "tier": routing["tier"],
            "run_id": routing.get("run_id"),
            "input_tokens": usage.get("input_tokens"),
            "output_tokens": usage.get("output_tokens"),
            "attempts": len(routing["attempts"]),
        }
        tell({"tiered_llm.outcome": outcome})
        return {"outcome": outcome}


def _again(refusal: Mapping[str, Any], error: Exception) -> Command[Any]:
    return Command(goto="ask", update={"budget": {**refusal, "note": str(error)}})


def _in_light(config: RunnableConfig | None) -> RunnableConfig:
    given = ensure_config(config)
    return {**given, "configurable": {**(given.get("configurable") or {}), "tier": "light"}}


def _back(decision: RoutingDecision | None = None) -> Command[Any]:
    """To the budget once more, it may have been used meanwhile; with another decision, perhaps."""
    update: dict[str, Any] = {"budget": {}}
    if decision is not None:
        update["routing"] = {**decision.summary(), "decided_tier": decision.tier.value}
    return Command(goto="budget", update=update)


def _stop(refusal: Mapping[str, Any]) -> Command[Any]:
    metadata = {"budget_exceeded": limit_name_of(refusal)}
    said = AIMessage(content=STOPPED, response_metadata=metadata)
    return Command(goto=END, update={"messages": [said], "budget": {}})
