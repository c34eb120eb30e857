"""One tier's model as a call finds it: built once, safe across event loops."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from langchain_core.caches import BaseCache

from tiered_llm.providers.build import build_model, tls_context
from tiered_llm.providers.cache import TierCache, cache_in_force
from tiered_llm.providers.dialects import is_ollama, is_openai
from tiered_llm.providers.wrapping import core_of, rewrapped

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
        self.address = _address(self.model) if self._ready else _address_of(spec)
        """Provider, URL and model; None where a ready model does not tell them."""
        self._cache: TierCache | None = None
        self._lock = threading.Lock()
        self._by_loop: dict[asyncio.AbstractEventLoop, Runnable[Any, Any]] = {}

    def cache(self, outer: BaseCache | bool | None) -> BaseCache | bool | None:
        """What to set as the model's `cache` for a call; None leaves it as it is."""
        chosen = cache_in_force(core_of(self.model), outer)
        if not isinstance(chosen, BaseCache):
            return chosen
        if self._cache is None or self._cache.inner is not chosen:
            self._cache = TierCache(
                chosen, f"{self.spec.tier} {self.spec.model_id} {self.spec.base_url}"
            )
        return self._cache

    def dump(self) -> dict[str, Any] | str | None:
        """Plain values to build the endpoint from again: its spec, without what is secret.

        A ready model cannot be told in plain values: it becomes a text that is no model id,
        so that reading it is an error rather than another model.
        """
        if self._ready:
            return f"a ready {type(self.model).__name__}"
        return self.spec.model_dump(mode="json", exclude={"api_key", "model_kwargs"})

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
            for other in [old for old in self._by_loop if old.is_closed()]:
                del self._by_loop[other]  # a client holds its loop: neither would ever go
            return self._by_loop.setdefault(loop, renewed(self.model))


def _address_of(spec: TierSpec) -> tuple[str, str, str]:
    return spec.provider, spec.base_url or "", spec.model_name


def _address(model: Runnable[Any, Any]) -> tuple[str, str, str] | None:
    core: Any = core_of(model)
    if is_ollama(core):
        return "ollama", core.base_url or "", core.model
    if is_openai(core):
        return "openai", core.openai_api_base or "", core.model_name
    return None


def renewed(model: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """The same model with asynchronous clients of its own, for another event loop.

    Models of other providers, and clients that the caller built, are returned as they are.
    """
    core: Any = core_of(model)
    if is_ollama(core):
        fresh = core.model_copy()
        fresh._set_clients()  # noqa: SLF001  # what its constructor does; nothing public does
    elif is_openai(core) and core.http_async_client is None:
        from openai import DefaultAsyncHttpxClient

        client = core.root_async_client.copy(
            http_client=DefaultAsyncHttpxClient(timeout=core.request_timeout, verify=tls_context())
        )
        clients = {"root_async_client": client, "async_client": client.chat.completions}
        fresh = core.model_copy(update=clients)
    else:
        return model
    return rewrapped(model, fresh)
