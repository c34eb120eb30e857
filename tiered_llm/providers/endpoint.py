"""One tier's model as a call finds it: built once, safe across event loops."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from langchain_core.caches import BaseCache

from tiered_llm.providers.build import build_model, tls_context
from tiered_llm.providers.cache import TierCache, cache_in_force
from tiered_llm.providers.dialects import is_ollama, is_openai

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

    from tiered_llm.tiers import TierSpec


class Endpoint:
    """A tier's spec and its model.

    The asynchronous clients of ChatOpenAI and ChatOllama are bound to the event loop that
    first used them: on another loop, or after a second `asyncio.run`, they raise what looks
    like a dead server. Each loop therefore gets clients of its own.

    Safe to use from many threads and loops.
    """

    def __init__(self, spec: TierSpec, model: Runnable[Any, Any] | None = None) -> None:
        """Take a ready model, or build the spec's one.

        Raises:
            ConfigurationError: The spec cannot be built.
        """
        self.spec = spec
        self.model: Runnable[Any, Any] = model if model is not None else build_model(spec)
        self._ready = model is not None
        self._cache: TierCache | None = None
        self._lock = threading.Lock()
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Runnable[Any, Any]] = (
            WeakKeyDictionary()
        )

    def cache(self, outer: BaseCache | bool | None) -> BaseCache | bool | None:
        """What to set as the model's `cache` for a call; None leaves it as it is."""
        chosen = cache_in_force(self.model, outer)
        if not isinstance(chosen, BaseCache):
            return chosen
        if self._cache is None or self._cache.inner is not chosen:
            self._cache = TierCache(
                chosen, f"{self.spec.tier} {self.spec.model_id} {self.spec.base_url}"
            )
        return self._cache

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the spec where the model was built from it: clients do not travel."""
        return type(self), (self.spec, self.model if self._ready else None)

    def __deepcopy__(self, memo: dict[int, Any]) -> Endpoint:
        """A copy shares the endpoint, as it would share the server."""
        return self

    def async_model(self) -> Runnable[Any, Any]:
        """The model for the running event loop."""
        loop = asyncio.get_running_loop()
        found = self._by_loop.get(loop)
        if found is not None:
            return found
        with self._lock:
            return self._by_loop.setdefault(loop, renewed(self.model))


def renewed(model: Any) -> Runnable[Any, Any]:
    """The same model with asynchronous clients of its own, for another event loop.

    Models of other providers, and clients that the caller built, are returned as they are.
    """
    fresh: Runnable[Any, Any] = model
    if is_ollama(model):
        fresh = type(model)(**{name: getattr(model, name) for name in model.model_fields_set})
    elif is_openai(model) and model.http_async_client is None:
        from openai import DefaultAsyncHttpxClient

        client = model.root_async_client.copy(
            http_client=DefaultAsyncHttpxClient(timeout=model.request_timeout, verify=tls_context())
        )
        clients = {"root_async_client": client, "async_client": client.chat.completions}
        fresh = model.model_copy(update=clients)
    return fresh
