"""A span made current for a moment, and only where it is certain to be let go again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import context, trace

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Span


class Current:
    """Makes a span the current one inside of a `with`; never to be held across a `yield`."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        """Change nothing yet."""
        self._span = span
        self._token: Token[Context] | None = None

    def __enter__(self) -> None:
        """From here on new spans are its children, and events its own."""
        self._token = context.attach(trace.set_span_in_context(self._span))

    def __exit__(self, *_: object) -> None:
        """What was current before is so again.

        A coroutine that is thrown away ends in whatever context collects it; there is nothing
        to take back there.
        """
        if self._token is not None and trace.get_current_span() is self._span:
            context.detach(self._token)
