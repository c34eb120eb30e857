"""`tiered-llm decisions`: the latest decisions, and new ones as they come."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from tiered_llm.cli.decisions_store import (
    Store,
    Tenant,
    open_decisions,
    show_head,
    show_nothing,
)
from tiered_llm.cli.errors import ExitCode
from tiered_llm.cli.output import console, print_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.text import Text

    from tiered_llm.cli.decisions_store import OpenDecisions
    from tiered_llm.clock import Clock
    from tiered_llm.metrics import Entry, MetricsReader
    from tiered_llm.records import CallRecord

_EVERY_S = 1.0
"""Seconds between two looks at the store."""

_ID_CHARS = 8
_WAY_CHARS = len("standard → heavy")
_GAP = 2
_BELOW = len("00:00:00  ")


def decisions(  # noqa: PLR0913  # one for each option
    ctx: typer.Context,
    *,
    tenant: Tenant = None,
    limit: Annotated[int, typer.Option("--limit", min=0, max=10_000, help="How many.")] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new ones until Ctrl-C.")
    ] = False,
    store: Store = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object on each line.")] = False,
) -> None:
    """Show the latest decisions, the newest last.

    The id at the end of each line is enough for [bold]tiered-llm why[/bold]. Tenants are not shown.

    Example: [bold]tiered-llm decisions --follow[/bold]
    """
    from tiered_llm.clock import SYSTEM_CLOCK

    with open_decisions(ctx, store) as opened:
        if not as_json:
            show_head(opened, "decisions, times in UTC,", stderr=True)
        if follow:
            _insist(opened)
            kept = opened.settings.metrics.recent
            for found in followed(opened.metrics, tenant, limit, SYSTEM_CLOCK, kept):
                _show(found, as_json=as_json)
            return
        found = opened.metrics.recent(limit, tenant_id=tenant)
        _show(found, as_json=as_json)
        if not found and not as_json:
            show_nothing()


def followed(
    metrics: MetricsReader, tenant: str | None, limit: int, clock: Clock, kept: int = 10_000
) -> Iterator[tuple[Entry, ...]]:
    """The latest decisions, then for ever those that are new, each once.

    A store that goes away is told of once, and asked again until it is back.

    Args:
        metrics: Their log's reader.
        tenant: Whose; everybody's if None.
        limit: How many to begin with.
        clock: What waits between two looks.
        kept: How many the log keeps: no look can miss more.
    """
    after = _last(metrics)
    begun = metrics.recent(limit, tenant_id=tenant) if limit else ()
    yield tuple(each for each in begun if each.serial <= after)
    for found in _looks(metrics, after, clock, kept):
        yield tuple(each for each in found if tenant in {None, each.record.tenant_id})


def _looks(
    metrics: MetricsReader, after: int, clock: Clock, kept: int
) -> Iterator[tuple[Entry, ...]]:
    """What each look finds; of a store that was away from its beginning, if it begins anew."""
    from tiered_llm.metrics import DecisionLogError

    away = False
    while True:
        clock.sleep(_EVERY_S)
        try:
            if away and _last(metrics) < after:
                after = 0
            found = metrics.recent(kept, after=after)
        except DecisionLogError as error:
            if not away:
                print_error(str(error), "It is asked again every second.")
            away = True
            continue
        away = False
        after = found[-1].serial if found else after
        yield found


def _last(metrics: MetricsReader) -> int:
    latest = metrics.recent(1)
    return latest[-1].serial if latest else 0


def _insist(opened: OpenDecisions) -> None:
    """There must be something to follow: a name written wrong would be waited at for ever."""
    if opened.missing:
        hint = "Start the application that records there, or correct the URL."
        print_error(f"{opened.store}: the file does not exist", hint)
        raise typer.Exit(ExitCode.UNREACHABLE)


def _show(entries: Iterable[Entry], *, as_json: bool) -> None:
    from tiered_llm.cli.layout import width_of
    from tiered_llm.cli.why import as_dict

    out = console()
    for entry in entries:
        if as_json:
            typer.echo(json.dumps(as_dict(entry, show_tenant=False), ensure_ascii=False))
        else:
            out.print(_line(entry.record, width_of(out)), soft_wrap=True)
    out.file.flush()


def _line(record: CallRecord, width: int | None) -> Text:
    """One decision in a line: when, from where to where, how hard, how much, how long, which.

    What came of it goes on below, where the terminal has no room beside that.
    """
    from rich.text import Text

    from tiered_llm.cli.texts import in_one_line
    from tiered_llm.cli.why_view import way_of

    way = way_of(record)
    way.pad_right(max(0, _WAY_CHARS - len(way)))
    tokens = sum(each.input_tokens + each.output_tokens for each in record.attempts)
    seconds = sum(each.latency_s for each in record.attempts)
    line = Text(f"{record.at:%H:%M:%S}  ")
    line.append_text(way)
    line.append(f" {record.score:.2f} {tokens:>6,} tok {seconds:>5.2f} s")
    line.append(f"  {in_one_line(record.run_id[-_ID_CHARS:])}", style="dim")
    used = line.cell_len
    for told in _came_of(record):
        if width is not None and used + _GAP + told.cell_len > width:
            line.append("\n" + " " * (_BELOW - _GAP))
            used = _BELOW - _GAP
        line.append(" " * _GAP).append_text(told)
        used += _GAP + told.cell_len
    return line


def _came_of(record: CallRecord) -> Iterator[Text]:
    from rich.text import Text

    from tiered_llm.cli.texts import in_one_line

    faults = ", ".join(f"{e.tier.value}: {e.fault}" for e in record.attempts if e.fault)
    for told, style in ((record.task_type, ""), (faults, "yellow"), (record.error, "red")):
        if told:
            yield Text(in_one_line(told), style=style)
