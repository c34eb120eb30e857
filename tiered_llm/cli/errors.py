"""Errors as a person wants them: one clear message, a hint, an exit code; no traceback."""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

import typer

from tiered_llm.cli.output import print_error
from tiered_llm.errors import ConfigurationError, EndpointError, TieredLLMError

if TYPE_CHECKING:
    from collections.abc import Iterator


class ExitCode(IntEnum):
    """What the exit code of a command says."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIGURATION = 3
    UNREACHABLE = 4
    INTERRUPTED = 130


EPILOG = (
    "Exit codes: 0 all is well; 1 what was asked failed, or doctor found a problem; "
    "2 wrong usage; 3 the configuration is wrong; 4 an endpoint or a store does not "
    "answer; 130 interrupted."
)

_HINTS = {
    ExitCode.CONFIGURATION: "`tiered-llm init` writes a file with every setting explained.",
    ExitCode.UNREACHABLE: "`tiered-llm doctor` says what each endpoint lacks.",
    ExitCode.FAILED: "`tiered-llm doctor` checks each tier; --debug shows the traceback.",
}


def exit_code(error: TieredLLMError) -> ExitCode:
    """The exit code for one of our errors."""
    if isinstance(error, ConfigurationError):
        return ExitCode.CONFIGURATION
    if isinstance(error, EndpointError):
        return ExitCode.UNREACHABLE
    return ExitCode.FAILED


@contextmanager
def reported(*, debug: bool = False) -> Iterator[None]:
    """Turn our errors and Ctrl-C into a message on stderr and an exit code.

    Any other exception is a fault of ours and passes through, traceback and all.

    Args:
        debug: Show the traceback before the message.
    """
    try:
        yield
    except TieredLLMError as error:
        if debug:
            typer.echo(traceback.format_exc(), err=True)
        code = exit_code(error)
        print_error(str(error), hint=_HINTS[code])
        raise typer.Exit(code) from None
    except KeyboardInterrupt:
        print_error("interrupted")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
