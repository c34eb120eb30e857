"""A store's URL → a ledger; what a ledger needs is imported when it is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from tiered_llm.budgets.ledgers.memory import MemoryLedger
from tiered_llm.errors import ConfigurationError, Problem
from tiered_llm.settings.store_url import checked_store_url

if TYPE_CHECKING:
    from tiered_llm.budgets.ledger import Ledger
    from tiered_llm.clock import Clock


def open_ledger(url: str, clock: Clock) -> Ledger:
    """The ledger behind a URL: `memory://`, `sqlite:///path`, `redis://host:6379/0`.

    Raises:
        ConfigurationError: Not such a URL, or what it needs is not installed.
        LedgerError: The store cannot be reached.
    """
    try:
        checked_store_url(url)
    except ValueError as error:
        problem = Problem(source="arguments", key="store", wrong=str(error), right="see store")
        raise ConfigurationError([problem]) from error
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return MemoryLedger(clock)
    if parts.scheme == "sqlite":
        from tiered_llm.budgets.ledgers.sqlite import SqliteLedger

        return SqliteLedger(unquote(parts.path[1:]), clock)
    from tiered_llm.budgets.ledgers.redis import RedisLedger

    return RedisLedger(url)
