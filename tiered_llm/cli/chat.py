"""`tiered-llm chat`: a conversation on the terminal that shows the tier of each answer."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from tiered_llm.cli.errors import ExitCode
from tiered_llm.cli.output import console
from tiered_llm.tiers import Tier  # noqa: TC001  # typer reads the annotations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiered_llm.cli.chat_session import Session
    from tiered_llm.cli.chat_view import ChatView
    from tiered_llm.settings import Settings

_MOST_CANCELLED = 2
"""Answers broken off in a row after which a chat that reads from a pipe ends."""


def chat(  # noqa: PLR0913  # one for each option
    *,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Let the simulator answer: no model is behind it.")
    ] = False,
    system: Annotated[
        str | None, typer.Option(help="What the model is told before everything else.")
    ] = None,
    tier: Annotated[Tier | None, typer.Option(help="Tier to insist on from the start.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Who pays; never printed.")] = None,
    task_type: Annotated[str | None, typer.Option(help="Kind of task.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, in tokens.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object for each answer, a line each.")
    ] = False,
) -> None:
    """Chat, and see which tier gave each answer and why.

    Commands: /why explains the last decision, /tier light insists on a tier and /tier auto
    leaves it to the router, /reset forgets the conversation, /quit leaves. Ctrl-C breaks an
    answer off, and at the prompt leaves. From a pipe, each line is a turn, and the command
    exits with 1 if one failed.

    Example: [bold]tiered-llm chat --simulate[/bold]
    """
    from tiered_llm.cli.chat_view import ChatView
    from tiered_llm.settings import get_settings

    view = ChatView(as_json=as_json)
    with _answering(get_settings(), simulate=simulate, quiet=as_json) as settings:
        context = {"tenant_id": tenant, "task_type": task_type}
        session = _session(settings, context, system=system, max_tokens=max_tokens)
        session.tier = tier
        view.welcome()
        failed = _converse(session, view, interactive=sys.stdin.isatty())
    raise typer.Exit(ExitCode.FAILED if failed and not sys.stdin.isatty() else ExitCode.OK)


@contextmanager
def _answering(settings: Settings, *, simulate: bool, quiet: bool) -> Iterator[Settings]:
    """The settings of whoever answers, while the block runs.

    Raises:
        EndpointError: No configured tier answers.
    """
    from tiered_llm.cli.backing import announce, backed, none_answers, silent_tiers

    silent = {} if simulate else silent_tiers(settings, unchecked=False)
    if silent and len(silent) == len(settings.tiers):
        raise none_answers(silent, "chat")
    with backed(settings, simulate=simulate, silent=silent) as backing:
        announce(backing, quiet=quiet)
        yield backing.settings


def _session(
    settings: Settings,
    context: dict[str, str | None],
    *,
    system: str | None,
    max_tokens: int | None,
) -> Session:
    with console(stderr=True).status("loading LangChain"):
        from tiered_llm.chat_model import TieredChatModel
        from tiered_llm.cli.chat_session import Session

        return Session(
            TieredChatModel(settings=settings, max_tokens=max_tokens),
            weights=settings.complexity.weights,
            system=system,
            context={name: value for name, value in context.items() if value is not None},
        )


def _converse(session: Session, view: ChatView, *, interactive: bool) -> bool:
    """Take lines until they end; true if an answer failed.

    Raises:
        KeyboardInterrupt: Ctrl-C twice in a row while reading from a pipe.
        typer.Exit: Ctrl-C at the prompt.
    """
    from tiered_llm.cli.chat_commands import LeaveError, is_command, obey

    failed, cancelled = False, 0
    for line in _typed() if interactive else _piped():
        if not is_command(line):
            outcome = _turn(session, view, line)
            failed = failed or outcome is False
            cancelled = cancelled + 1 if outcome is None else 0
            if cancelled == _MOST_CANCELLED and not interactive:
                raise KeyboardInterrupt
            continue
        try:
            view.tell(obey(line, session))
        except LeaveError:
            break
    return failed


def _turn(session: Session, view: ChatView, line: str) -> bool | None:
    """One question: true if answered, false if it failed, None if it was broken off."""
    try:
        view.answered(session.ask(line, view.piece))
    except KeyboardInterrupt:
        view.cancelled()
        return None
    except Exception as error:  # noqa: BLE001  # told in its place; the conversation goes on
        view.failed(error)
        return False
    return True


def _typed() -> Iterator[str]:
    """Lines from the terminal, until Ctrl-D."""
    from tiered_llm.cli.texts import sendable

    with suppress(ImportError):
        import readline  # noqa: F401  # `input` then edits and remembers lines
    try:
        while True:
            if line := sendable(input("you> ")).strip():
                yield line
    except EOFError:
        typer.echo()
    except KeyboardInterrupt:
        typer.echo()
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _piped() -> Iterator[str]:
    """Lines from a pipe or a file, as they come."""
    stdin = typer.get_text_stream("stdin", encoding="utf-8", errors="replace")
    yield from filter(None, map(str.strip, stdin))
