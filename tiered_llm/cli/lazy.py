"""A group whose commands are imported when they run, so that `--help` answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from tiered_llm.cli.errors import reported

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command is defined.

    Attributes:
        module: The module to import.
        function: The function in it, or a `typer.Typer` with commands of its own.
        summary: One line for the list of commands.
    """

    module: str
    function: str
    summary: str

    def load(self, name: str) -> Any:
        """Import the function and make a command of it."""
        found = getattr(import_module(self.module), self.function)
        if not isinstance(found, typer.Typer):
            single = typer.Typer(add_completion=False, rich_markup_mode="rich")
            single.command(name)(found)
            found = single
        command = get_command(found)
        command.name = name
        return command


class _Stub(TyperCommand):
    """Stands in the list of commands; becomes the real one when it is run."""

    def __init__(self, name: str, command: Command) -> None:
        super().__init__(name, help=command.summary)
        self._command = command

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        real = self._command.load(str(self.name))
        return real.make_context(info_name, args, parent=parent, **extra)


class LazyGroup(TyperGroup):
    """A command group over a table of commands; its errors are told, not dumped."""

    lazy_commands: ClassVar[Mapping[str, Command]] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the order of the table."""
        return [*self.lazy_commands, *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in that imports the real command when it is run."""
        if cmd_name in self.lazy_commands:
            return _Stub(cmd_name, self.lazy_commands[cmd_name])
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; one of our own errors becomes a message and an exit code."""
        with reported(debug=bool(ctx.params.get("debug"))):
            return super().invoke(ctx)
