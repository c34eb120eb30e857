"""What the laws of ledgers are tried with: a clock set by hand, asks, names, a script."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tiered_llm.budgets.ledger import Ask, Line

DAY_S = 86_400.0
CROWD = 50
ACCOUNT = "tenant/daily/tokens"

HOSTILE_NAMES = (
    "",
    " ",
    "a",
    "A",
    "a ",
    "a\0",
    "a\0b",
    "a\nb",
    "a\r\nb",
    "'; DROP TABLE accounts; --",
    '"a"',
    "a:b",
    "a/b",
    "a%3Ab",
    "a|b",
    "{a}",
    "{a}b",
    "[1]",
    "*",
    "a?",
    "é",
    "e\u0301",
    "ﬁ",
    "fi",
    "税",
    "👩‍👩‍👧‍👦",
    "\u202ea",
    "\ud800",
    "0",
    "00",
    "None",
    "__proto__",
    "x" * 10_000,
    "x" * 9_999 + "y",
)
"""Names that have been taken for one another, or for something else."""

TELESCOPED = (("a:b", "c"), ("a", "b:c"), ("a/b", "c"), ("a", "b/c"), ("a\0b", "c"), ("a", "b\0c"))
"""Groups and accounts that are alike once they are joined."""


class HandSetClock:
    """A clock that stands still until it is set; waiting for it moves it."""

    def __init__(self, now_s: float = 0.0) -> None:
        """Set it to seconds since the epoch."""
        self.now_s = now_s

    def now(self) -> datetime:
        """The time it is set to."""
        return datetime.fromtimestamp(self.now_s, UTC)

    def monotonic_s(self) -> float:
        """The same in seconds."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Move it."""
        self.now_s += seconds

    async def asleep(self, seconds: float) -> None:
        """Move it."""
        self.now_s += seconds


def line(account: str = ACCOUNT, limit: int | None = 1_000, **more: Any) -> Line:
    """A line of one part for each token in the first day's window, unless told otherwise."""
    parts: dict[str, Any] = {
        "starts_s": 0.0,
        "ends_s": DAY_S,
        "fixed": 0,
        "per_token": 1,
        "limit_name": account,
    }
    return Line(account=account, limit=limit, **(parts | more))


def ask(lease: str, *lines: Line, group: str = "payer", **more: Any) -> Ask:
    """A wish for 10 to 100 tokens within a minute, unless told otherwise."""
    parts: dict[str, Any] = {"least": 10, "most": 100, "ttl_s": 60.0}
    return Ask(group=group, lease=lease, lines=lines or (line(),), **(parts | more))


TIGHT = line(limit=300, fixed=10)
SCRIPT: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("reserve", ("1",)),
    ("reserve", ("1",)),
    ("reserve", ("2",)),
    ("reserve", ("3",)),
    ("reserve", ("4",)),
    ("balances", ((ACCOUNT, "none"),)),
    ("settle", ("1", (170,))),
    ("settle", ("1", (170,))),
    ("void", ("2",)),
    ("orphan", ("3",)),
    ("orphan", ("nobody",)),
    ("orphan", ("nobody", (1,))),
    ("settle", ("3", (1,))),
    ("record", ("r", (9,))),
    ("record", ("r", (9,))),
    ("set_limit", (ACCOUNT, 400)),
    ("limits", ()),
    ("reserve", ("5",)),
    ("alerts", ()),
    ("alerts", (1,)),
    ("balances", ((ACCOUNT,),)),
    ("set_limit", (ACCOUNT, None)),
    ("limits", ()),
)
"""A method's name, and what it takes after the group."""
