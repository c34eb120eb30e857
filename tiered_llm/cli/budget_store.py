"""Which store the budget commands look at, and how they tell that it does not answer."""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

import typer

from tiered_llm.cli.errors import ExitCode
from tiered_llm.cli.output import print_error
from tiered_llm.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiered_llm.budgets import BudgetManager
    from tiered_llm.settings import Settings

_MEMORY = "memory://"
_DIRECTORY = "tiered-llm"
_FILE = "budgets.db"
_UNSET = (
    "no store is set: this is the command line's own file, and an application counts in its"
    " memory; set TIERED_LLM_STORE for both"
)
_MISSING = "nothing is kept there yet: the file does not exist"
_ELSEWHERE = "--store names another store; --debug shows the traceback."
_OF_LOST_REDIS = (
    "Find out what was spent: it may be spent twice. `tiered-llm budget reconcile --accept-loss`"
    " takes a Redis that was emptied back into service."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBudgets:
    """The budgets that a command looks at.

    Attributes:
        manager: The budgets, over the store.
        settings: What they were made of.
        store: The store's URL, without a password.
        source: Where the URL comes from: `arguments`, `environment`, a file, `default`.
        missing: Whether it is a file that does not exist, and was not made.
        notes: What a person should know of it.
    """

    manager: BudgetManager
    settings: Settings
    store: str
    source: str
    missing: bool
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """What every command's JSON begins with."""
        return {"store": self.store, "store_source": self.source, "notes": list(self.notes)}


@contextmanager
def open_budgets(
    ctx: typer.Context, store: str | None, *, writes: bool = False
) -> Iterator[OpenBudgets]:
    """The budgets of the settings in the store that was named, or else set, or else the default.

    A file that does not exist is made only by a command that writes.

    Raises:
        ConfigurationError: Wrong settings, or a store that no other process can look into.
        typer.Exit: The store cannot be reached, or has lost what it held; that has been told.
    """
    from tiered_llm.budgets import BudgetManager
    from tiered_llm.settings import get_settings
    from tiered_llm.settings.masking import masked_url

    settings = get_settings(**({} if store is None else {"store": store}))
    origin = next(origin for origin in settings.origins() if origin.key == "store")
    url = default_store() if origin.source == "default" else settings.store
    if url == _MEMORY:
        raise useless(origin.source, origin.name)
    missing = not writes and is_missing(url)
    with _told(url, debug=bool(ctx.find_root().params.get("debug"))):
        manager = BudgetManager.from_settings(settings, store=_MEMORY if missing else url)
        try:
            yield OpenBudgets(
                manager=manager,
                settings=settings,
                store=masked_url(url),
                source=origin.source,
                missing=missing,
                notes=(
                    *((_UNSET,) if origin.source == "default" else ()),
                    *((_MISSING,) if missing else ()),
                ),
            )
        finally:
            manager.ledger.close()


def default_store(file: str = _FILE) -> str:
    """A file in the platform's data directory, as a URL."""
    from platformdirs import user_data_path

    path = user_data_path(_DIRECTORY, appauthor=False) / file
    return f"sqlite:///{quote(path.as_posix(), safe='/:')}"


def is_missing(url: str) -> bool:
    """Whether it is a file that is not there; of one that cannot be seen the ledger tells why."""
    parts = urlsplit(url)
    if parts.scheme != "sqlite":
        return False
    try:
        Path(unquote(parts.path[1:])).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def useless(source: str, name: str, file: str = _FILE) -> ConfigurationError:
    """A store that a command cannot look into."""
    wrong = f"{_MEMORY} is the memory of one process, which no other can look into"
    right = f"name the store that the application counts in: sqlite:///{file} or redis://host"
    return ConfigurationError([Problem(source=source, key=name, wrong=wrong, right=right)])


@contextmanager
def _told(url: str, *, debug: bool) -> Iterator[None]:
    """A store that does not answer, or not as it should, in a line and an exit code."""
    from tiered_llm.budgets import LedgerError, LedgerLostError

    try:
        yield
    except LedgerError as error:
        if debug:
            typer.echo(traceback.format_exc(), err=True)
        lost = isinstance(error, LedgerLostError) and url.startswith("redis")
        print_error(str(error), hint=_OF_LOST_REDIS if lost else _ELSEWHERE)
        raise typer.Exit(ExitCode.UNREACHABLE) from None
