"""`TieredBudgetMiddleware`: an agent held to a budget, which may end with words at its limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import ExtendedModelResponse, ModelResponse
from langchain_core.messages import AIMessage
from langgraph.types import Command

from tiered_llm.agents.copies import Copies
from tiered_llm.agents.paying import with_handler
from tiered_llm.agents.refusing import refused
from tiered_llm.budgets import BudgetExceededError, BudgetManager
from tiered_llm.chat_model import TieredChatModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from langchain.agents.middleware.types import ModelRequest

OnExceeded: TypeAlias = Literal["error", "end"]

MESSAGE = "I have to stop here: the token budget is used up. It resets at {resets_at}."
"""What an agent says in place of an answer; `{resets_at}` is when the window ends."""


class TieredBudgetMiddleware(AgentMiddleware[Any, Any, Any]):
    """Holds an agent's model calls to a budget.

    ```python
    held = TieredBudgetMiddleware(budget, on_exceeded="end")
    agent = create_agent(model, tools, middleware=[held])
    ```

    A `TieredChatModel` that has a budget of its own is left with it; one without, and any other
    LangChain model, is held to this one. The tenant is the one of the call's context. Budgets that
    ask a human, and every other interrupt, pass through.
    """

    def __init__(
        self,
        budget: BudgetManager | None = None,
        *,
        on_exceeded: OnExceeded = "error",
        message: str = MESSAGE,
    ) -> None:
        """Take the choices.

        Args:
            budget: Who holds; None where the agent's model has a budget of its own.
            on_exceeded: `error` raises `BudgetExceededError`; `end` ends the agent's turn with a
                last message in place of an answer.
            message: What that message says.

        Raises:
            ConfigurationError: `on_exceeded` is neither, or the message has other places to fill.
        """
        super().__init__()
        if on_exceeded not in {"error", "end"}:
            raise refused(
                key="on_exceeded", wrong=f"{on_exceeded!r} is neither", right="write error or end"
            )
        try:
            message.format(resets_at="")
        except (KeyError, IndexError, ValueError) as error:
            wrong = f"it has a place that nothing fills ({type(error).__name__})"
            raise refused(
                key="message", wrong=wrong, right="{resets_at} is the one there is"
            ) from error
        self._budget, self._ends, self._message = budget, on_exceeded == "end", message
        self._held = Copies()

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> Any:
        """Have the step paid."""
        try:
            return handler(self._paid(request))
        except BudgetExceededError as refusal:
            if not self._ends:
                raise
            return self._last_words(refusal)

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> Any:
        """As `wrap_model_call`."""
        try:
            return await handler(self._paid(request))
        except BudgetExceededError as refusal:
            if not self._ends:
                raise
            return self._last_words(refusal)

    # --- inside ---

    def _paid(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        model, budget = request.model, self._budget
        if budget is None or (isinstance(model, TieredChatModel) and model.budget is not None):
            return request
        if isinstance(model, TieredChatModel):
            return request.override(model=self._held.of(model, budget=budget))
        return request.override(model=with_handler(model, budget))

    def _last_words(self, refusal: BudgetExceededError) -> ExtendedModelResponse[Any]:
        said = self._message.format(resets_at=f"{refusal.resets_at:%Y-%m-%d %H:%M %Z}")
        metadata = {"budget_exceeded": f"{refusal.rule}/{refusal.period}"}
        last = ModelResponse(result=[AIMessage(content=said, response_metadata=metadata)])
        # without the jump, an agent that owes a structured answer would ask again and again
        away: Command[Any] = Command(update={"jump_to": "end"})
        return ExtendedModelResponse(model_response=last, command=away)
