"""Which decision log the commands look at, and how they tell that it does not answer."""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiered_llm.cli.budget_store import default_store, is_missing, useless
from tiered_llm.cli.errors import ExitCode
from tiered_llm.cli.output import console, print_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiered_llm.budgets import BudgetManager
    from tiered_llm.metrics import ModelMetricsCollector
    from tiered_llm.settings import Settings

Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="sqlite:///path or redis://host:6379/0; as the settings say if left out.",
    ),
]
Tenant = Annotated[str | None, typer.Option("--tenant", help="One tenant; everybody without it.")]

_MEMORY = "memory://"
_FILE = "decisions.db"
_UNSET = (
    "no store is set: this is the command line's own file; set TIERED_LLM_STORE for it and for"
    " the application"
)
_MISSING = "nothing is recorded there yet: the file does not exist"
_HOW = (
    "TieredChatModel(metrics=ModelMetricsCollector.from_settings()) records every call; the"
    " process may take 0.2 s to write it."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDecisions:
    """The decisions that a command looks at.

    Attributes:
        metrics: Their reports.
        settings: What they were made of.
        store: The store's URL, without a password.
        source: Where the URL comes from: `arguments`, `environment`, a file, `default`.
        missing: Whether it is a file that does not exist, and was not made.
        notes: What a person should know of it.
    """

    metrics: ModelMetricsCollector
    settings: Settings
    store: str
    source: str
    missing: bool
    notes: tuple[str, ...]


@contextmanager
def open_decisions(ctx: typer.Context, store: str | None) -> Iterator[OpenDecisions]:
    """The decisions in the store that was named, or else set, or else the default.

    Raises:
        ConfigurationError: Wrong settings, or a store that no other process can look into.
        typer.Exit: The store cannot be read; that has been told.
    """
    from tiered_llm.metrics import ModelMetricsCollector
    from tiered_llm.settings import get_settings
    from tiered_llm.settings.masking import masked_url

    named: dict[str, Any] = {} if store is None else {"metrics": {"store": store}}
    settings = get_settings(**named)
    url, source, name = _chosen(settings)
    if url == _MEMORY:
        raise useless(source, name, _FILE)
    missing = is_missing(url)
    with _told(url, debug=bool(ctx.find_root().params.get("debug"))):
        opened = _MEMORY if missing else url
        metrics = ModelMetricsCollector.from_settings(settings, store=opened)
        notes = ((_UNSET, source == "default"), (_MISSING, missing))
        try:
            yield OpenDecisions(
                metrics=metrics,
                settings=settings,
                store=masked_url(url),
                source=source,
                missing=missing,
                notes=tuple(note for note, holds in notes if holds),
            )
        finally:
            metrics.log.close()


@contextmanager
def open_beside(decisions: OpenDecisions) -> Iterator[BudgetManager | None]:
    """The budgets of the same settings; None where no store is set that others could look into.

    Raises:
        typer.Exit: The store cannot be read; that has been told.
    """
    store = decisions.settings.store
    if store == _MEMORY or is_missing(store):
        yield None
        return
    from tiered_llm.budgets import BudgetManager, LedgerError  # slow to import

    manager = BudgetManager.from_settings(decisions.settings)
    try:
        yield manager
    except LedgerError as error:
        print_error(str(error), hint="It is the setting `store`.")
        raise typer.Exit(ExitCode.UNREACHABLE) from None
    finally:
        manager.ledger.close()


def show_head(decisions: OpenDecisions, title: str, *, stderr: bool = False) -> None:
    """What follows, from which store, and what to know of it."""
    from rich.text import Text

    out = console(stderr=stderr)
    out.print(Text(title, style="bold"), Text(f"in {decisions.store}", style="dim"), soft_wrap=True)
    for note in decisions.notes:
        out.print(Text(f"note: {note}", style="yellow"), soft_wrap=True)


def show_nothing() -> None:
    """How decisions come to be there."""
    from rich.text import Text

    console(stderr=True).print(Text(f"no decisions. {_HOW}", style="dim"), soft_wrap=True)


def _chosen(settings: Settings) -> tuple[str, str, str]:
    """The store's URL, where it comes from, and the setting's name there."""
    from tiered_llm.metrics.opening import store_of

    origins = {origin.key: origin for origin in settings.origins()}
    own, shared = origins["metrics.store"], origins["store"]
    origin = shared if settings.metrics.store is None else own
    if origin.source == "default":
        return default_store(_FILE), "default", origin.name
    return store_of(settings), origin.source, origin.name


@contextmanager
def _told(url: str, *, debug: bool) -> Iterator[None]:
    """A store that does not answer, in a line and an exit code."""
    from tiered_llm.metrics import DecisionLogError

    try:
        yield
    except DecisionLogError as error:
        if debug:
            typer.echo(traceback.format_exc(), err=True)
        print_error(str(error), hint=_hint(url))
        raise typer.Exit(ExitCode.UNREACHABLE) from None


def _hint(url: str) -> str:
    """What to do; where a file of budgets was named, that decisions lie beside it."""
    from tiered_llm.metrics.opening import beside

    if url.startswith("sqlite:") and not is_missing(beside(url)):
        return f"Decisions lie beside the budgets: --store {beside(url)}"
    return "--store names another store; --debug shows the traceback."
