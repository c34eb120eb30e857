"""A store's URL → a decision log; what a log needs is imported when it is opened."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from tiered_llm.errors import ConfigurationError, Problem
from tiered_llm.metrics.logs.memory import MemoryLog
from tiered_llm.settings.store_url import checked_store_url

if TYPE_CHECKING:
    from tiered_llm.clock import Clock
    from tiered_llm.metrics.log import DecisionLog, Retention
    from tiered_llm.settings import Settings


_SQLITE = "sqlite:///"


def store_of(settings: Settings) -> str:
    """Where an application with these settings records: their `metrics.store`, or beside `store`.

    Budgets and decisions may share a Redis; each has a SQLite file of its own, so that a batch of
    decisions never makes a reservation wait.
    """
    if settings.metrics.store is not None:
        return settings.metrics.store
    return beside(settings.store)


def beside(url: str) -> str:
    """The decisions' store that goes with a budgets' store."""
    if not url.startswith(_SQLITE):
        return url
    path = PurePosixPath(url.removeprefix(_SQLITE))
    return f"{_SQLITE}{path.with_name(f'{path.stem}-decisions{path.suffix}')}"


def open_log(url: str, clock: Clock, retention: Retention) -> DecisionLog:
    """The log behind a URL: `memory://`, `sqlite:///path`, `redis://host:6379/0`.

    Nothing is connected or opened yet: a store that is away must not keep a program from
    starting.

    Raises:
        ConfigurationError: Not such a URL, or what it needs is not installed.
    """
    try:
        checked_store_url(url)
    except ValueError as error:
        problem = Problem(source="arguments", key="store", wrong=str(error), right="see store")
        raise ConfigurationError([problem]) from error
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return MemoryLog(clock, retention)
    if parts.scheme == "sqlite":
        from tiered_llm.metrics.logs.sqlite import SqliteLog

        return SqliteLog(unquote(parts.path[1:]), clock, retention)
    from tiered_llm.metrics.logs.redis import RedisLog

    return RedisLog(url, clock, retention)
