"""The commands that a chat understands, each a slash and a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiered_llm.cli.explain import explanation, headline
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiered_llm.cli.chat_session import Session

AUTO = "auto"
_TIERS = (*Tier, AUTO)


class LeaveError(Exception):
    """The user wants to leave."""


def is_command(line: str) -> bool:
    """Whether a line is meant for the chat, not for the model: a slash and a word.

    A path such as `/etc/hosts` is no command.
    """
    return line.startswith("/") and line.split(maxsplit=1)[0][1:].isalpha()


def obey(line: str, session: Session) -> list[str]:
    """Do what a command says.

    Returns:
        What there is to tell, line by line.

    Raises:
        LeaveError: It was `/quit`.
    """
    word, _, rest = line.partition(" ")
    command = _COMMANDS.get(word)
    if command is None:
        return [f"no command {word}; there are: {', '.join(_COMMANDS)}"]
    return command(session, rest.strip())


def _quit(_session: Session, _rest: str) -> list[str]:
    raise LeaveError


def _tier(session: Session, rest: str) -> list[str]:
    if rest and rest not in _TIERS:
        return [f"no tier {rest}; there are: {', '.join(_TIERS)}"]
    if rest:
        session.tier = None if rest == AUTO else Tier(rest)
    return ["the router chooses" if session.tier is None else f"every answer from {session.tier}"]


def _why(session: Session, _rest: str) -> list[str]:
    if session.last is None:
        return ["nothing was decided yet"]
    routing = session.last.routing
    return [headline(routing), *explanation(routing, session.weights)]


def _reset(session: Session, _rest: str) -> list[str]:
    session.reset()
    return ["forgotten"]


def _help(_session: Session, _rest: str) -> list[str]:
    return [
        "/why          explain the last decision",
        "/tier NAME    insist on light, standard or heavy; auto leaves it to the router",
        "/reset        forget the conversation",
        "/quit         leave",
    ]


_COMMANDS: dict[str, Callable[[Session, str], list[str]]] = {
    "/why": _why,
    "/tier": _tier,
    "/reset": _reset,
    "/quit": _quit,
    "/help": _help,
}
