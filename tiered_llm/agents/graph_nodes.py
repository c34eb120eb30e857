"""The ready graph's own nodes; the one that routes is `create_routing_node`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config
from langgraph.graph import END
from langgraph.types import Command, interrupt

from tiered_llm.agents.answers import choice_of, question_of, raised, refusal_of
from tiered_llm.agents.nodes import create_model_node, tell
from tiered_llm.agents.plain import decision_of
from tiered_llm.budgets import BudgetExceededError, Payer
from tiered_llm.chat_model import read_context
from tiered_llm.chat_model.context import CONTEXT_NAMES

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


class BudgetNode(_Node):
    """Whether the payer has room for the decided tier; where not, a human is asked, or nobody."""

    def __init__(self, model: TieredChatModel, tools: Sequence[Any], *, asks: bool) -> None:
        """Ask, or raise."""
        super().__init__(model, tools)
        self._asks = asks

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """On to the call, or to the question."""
        del kwargs
        decision = self._decision(input, config)
        try:
            self._model.check_room(input["messages"], decision, config, **self._tools)
        except BudgetExceededError as error:
            return _asked(error, asks=self._asks)
        return Command(goto="call")

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As `invoke`."""
        del kwargs
        decision = self._decision(input, config)
        try:
            await self._model.acheck_room(input["messages"], decision, config, **self._tools)
        except BudgetExceededError as error:
            return _asked(error, asks=self._asks)
        return Command(goto="call")

    def _decision(self, state: Any, config: RunnableConfig | None) -> RoutingDecision:
        kept = decision_of(state.get("routing"), self._model)
        return kept or self._model.route(state["messages"], config, **self._tools)


class CallNode(_Node):
    """The decided tier's answer; others may have come between the budget's look and the call."""

    def __init__(self, model: TieredChatModel, tools: Sequence[Any], *, asks: bool) -> None:
        """Ask, or raise."""
        super().__init__(model, tools)
        self._asks, self._call = asks, create_model_node(model, tools=tools)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """On with the answer, or to the question."""
        del kwargs
        try:
            return Command(goto="record", update=self._call.invoke(input, config))
        except BudgetExceededError as error:
            return _asked(error, asks=self._asks)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As `invoke`."""
        del kwargs
        try:
            return Command(goto="record", update=await self._call.ainvoke(input, config))
        except BudgetExceededError as error:
            return _asked(error, asks=self._asks)


class AskNode(_Node):
    """A human's word on a budget that is reached.

    What is asked stands in the state since before this node began: run anew, it asks the same and
    raises to the same limit.
    """

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Stop here until somebody resumes the graph; then do as they say."""
        del kwargs
        refusal = input["budget"]
        choice, by = _answer(refusal)
        if choice == "raise" and by is not None:
            budget, payer = self._payer(config)
            now = budget.usage_of(payer)
            name = f"{refusal['rule']}/{refusal['period']}"
            budget.set_limit(payer.tenant_id, name, raised(refusal, by, _limit_of(now, refusal)))
            return _back()
        if choice == "light":
            light = _in_light(config)
            return _back(self._model.route(input["messages"], light, **self._tools))
        return _stop(refusal)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As `invoke`."""
        del kwargs
        refusal = input["budget"]
        choice, by = _answer(refusal)
        if choice == "raise" and by is not None:
            budget, payer = self._payer(config)
            now = await budget.ausage_of(payer)
            limit = raised(refusal, by, _limit_of(now, refusal))
            name = f"{refusal['rule']}/{refusal['period']}"
            await budget.aset_limit(payer.tenant_id, name, limit)
            return _back()
        if choice == "light":
            light = _in_light(config)
            return _back(await self._model.aroute(input["messages"], light, **self._tools))
        return _stop(refusal)

    def _payer(self, config: RunnableConfig | None) -> tuple[BudgetManager, Payer]:
        defaults = {name: getattr(self._model, name) for name in CONTEXT_NAMES}
        who = read_context(ensure_config(config), defaults)
        agent = who.agent_spec.name if who.agent_spec else ""
        payer = Payer(tenant_id=who.tenant_id, user_id=who.user_id, agent=agent or None)
        budget = self._model.budget
        assert budget is not None  # noqa: S101  # it refused
        return budget, payer


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


def _asked(error: BudgetExceededError, *, asks: bool) -> Command[Any]:
    if not asks:
        raise error
    return Command(goto="ask", update={"budget": refusal_of(error)})


def _answer(refusal: Mapping[str, Any]) -> tuple[str, Decimal | None]:
    """A human's choice; one that is not understood is asked for again, with what would be right."""
    note = ""
    while True:
        try:
            return choice_of(interrupt(question_of(refusal, note)))
        except ValueError as error:
            note = str(error)


def _limit_of(usages: Mapping[str, Any], refusal: Mapping[str, Any]) -> Decimal | None:
    """The limit that is in force now; None where it is gone, or the rule has no such account."""
    rule, period = refusal["rule"], refusal["period"]
    found = (each for each in usages.values() if (each.rule, each.period) == (rule, period))
    usage = next(found, None)
    return None if usage is None else usage.limit


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
    metadata = {"budget_exceeded": f"{refusal['rule']}/{refusal['period']}"}
    said = AIMessage(content=STOPPED, response_metadata=metadata)
    return Command(goto=END, update={"messages": [said]})
