"""Nodes for LangGraph graphs: one that decides, one that calls, and the edge between them.

```python
builder.add_node("route", create_routing_node(model))
builder.add_node("call", create_model_node(model))
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.types import Command

from tiered_llm.agents.plain import decision_of, estimate_of, read
from tiered_llm.agents.refusing import refused
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tiered_llm.chat_model import TieredChatModel
    from tiered_llm.tiers import Ability
    from tiered_llm.types import RoutingDecision

TierName = Literal["light", "standard", "heavy"]


def create_routing_node(  # noqa: PLR0913  # each is one thing that a graph may set
    model: TieredChatModel,
    *,
    messages_key: str = "messages",
    routing_key: str = "routing",
    hold: Literal["turn", "step"] = "turn",
    tools: Sequence[Any] = (),
    needs: Iterable[Ability] = (),
    goto: Mapping[str, str] | None = None,
    estimate_key: str | None = None,
) -> Runnable[Any, Any]:
    """A node that decides which tier is to answer, and writes the decision into the state.

    The decision is a plain dict, `state["routing"]`, with `tier`, `score`, `factors`, `reasons`,
    `fallbacks` and more; it is streamed as a custom event as well,
    `{"tiered_llm.routing": {...}}`. Tenant, task, agent spec and the like come from the run's
    config, its metadata or the graph's context, as for every call of the model.

    Args:
        model: Whose tiers, rules and budget decide.
        messages_key: Where the state holds the messages, or the prompt.
        routing_key: Where it is to hold the decision.
        hold: `turn` keeps the tier that began an agent's turn; `step` decides each time anew.
        tools: Tools that will be bound: a tier that cannot call tools is not chosen then.
        needs: Other abilities that the answer needs.
        goto: The next node for each tier, as in `{"light": "quick", "standard": "usual", "heavy":
            "careful"}`: then the node returns a `Command`, and is to be added with
            `destinations=`.
        estimate_key: Where the state holds an estimate, if a node before has made one.

    Raises:
        ConfigurationError: A hold that is neither, or `goto` without a tier that the model has.
    """
    if hold not in {"turn", "step"}:
        raise refused(key="hold", wrong=f"{hold!r} is neither", right="write turn or step")
    tiers = model.stages.endpoints if goto is not None else ()
    missing = [tier.value for tier in tiers if tier not in (goto or {})]
    if missing:
        right = "name a node for every tier of the model"
        raise refused(key="goto", wrong=f"it names none for {', '.join(missing)}", right=right)
    wanted: dict[str, Any] = {"hold": hold == "turn", "needs": frozenset(needs)}
    if tools:
        wanted["tools"] = list(tools)
    node = _RoutingNode(model, messages_key, routing_key, wanted)
    node.goto, node.estimate_key = goto, estimate_key
    return node


def create_model_node(
    model: TieredChatModel,
    *,
    messages_key: str = "messages",
    routing_key: str = "routing",
    answer_key: str | None = None,
    tools: Sequence[Any] = (),
    **binding: Any,
) -> Runnable[Any, Any]:
    """A node that has the decided tier answer, with fallback and budget.

    It returns `{messages_key: [answer], routing_key: {...}}`, or `{answer_key: answer, ...}`: the
    routing as it turned out, with the tier that answered and each attempt. Without a decision in
    the state, or with one that was made under other settings, the model decides by itself.

    Args:
        model: The model, as the routing node has it.
        messages_key: Where the state holds the messages, or the prompt.
        routing_key: Where it holds the decision.
        answer_key: Where it is to hold the answer, alone and no list, in place of `messages_key`.
        tools: Tools to bind.
        binding: Other arguments of `bind_tools`, or of the call: `tool_choice`, `temperature`.
    """
    node = _ModelNode(model, messages_key, routing_key, tuple(tools), binding)
    node.answer_key = answer_key
    return node


def route_by_tier(state: Any, routing_key: str = "routing") -> TierName:
    """The decided tier, for `add_conditional_edges`.

    ```python
    builder.add_conditional_edges("route", route_by_tier, {"light": "quick", ...})
    ```

    Raises:
        KeyError: The state holds no decision: a routing node has to come before.
    """
    routing = read(state, routing_key) or {}
    tier = routing.get("decided_tier") or routing.get("tier")
    if tier is None:
        msg = f"the state holds no decision under {routing_key!r}: add create_routing_node before"
        raise KeyError(msg)
    return cast("TierName", Tier(tier).value)


class _Node(Runnable[Any, Any]):
    """A node that opens no run of its own: LangGraph's is enough."""

    def __init__(self, model: TieredChatModel, messages_key: str, routing_key: str) -> None:
        self._model, self._messages_key, self._routing_key = model, messages_key, routing_key

    def _input(self, state: Any) -> Any:
        found = read(state, self._messages_key)
        if found is None:
            msg = f"the state has nothing under {self._messages_key!r}: name its key, messages_key="
            raise KeyError(msg)
        return found


class _RoutingNode(_Node):
    goto: Mapping[str, str] | None = None
    estimate_key: str | None = None

    def __init__(
        self,
        model: TieredChatModel,
        messages_key: str,
        routing_key: str,
        wanted: dict[str, Any],
    ) -> None:
        super().__init__(model, messages_key, routing_key)
        self._wanted = wanted

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """The decision, for the state."""
        del kwargs
        wanted = self._wanted_of(input)
        return self._told(self._model.route(self._input(input), config, **wanted))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As `invoke`."""
        del kwargs
        wanted = self._wanted_of(input)
        return self._told(await self._model.aroute(self._input(input), config, **wanted))

    def _wanted_of(self, state: Any) -> dict[str, Any]:
        if self.estimate_key is None:
            return self._wanted
        return {**self._wanted, "estimate": estimate_of(read(state, self.estimate_key))}

    def _told(self, decision: RoutingDecision) -> Any:
        routing = {**decision.summary(), "decided_tier": decision.tier.value}
        tell({"tiered_llm.routing": routing})
        update = {self._routing_key: routing}
        if self.goto is None:
            return update
        return Command(update=update, goto=self.goto[decision.tier.value])


class _ModelNode(_Node):
    answer_key: str | None = None

    def __init__(
        self,
        model: TieredChatModel,
        messages_key: str,
        routing_key: str,
        tools: tuple[Any, ...],
        binding: dict[str, Any],
    ) -> None:
        super().__init__(model, messages_key, routing_key)
        self._tools, self._binding = tools, binding

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """The answer, and the routing as it turned out."""
        del kwargs
        return self._told(self._bound(input).invoke(self._input(input), config))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As `invoke`."""
        del kwargs
        return self._told(await self._bound(input).ainvoke(self._input(input), config))

    def _bound(self, state: Any) -> Runnable[Any, Any]:
        decision = decision_of(read(state, self._routing_key), self._model)
        model = self._model if decision is None else self._model.with_decision(decision)
        if self._tools:
            return model.bind_tools(self._tools, **self._binding)
        return model.bind(**self._binding) if self._binding else model

    def _told(self, answer: Any) -> dict[str, Any]:
        routing = dict(answer.response_metadata["routing"])
        if self.answer_key is not None:
            return {self.answer_key: answer, self._routing_key: routing}
        return {self._messages_key: [answer], self._routing_key: routing}


def tell(event: dict[str, Any]) -> None:
    """A custom event of the graph's stream; outside of a graph there is nobody to tell."""
    try:
        writer = get_stream_writer()
    except (RuntimeError, KeyError):
        return
    writer(event)
