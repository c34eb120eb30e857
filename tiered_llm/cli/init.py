"""`tiered-llm init`: a settings file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from tiered_llm.cli.errors import ExitCode
from tiered_llm.cli.output import print_error
from tiered_llm.settings.sources import FILE_NAME


def init(
    path: Annotated[
        Path, typer.Argument(help="The file to write, or the directory to write it to.")
    ] = Path(FILE_NAME),
    *,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing file.")] = False,
) -> None:
    """Write a settings file with every setting, its default and its meaning.

    The defaults stand in comments: the file changes nothing until you edit it.

    Example: [bold]tiered-llm init config/tiered-llm.toml[/bold]
    """
    from tiered_llm.settings.reference import toml_template

    target = path / FILE_NAME if path.is_dir() else path
    try:
        with target.open("w" if force else "x", encoding="utf-8") as file:
            file.write(toml_template())
    except FileExistsError:
        _give_up(f"{target} exists already", "--force writes over it")
    except OSError as error:
        _give_up(f"{target} cannot be written: {error.strerror}", "name another path")
    typer.echo(f"wrote {target}; `tiered-llm doctor` shows what is in force")


def _give_up(message: str, hint: str) -> NoReturn:
    print_error(message, hint)
    raise typer.Exit(ExitCode.FAILED)
