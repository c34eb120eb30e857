"""`TieredRoutingMiddleware`: each step of a `create_agent` agent decided, shown, and kept to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, TypeAlias

from langchain.agents.middleware import AgentMiddleware, AgentState
from langchain.agents.middleware.types import ExtendedModelResponse, OmitFromInput
from langchain_core.messages import AIMessage
from langgraph.types import Command

from tiered_llm.agents.copies import Copies
from tiered_llm.agents.paying import budget_of
from tiered_llm.agents.refusing import refused
from tiered_llm.agents.structured import AnswerTools, needed, told_wrong
from tiered_llm.chat_model import TieredChatModel
from tiered_llm.chat_model.context import inherited
from tiered_llm.fallback import BoundTools
from tiered_llm.types import AgentSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from langchain.agents.middleware.types import ModelRequest, ModelResponse, ToolCallRequest
    from langchain_core.messages import BaseMessage, ToolMessage

    from tiered_llm.types import RoutingDecision

Hold: TypeAlias = Literal["turn", "step"]


class RoutingState(AgentState[Any]):
    """An agent's state, with the last decision in it as plain values."""

    routing: NotRequired[Annotated[dict[str, Any], OmitFromInput]]


class TieredRoutingMiddleware(AgentMiddleware[RoutingState, Any, Any]):
    """Decides which tier answers each step, and writes the decision to `state["routing"]`.

    ```python
    agent = create_agent(model, tools, middleware=[TieredRoutingMiddleware(hold="step")])
    agent.invoke({"messages": [...]})["routing"]["tier"]
    ```

    The agent's model, or the one given here, is a `TieredChatModel`; the decision is made by its
    rules and kept to by its own fallback, budget and records. In the list it belongs before
    `ModelFallbackMiddleware` and `ModelRetryMiddleware`, which then ask for the decided tier
    again, and after whatever changes the messages around a model call: what is routed is then
    what is sent.

    Attributes:
        state_schema: The agent's state, with `routing`.
    """

    state_schema = RoutingState

    def __init__(
        self,
        model: TieredChatModel | None = None,
        *,
        hold: Hold = "turn",
        spec: AgentSpec | Mapping[str, Any] | None = None,
    ) -> None:
        """Take the choices.

        Args:
            model: Whose tiers to route over; the agent's own model if left out.
            hold: `turn` keeps the tier that began a turn until its answer, unless the request no
                longer fits or steps fail; `step` decides each step anew.
            spec: The agent's capabilities, criticality and bounds; agents that it calls as tools
                stay within them.

        Raises:
            ConfigurationError: A hold that is neither, or a malformed spec.
        """
        super().__init__()
        if hold not in {"turn", "step"}:
            raise refused(key="hold", wrong=f"{hold!r} is neither", right="write turn or step")
        try:
            self._spec = AgentSpec.parse(spec)
        except (ValueError, TypeError) as error:
            raise refused(key="spec", wrong=str(error), right="see AgentSpec") from error
        own = None if model is None else model.agent_spec
        self._bounds = own if self._spec is None else self._spec.within(own)
        self._model, self._holds = model, hold == "turn"
        self._tools: BoundTools | None = None
        self._answers = AnswerTools()
        self._own = Copies()

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ExtendedModelResponse[Any]:
        """Decide the step, and have it answered by the decided tier."""
        model = self._tiered(request)
        decision = model.route(self._asked(request), **self._wanted(request, model))
        response = handler(request.override(model=model.with_decision(decision)))
        return _told(response, decision)

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ExtendedModelResponse[Any]:
        """As `wrap_model_call`."""
        model = self._tiered(request)
        decision = await model.aroute(self._asked(request), **self._wanted(request, model))
        response = await handler(request.override(model=model.with_decision(decision)))
        return _told(response, decision)

    def wrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]],
    ) -> ToolMessage | Command[Any]:
        """Run a tool within the agent's bounds: it may be an agent of its own."""
        if self._bounds is None:
            return handler(request)
        with inherited(self._bounds):
            return handler(request)

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """As `wrap_tool_call`."""
        if self._bounds is None:
            return await handler(request)
        with inherited(self._bounds):
            return await handler(request)

    # --- inside ---

    def _tiered(self, request: ModelRequest[Any]) -> TieredChatModel:
        """The model to route over, with the agent's spec and who pays for the agent's model."""
        given = self._model or request.model
        if not isinstance(given, TieredChatModel):
            wrong = f"the agent's model is a {type(given).__name__}"
            right = "give create_agent a TieredChatModel, or this middleware one as model="
            raise refused(key="model", wrong=wrong, right=right)
        changed: dict[str, Any] = {}
        if self._spec is not None:
            changed["agent_spec"] = self._spec.within(given.agent_spec)
        if given.budget is None and (budget := budget_of(request.model)) is not None:
            changed["budget"] = budget
        return self._own.of(given, **changed) if changed else given

    def _asked(self, request: ModelRequest[Any]) -> list[BaseMessage]:
        """The messages as they are sent, and which answers in a schema were wrong."""
        system = [] if request.system_message is None else [request.system_message]
        names = self._answers.of(request.response_format)
        messages = told_wrong(request.messages, names) if names else request.messages
        return [*system, *messages]

    def _wanted(self, request: ModelRequest[Any], model: TieredChatModel) -> dict[str, Any]:
        needs = needed(request.response_format, model)
        wanted = {**request.model_settings, "hold": self._holds, "needs": needs}
        if request.tools:
            wanted["tools"] = self._formatted(request.tools)
        return wanted

    def _formatted(self, tools: list[Any]) -> BoundTools:
        """An agent's tools, formatted once: for the decision their size alone counts."""
        known = self._tools
        if known is None or not _same(known.originals, tools):
            known = self._tools = BoundTools(tools)
        return known


def _same(some: list[Any], others: list[Any]) -> bool:
    return len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))


def _told(response: Any, decision: RoutingDecision) -> ExtendedModelResponse[Any]:
    """The answer, with the routing for the state: as it turned out, else as it was decided.

    No tier has answered where another middleware did in its place; there are no `attempts` then.
    """
    command: Command[Any] | None = None
    if isinstance(response, ExtendedModelResponse):
        response, command = response.model_response, response.command
    answers = response.result if not isinstance(response, AIMessage) else [response]
    signed = (m.response_metadata.get("routing") for m in answers if isinstance(m, AIMessage))
    decided = {**decision.summary(), "decided_tier": decision.tier.value}
    routing = next((each for each in signed if each), decided)
    update = {**_update_of(command), "routing": dict(routing)}
    told: Command[Any] = Command(update=update)
    return ExtendedModelResponse(model_response=response, command=told)


def _update_of(command: Command[Any] | None) -> dict[str, Any]:
    update = getattr(command, "update", None)
    return dict(update) if isinstance(update, dict) else {}


__all__ = ["RoutingState", "TieredRoutingMiddleware"]
