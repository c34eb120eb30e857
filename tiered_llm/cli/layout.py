"""Lines and tables laid out for the width there is; no number is ever cut."""

from __future__ import annotations

import os
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from tiered_llm.cli.output import console

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console
    from rich.text import Text

_INDENT = 2
_WIDE_GAP, _GAP = 2, 1
_NARROW = 72
_LEAST = 24


class Cell(NamedTuple):
    """What stands in a table.

    Attributes:
        text: The words or the number.
        style: Its colour; none if empty.
        left: Whether it is set from the left, as words and bars are.
    """

    text: str
    style: str = ""
    left: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A heading, a table below it, and lines below that.

    Attributes:
        title: The heading.
        head: The names of the columns.
        rows: The cells; the first of each names the row.
        notes: Lines below the table.
    """

    title: str
    head: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()
    notes: Sequence[Cell] = ()

    def show(self) -> None:
        """Print it. Columns that find no room stand below, beside the rows' names again."""
        from rich.text import Text

        out = console()
        width = width_of(out)
        out.print()
        out.print(Text(self.title, style="bold"), soft_wrap=True)
        for line in self.lines(width):
            out.print(line, soft_wrap=True)
        for note in self.notes:
            for text in wrapped(note.text, width):
                out.print(Text(text, style=note.style), soft_wrap=True)

    def lines(self, width: int | None) -> Iterator[Text]:
        """The table's lines; None is room for all columns beside one another."""
        if not self.rows:
            return
        first = self.rows[0]  # names stand over their columns as the cells do
        head = [Cell(name, "dim", cell.left) for name, cell in zip(self.head, first, strict=True)]
        table = [head, *self.rows]
        widths = [max(_cells(cell.text) for cell in column) for column in zip(*table, strict=True)]
        gap = _WIDE_GAP if len(list(_groups(widths, width, _WIDE_GAP))) == 1 else _GAP
        for group in _groups(widths, width, gap):
            for row in table:
                yield _line([(row[at], widths[at]) for at in group], gap)


def width_of(out: Console) -> int | None:
    """Columns that lines may have; None where they go to a file or a pipe."""
    if not out.is_terminal and "COLUMNS" not in os.environ:
        return None
    return max(out.width, _LEAST)


def bar_cells(wide: int) -> int:
    """How long bars are: `wide`, and about half of it on a narrow terminal."""
    width = width_of(console())
    return wide if width is None or width >= _NARROW else max(4, wide * 4 // 7)


def wrapped(text: str, width: int | None, hang: int = 0) -> list[str]:
    """An indented line, broken at spaces where it is too long; `hang` deeper from the second on."""
    line = " " * _INDENT + text
    if width is None or _cells(line) <= width:
        return [line.rstrip()]
    later = " " * (_INDENT + hang)
    return wrap(line, width, subsequent_indent=later, break_on_hyphens=False)


def _groups(widths: Sequence[int], width: int | None, gap: int) -> Iterator[list[int]]:
    """Columns that find room beside one another, each time with the first one before them."""
    group, used = [0], _INDENT + widths[0]
    for at, wide in enumerate(widths[1:], start=1):
        if width is not None and len(group) > 1 and used + gap + wide > width:
            yield group
            group, used = [0], _INDENT + widths[0]
        group.append(at)
        used += gap + wide
    yield group


def _line(cells: Sequence[tuple[Cell, int]], gap: int) -> Text:
    from rich.text import Text

    line = Text()
    for number, (cell, width) in enumerate(cells):
        pad = " " * (width - _cells(cell.text))
        left = cell.left or not number
        line.append(" " * (gap if number else _INDENT))
        line.append(cell.text + pad if left else pad + cell.text, style=cell.style)
    line.rstrip()
    return line


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)
