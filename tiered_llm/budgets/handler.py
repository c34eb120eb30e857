"""Budgets on any LangChain model or chain: a callback handler that reserves and settles."""

from __future__ import annotations

import logging
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage

from tiered_llm.budgets.errors import LedgerError
from tiered_llm.budgets.plan import Payer
from tiered_llm.providers.billing import usage_of, was_refused
from tiered_llm.tiers import Tier, TierSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import LLMResult

    from tiered_llm.budgets.manager import BudgetManager
    from tiered_llm.budgets.reservation import Reservation

_log = logging.getLogger("tiered_llm.budgets")

_LONGEST_ANSWER = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")
"""What models call it in their invocation parameters."""

_FORMATS = ("response_format", "format")


class BudgetCallbackHandler(BaseCallbackHandler):
    """Holds a foreign chat model, or a chain of them, to a tenant's budget.

    ```python
    chain.invoke(question, {"callbacks": [BudgetCallbackHandler(budget, tenant_id="acme")]})
    ```

    Put it before other handlers: those before it see a start and no end where it refuses.
    (Where configs are merged, around a bound model in a chain, LangChain forgets the order.)
    It cannot shorten what is sent, so a call is made only if there is room for all of its
    `max_tokens`, or for the manager's `output_bound` where it names none; an answer that is
    longer all the same is charged as an overrun. A cancelled `ainvoke` tells no handler: what
    was reserved for it stays charged, as an orphan, when its lease ends.

    A `TieredChatModel` takes the manager itself (`budget=`), and needs no handler.
    """

    raise_error = True
    run_inline = True

    def __init__(
        self,
        manager: BudgetManager,
        tenant_id: str | None = None,
        *,
        user_id: str | None = None,
        agent: str | None = None,
        tier: TierSpec | Tier | str = Tier.LIGHT,
    ) -> None:
        """Say who pays, and by which tier's weight and price."""
        self._manager, self._spec = manager, manager.spec_of(tier)
        self._is_named = isinstance(tier, TierSpec)
        self._payer = Payer(
            tenant_id=None if tenant_id is None else str(tenant_id), user_id=user_id, agent=agent
        )
        self._held: dict[UUID, tuple[Reservation, BaseException | None]] = {}
        self._lock = threading.RLock()  # a garbage-collected stream may end within a call

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        **kwargs: Any,
    ) -> None:
        """Reserve.

        Raises:
            BudgetExceededError: There is no room for the call; it is not made.
            LedgerError: The store cannot be reached, or has lost what it held.
        """
        del serialized
        self._reserve(run_id, messages[0], kwargs.get("invocation_params") or {})

    def on_llm_start(
        self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Reserve for a model that takes plain text; raises as `on_chat_model_start` does."""
        del serialized
        messages = [HumanMessage(prompt) for prompt in prompts]
        self._reserve(run_id, messages, kwargs.get("invocation_params") or {})

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Settle by what the model told; leave it charged where it told nothing."""
        del kwargs
        held, _ = self._take(run_id)
        if held is None:
            return
        usage = usage_of(response)
        with _kept_from_the_caller():
            if usage is None:
                held.orphan()
            else:
                held.settle(*usage)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Free what certainly cost nothing; leave the rest charged."""
        del kwargs
        held, handled = self._take(run_id)
        if held is None:
            return
        with _kept_from_the_caller():
            if was_refused(error, handled):
                held.void()
            else:
                held.orphan()

    def _reserve(self, run_id: UUID, messages: list[Any], parameters: dict[str, Any]) -> None:
        asked = [parameters.get(name) for name in _LONGEST_ANSWER]
        wanted = next((n for n in asked if isinstance(n, int) and n > 0), None)
        most = wanted or self._manager.output_bound
        spec = self._asked(parameters)
        described = [*(parameters.get("tools") or []), *(parameters.get("functions") or [])]
        described += [parameters[name] for name in _FORMATS if parameters.get(name)]
        bound = self._manager.input_bound(spec, messages, described)
        held = self._manager.reserve(self._payer, spec, bound, most, least=most)
        with self._lock:
            self._held[run_id] = held, sys.exception()  # the caller's own: no part of the run

    def _asked(self, parameters: dict[str, Any]) -> TierSpec:
        """The model that is asked: of a tier no more than weight and price are meant."""
        if self._is_named:
            return self._spec
        named = parameters.get("model") or parameters.get("model_name") or "model"
        return self._spec.model_copy(update={"model_id": f"foreign/{named}"})

    def _take(self, run_id: UUID) -> tuple[Reservation | None, BaseException | None]:
        with self._lock:
            return self._held.pop(run_id, (None, None))


@contextmanager
def _kept_from_the_caller() -> Iterator[None]:
    """An end that the store cannot be told must not cost the answer; it stays charged."""
    try:
        yield
    except LedgerError as error:
        _log.warning("the end of a call could not be recorded and stays charged: %s", error)
    except Exception as error:  # noqa: BLE001  # nor must anything else
        kind = type(error).__name__
        _log.warning("the end of a call could not be recorded and stays charged: %s", kind)
