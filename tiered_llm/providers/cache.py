"""A response cache that keeps the tiers apart.

langchain-core keys its cache on what a model says of itself, and ChatOllama says nothing:
with one cache for all, the light model's answer is returned for a heavy call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.caches import BaseCache
from langchain_core.globals import get_llm_cache

if TYPE_CHECKING:
    from langchain_core.caches import RETURN_VAL_TYPE
    from langchain_core.runnables import Runnable


class TierCache(BaseCache):
    """Another cache, under keys that name the tier's model and endpoint."""

    def __init__(self, inner: BaseCache, endpoint: str) -> None:
        """Wrap a cache for one endpoint."""
        self.inner, self._prefix = inner, f"{endpoint}|"

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """What the inner cache holds for this endpoint."""
        return self.inner.lookup(prompt, self._prefix + llm_string)

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Store an answer of this endpoint."""
        self.inner.update(prompt, self._prefix + llm_string, return_val)

    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """What the inner cache holds for this endpoint."""
        return await self.inner.alookup(prompt, self._prefix + llm_string)

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Store an answer of this endpoint."""
        await self.inner.aupdate(prompt, self._prefix + llm_string, return_val)

    def clear(self, **kwargs: Any) -> None:
        """Clear the whole inner cache, as its own `clear` would."""
        self.inner.clear(**kwargs)

    async def aclear(self, **kwargs: Any) -> None:
        """Clear the whole inner cache, as its own `aclear` would."""
        await self.inner.aclear(**kwargs)


def cache_in_force(
    model: Runnable[Any, Any], outer: BaseCache | bool | None
) -> BaseCache | bool | None:
    """The cache that a call to a tier's model would use.

    The outer model's setting goes first, then the tier's own; True and None stand for the
    global cache, if there is one.
    """
    chosen = outer if outer is not None else getattr(model, "cache", None)
    if chosen is None or chosen is True:
        return get_llm_cache() or chosen
    return chosen
