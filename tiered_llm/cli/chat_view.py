"""How a chat looks: text as it comes, a dim line below each answer, or JSON lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from tiered_llm.cli.output import console, print_error
from tiered_llm.cli.texts import error_line, error_text, harmless

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiered_llm.cli.chat_session import Turn

_HINT = (
    "`tiered-llm doctor` says what each endpoint lacks; "
    "`tiered-llm chat --simulate` chats without any model"
)


class ChatView:
    """Writes a conversation: answers to stdout, what is said about them to a dim line.

    With JSON, stdout holds one object for each turn and nothing else.
    """

    def __init__(self, *, as_json: bool) -> None:
        """Choose between text and JSON."""
        self._as_json = as_json
        self._about = console(stderr=as_json)

    def welcome(self) -> None:
        """Say what can be done."""
        self.tell(["/help lists the commands; Ctrl-C breaks an answer off, Ctrl-D leaves"])

    def piece(self, text: str) -> None:
        """A piece of the answer has come."""
        if not self._as_json:
            typer.echo(harmless(text), nl=False)

    def answered(self, turn: Turn) -> None:
        """The answer is whole."""
        if self._as_json:
            typer.echo(json.dumps(turn.to_dict(), ensure_ascii=False))
            return
        typer.echo()
        self.tell([_told(turn), ""])

    def cancelled(self) -> None:
        """The answer was broken off."""
        if self._as_json:
            typer.echo(json.dumps({"answer": None, "error": "cancelled"}))
            return
        typer.echo()
        self.tell(["broken off; the question is forgotten", ""])

    def failed(self, error: Exception) -> None:
        """There is no answer, or no more of it."""
        if self._as_json:
            typer.echo(json.dumps({"answer": None, "error": error_line(error)}))
        print_error(error_text(error), _HINT)

    def tell(self, lines: Iterable[str]) -> None:
        """Say something about the conversation."""
        from rich.text import Text

        for line in lines:
            self._about.print(Text(line, style="dim"), soft_wrap=True)


def _told(turn: Turn) -> str:
    routing = turn.routing
    parts = (
        routing["tier"],
        routing["model_id"],
        f"score {routing['score']:.2f}",
        turn.why,
        f"{turn.input_tokens:,} in, {turn.output_tokens:,} out",
        f"{turn.latency_ms / 1000:.2f} s",
    )
    return " · ".join(parts)
