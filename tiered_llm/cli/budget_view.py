"""Budgets on the terminal: amounts, bars, colours, aligned columns."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from tiered_llm.cli.explain import bar
from tiered_llm.cli.output import console
from tiered_llm.cli.texts import in_one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiered_llm.cli.budget_store import OpenBudgets
    from tiered_llm.cli.budget_windows import WindowRow

_BAR = 16
_STYLES = ((Decimal("0.95"), "red"), (Decimal("0.80"), "yellow"), (Decimal(0), "green"))
_HEAD = ("budget", "", "", "used", "reserved", "uncertain", "limit", "left", "", "resets at")
_RIGHT = {2, 3, 4, 5, 6, 7}


def amount(value: Decimal | None) -> str:
    """An amount with separators and no needless zeros; `none` for none."""
    if value is None:
        return "none"
    return f"{value.normalize():,f}" if value else "0"


def style_of(share: Decimal | None) -> str:
    """Green, yellow from 80 %, red from 95 %."""
    if share is None:
        return "dim"
    return next(style for least, style in _STYLES if share >= least)


def percent(share: Decimal | None) -> str:
    """Rounded down: 100 % is said of nothing that has room."""
    return "" if share is None else f"{int(share * 100)} %"


def show_head(budgets: OpenBudgets, whose: str, *, stderr: bool = False) -> None:
    """Whose budgets these are, in which store, and what to know of it."""
    from rich.text import Text

    out = console(stderr=stderr)
    out.print(Text(whose, style="bold"), Text(f"in {budgets.store}", style="dim"), soft_wrap=True)
    for note in budgets.notes:
        out.print(Text(f"note: {note}", style="yellow"), soft_wrap=True)


def show_rows(rows: Sequence[WindowRow]) -> None:
    """A line for each window."""
    from rich.text import Text

    out = console()
    table = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(_HEAD))]
    for number, cells in enumerate(table):
        style = "dim" if number == 0 else style_of(rows[number - 1].share)
        line = Text()
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            padded = cell.rjust(width) if column in _RIGHT else cell.ljust(width)
            coloured = number == 0 or column in {1, 2}
            line.append(padded + "  ", style=style if coloured else "")
        line.rstrip()
        out.print(line, soft_wrap=True)


def _cells(row: WindowRow) -> tuple[str, ...]:
    amounts = (row.used, row.reserved, row.orphaned, row.limit, row.left)
    return (
        in_one_line(row.name),
        bar(float(row.share or 0), _BAR),
        percent(row.share),
        *(amount(each) for each in amounts),
        row.unit,
        f"{row.resets_at:%Y-%m-%d %H:%M %Z}",
    )


def show_left_out(names: Sequence[str]) -> None:
    """Which options would show more."""
    if names:
        options = " and ".join(f"--{name}" for name in names)
        console().print(f"budgets of each {' and '.join(names)} are shown with {options}")
