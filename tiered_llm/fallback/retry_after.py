"""How long a server asks its client to stay away."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from tiered_llm.providers.billing import links

if TYPE_CHECKING:
    from datetime import datetime


def retry_after_s(
    error: BaseException, now: datetime, handled: BaseException | None = None
) -> float | None:
    """Seconds of the `Retry-After` behind an error; None where the server asked nothing.

    ChatOllama's errors have lost their response, but the transport's error, which has it,
    is still their context.
    """
    for link in links(error, handled):
        headers = getattr(getattr(link, "response", None), "headers", None)
        if headers is not None:
            return _read(headers, now)
    return None


def _read(headers: Any, now: datetime) -> float | None:
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    if text is None:
        return None
    seconds = _number(text)
    return _until(text, now) if seconds is None else seconds


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return max(0.0, value) if math.isfinite(value) else None


def _until(text: str, now: datetime) -> float | None:
    """Seconds until an HTTP date; a date without a zone is taken for UTC, as HTTP has it."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=now.tzinfo)
    try:
        return max(0.0, (date - now).total_seconds())
    except OverflowError:  # a zone that no clock has
        return None
