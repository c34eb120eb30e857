"""Those who race: each makes calls that somebody holds to a budget of 10,000 tokens.

All of them speak to the same server, in OpenAI's protocol, with the same prompt. A call bills
600 tokens in and 400 out, so ten calls use the budget up.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI

from tiered_llm import Tier, TieredChatModel, TierSpec
from tiered_llm.budgets import BudgetExceededError, BudgetManager
from tiered_llm.budgets.ledgers.redis import RedisLedger
from tiered_llm.testing import Answer
from tiered_llm.testing.simulator import tokens

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import LLMResult

    from tiered_llm.budgets.ledger import Ledger

LIMIT, INPUT, OUTPUT = 10_000, 600, 400
MODEL = "qwen2.5:7b"

_ASKED = "Name the mean of these ratings:"
_RATINGS = (INPUT - tokens.MESSAGE_OVERHEAD_TOKENS - tokens.count(_ASKED)) // 2
PROMPT = f"{_ASKED} {','.join(itertools.islice(itertools.cycle('42531'), _RATINGS))}."
"""Digits and commas: 1.04 bytes a token, in the simulator as in many real tokenizers."""

ANSWER = Answer(text=" ".join(["word"] * OUTPUT))

PATIENCE_S = 300.0
"""A thousand at once may wait long for a connection; a call that was given up would be billed."""

Call: TypeAlias = Callable[[], Awaitable[bool]]
"""One call: whether it was let through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One process's part of a race.

    Attributes:
        contestant: Who holds the budget.
        url: The server, as OpenAI's clients are told.
        store: The ledger's URL, for the contestants that have one.
        exact: Whether the contestant knows the model's tokenizer.
        shared: A Redis for several processes to share; None for one process.
        callers: How many start at once.
        loop: Whether each calls again until it is refused.
    """

    contestant: str
    url: str
    store: str = "memory://"
    exact: bool = True
    shared: str | None = None
    callers: int = 50
    loop: bool = False


async def race(entry: Entry, ready: Callable[[], object]) -> Counter[str]:
    """Let the callers go once all processes are ready; what they heard."""
    heard: Counter[str] = Counter()
    async with CONTESTANTS[entry.contestant](entry) as call:
        ready()
        await asyncio.gather(*(_caller(entry, call, heard) for _ in range(entry.callers)))
    return heard


async def _caller(entry: Entry, call: Call, heard: Counter[str]) -> None:
    while True:
        let_through = await call()
        heard["answered" if let_through else "refused"] += 1
        if not (entry.loop and let_through):
            return


# --- tiered_llm ---


def _count(messages: Sequence[BaseMessage], _tools: Sequence[Any]) -> int:
    """Input tokens as the simulator bills them."""
    texts = [str(message.content) for message in messages]
    return sum(tokens.MESSAGE_OVERHEAD_TOKENS + tokens.count(text) for text in texts)


def _store(url: str) -> str | Ledger:
    """As the URL says; but callers wait for Redis as long as they do for the server.

    Hundreds in eight processes on two busy cores can keep an event loop for longer than the
    seconds after which a ledger refuses.
    """
    if not url.startswith("redis"):
        return url
    return RedisLedger(url, connect_timeout_s=PATIENCE_S, timeout_s=PATIENCE_S)


@asynccontextmanager
async def _tiered(entry: Entry) -> AsyncIterator[Call]:
    """`TieredChatModel(budget=BudgetManager(...))`."""
    specs = {
        tier.value: TierSpec(tier=tier, model_id=f"vllm/{MODEL}", base_url=entry.url)
        for tier in Tier
    }
    counters = {f"vllm/{MODEL}": _count} if entry.exact else {}
    budget = BudgetManager(LIMIT, LIMIT, store=_store(entry.store), tokenizers=counters)
    model: Any = TieredChatModel(**specs, budget=budget, tenant_id="acme")

    async def call() -> bool:
        try:
            await model.ainvoke(PROMPT, max_tokens=OUTPUT)
        except BudgetExceededError:
            return False
        return True

    with closing(budget.ledger):
        yield call


# --- a callback handler, as one writes it ---


class NoTokensLeftError(Exception):
    """The handler's own refusal."""


class TokenBudgetHandler(BaseCallbackHandler):
    """Checks when a model run begins, adds what it used when it ends."""

    raise_error = True
    run_inline = True

    def __init__(self, limit: int) -> None:
        """Start with nothing used."""
        self.limit, self.used = limit, 0
        self._lock = threading.Lock()

    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[BaseMessage]], **kwargs: Any
    ) -> None:
        """Refuse when the limit is used up."""
        del serialized, messages, kwargs
        with self._lock:
            if self.used >= self.limit:
                raise NoTokensLeftError

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        """Add what the server told."""
        del kwargs
        message = getattr(response.generations[0][0], "message", None)
        if isinstance(message, AIMessage) and message.usage_metadata:
            with self._lock:
                self.used += message.usage_metadata["total_tokens"]


@asynccontextmanager
async def _callback(entry: Entry) -> AsyncIterator[Call]:
    """The handler above on a `ChatOpenAI`."""
    handler = TokenBudgetHandler(LIMIT)
    made: dict[str, Any] = {"base_url": entry.url, "api_key": "none", "timeout": PATIENCE_S}
    model = ChatOpenAI(model=MODEL, callbacks=[handler], **made)

    async def call() -> bool:
        try:
            await model.ainvoke(PROMPT, max_tokens=OUTPUT)
        except NoTokensLeftError:
            return False
        return True

    yield call


# --- LiteLLM ---


@asynccontextmanager
async def _litellm(entry: Entry) -> AsyncIterator[Call]:
    """LiteLLM's `Router` with both of its budgets, the deployment's and the provider's.

    A token costs one dollar. Processes share their spending through Redis, as LiteLLM's
    documentation has it. (`litellm.max_budget` is left out: 1.83.0 adds nothing to it for chat
    completions.)
    """
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or the import fetches a price list
    import litellm

    name, prices = f"openai/{MODEL}", {"input_cost_per_token": 1.0, "output_cost_per_token": 1.0}
    litellm.register_model({name: {**prices, "litellm_provider": "openai", "mode": "chat"}})
    litellm.suppress_debug_info = True
    deployment = {"model": name, "api_base": entry.url, "api_key": "none", **prices}
    held = {"max_budget": float(LIMIT), "budget_duration": "1d"}
    place = {"litellm_params": {**deployment, **held}, "model_info": {"id": "the-one"}}
    router = litellm.Router(
        model_list=[{"model_name": MODEL, **place}],
        provider_budget_config={"openai": {"budget_limit": float(LIMIT), "time_period": "1d"}},
        redis_url=entry.shared,
        timeout=PATIENCE_S,
        num_retries=0,
        disable_cooldowns=True,
    )

    async def call() -> bool:
        asked = [{"role": "user", "content": PROMPT}]
        try:
            await router.acompletion(MODEL, asked, max_tokens=OUTPUT)
        except ValueError as error:
            if "crossed budget" not in str(error):
                raise
            return False
        return True

    try:
        yield call
    finally:
        router.reset()
        litellm.callbacks.clear()  # its budgets would hold the next race too
        await _end_others()


async def _end_others() -> None:
    """End what the router left running: its reads from Redis may take a first cancel for their own.

    (`asyncio.run` cancels once and would wait for ever.)
    """
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=0.1)


CONTESTANTS: dict[str, Callable[[Entry], AbstractAsyncContextManager[Call]]] = {
    "tiered_llm": _tiered,
    "callback": _callback,
    "LiteLLM": _litellm,
}
