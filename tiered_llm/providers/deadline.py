"""The time that a call has left, where a client's own timeout is fixed when it is made.

ChatOpenAI takes a timeout with each call. ChatOllama does not: the synchronous clients built
here look it up instead. What runs on an event loop is held to its deadline by the loop.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

_left_s: ContextVar[float | None] = ContextVar("tiered_llm_left_s", default=None)


@contextmanager
def time_left(seconds: float | None) -> Iterator[None]:
    """Bound each wait of the requests sent inside; None leaves them as they are."""
    token = _left_s.set(seconds)
    try:
        yield
    finally:
        _left_s.reset(token)


def hold_to_deadline(request: httpx.Request) -> None:
    """Shorten a request's timeouts to the time left; an event hook of httpx."""
    left_s = _left_s.get()
    if left_s is not None:
        limits = request.extensions.get("timeout") or {}
        request.extensions["timeout"] = {
            wait: left_s if (limit := limits.get(wait)) is None else min(limit, left_s)
            for wait in ("connect", "read", "write", "pool")
        }
