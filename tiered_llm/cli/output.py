"""Where commands write: results to stdout, everything else to stderr.

Colours follow `NO_COLOR` and whether a terminal listens.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


def console(*, stderr: bool = False) -> Console:
    """A console on the present stdout, or stderr."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def print_json(data: Any) -> None:
    """One JSON value on stdout, for machines: indented, never wrapped or coloured."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))


def print_error(message: str, hint: str | None = None) -> None:
    """An error on stderr: the message in red, then what to do, if there is something."""
    from rich.text import Text

    err = console(stderr=True)
    err.print(Text("error: ", style="bold red"), Text(message, style="red"), sep="", soft_wrap=True)
    if hint:
        err.print(Text(f"hint: {hint}", style="dim"), soft_wrap=True)
