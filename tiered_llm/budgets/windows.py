"""Calendar windows in a tenant's time zone: days of 21 to 27 hours, months, and the odd gap."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import tzinfo
    from zoneinfo import ZoneInfo

Period = Literal["daily", "monthly"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One day or month.

    Attributes:
        period: `daily` or `monthly`.
        key: Its name on the calendar: `2026-11-23`, `2026-11`.
        starts_s: Its first instant, in seconds since the epoch.
        ends_s: The first instant after it.
    """

    period: Period
    key: str
    starts_s: float
    ends_s: float


class Calendar:
    """Remembers the present window of each zone: most calls fall into the same one."""

    def __init__(self) -> None:
        """Know no window yet."""
        self._present: dict[tuple[Period, str], Window] = {}

    def window_at(self, period: Period, now_s: float, zone: ZoneInfo) -> Window:
        """The day or month to which an instant belongs in a time zone."""
        key = (period, zone.key)
        window = self._present.get(key)
        if window is None or not window.starts_s <= now_s < window.ends_s:
            window = self._present[key] = window_at(period, now_s, zone)
        return window


def window_at(period: Period, now_s: float, zone: tzinfo) -> Window:
    """The day or month to which an instant belongs in a time zone."""
    today = datetime.fromtimestamp(now_s, zone).date()
    if period == "daily":
        return _window(period, today.isoformat(), today, today + timedelta(days=1), zone)
    first = today.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return _window(period, f"{first:%Y-%m}", first, following, zone)


def _window(period: Period, key: str, first: date, following: date, zone: tzinfo) -> Window:
    return Window(
        period=period, key=key, starts_s=_begin_s(first, zone), ends_s=_begin_s(following, zone)
    )


def _begin_s(day: date, zone: tzinfo) -> float:
    """A day's first instant; a midnight that the clocks skip is the instant of the skip."""
    return datetime.combine(day, time.min, zone).timestamp()
