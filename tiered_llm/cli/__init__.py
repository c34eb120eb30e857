"""The command `tiered-llm`: one file a command group, each imported when it is asked for."""

from __future__ import annotations

from typing import Annotated

import typer

from tiered_llm.cli.errors import EPILOG
from tiered_llm.cli.lazy import Command, LazyGroup

COMMANDS = {
    "init": Command("tiered_llm.cli.init", "init", "Write a tiered-llm.toml with every setting."),
    "doctor": Command(
        "tiered_llm.cli.doctor", "doctor", "Check each tier's endpoint and model, and the settings."
    ),
    "demo": Command(
        "tiered_llm.cli.demo", "demo", "Route about 30 requests of many kinds and show each."
    ),
    "route": Command(
        "tiered_llm.cli.route", "route", "Show where a request would go, without sending it."
    ),
    "chat": Command("tiered_llm.cli.chat", "chat", "Chat, and see the tier of each answer."),
    "budget": Command(
        "tiered_llm.cli.budget", "budget", "See and set what tenants may use; alerts; the books."
    ),
    "report": Command(
        "tiered_llm.cli.report",
        "report",
        "What routing saved, who served what, how fast, how well.",
    ),
    "decisions": Command(
        "tiered_llm.cli.decisions", "decisions", "The latest decisions, and new ones as they come."
    ),
    "why": Command("tiered_llm.cli.why", "why", "Explain one decision."),
    "metrics": Command("tiered_llm.cli.metrics", "metrics", "The page that Prometheus reads."),
    "simulate": Command(
        "tiered_llm.cli.simulate", "simulate", "Serve Ollama's and vLLM's protocols; no model."
    ),
}
"""Each command's home; the help text here is what `tiered-llm --help` lists."""


class _Group(LazyGroup):
    lazy_commands = COMMANDS


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"tiered-llm {version('tiered-llm')}")
        raise typer.Exit


@app.callback()
def tiered_llm(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", envvar="TIERED_LLM_DEBUG", help="Show the traceback of an error."),
    ] = False,
) -> None:
    """Send each model call to the cheapest tier that will do.

    Start with: [bold]tiered-llm init[/bold], then [bold]tiered-llm doctor[/bold].
    """


def main() -> None:
    """The entry point of the installed command."""
    app()
