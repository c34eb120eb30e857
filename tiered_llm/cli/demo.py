"""`tiered-llm demo`: a real LangChain program over many requests, and where each one goes."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tiered_llm.cli.errors import ExitCode
from tiered_llm.cli.output import console, print_error
from tiered_llm.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tiered_llm.cli.backing import Backing
    from tiered_llm.cli.demo_chaos import Chaos
    from tiered_llm.cli.demo_ledger import Ledger, Outcome
    from tiered_llm.cli.demo_program import Program
    from tiered_llm.cli.demo_requests import DemoRequest
    from tiered_llm.cli.demo_table import View
    from tiered_llm.settings import Settings

_PACED_REQUESTS = 40
"""Up to so many, simulated answers take their full time; more are sped up to the same sum."""


def demo(  # noqa: PLR0913  # one for each option
    *,
    input_file: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="Your own requests, one a line: plain text, or JSON with prompt, message, text "
            "or question, and if you like task_type, tenant_id, tier, capabilities and "
            "context_length (a document of so many tokens is made up). - reads standard input.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Send only so many.")] = None,
    simulate: Annotated[
        bool | None,
        typer.Option(
            "--simulate/--live",
            help="Use the simulator, or the configured endpoints. Default: the endpoints if all "
            "of them answer, else the simulator.",
        ),
    ] = None,
    chaos: Annotated[
        bool,
        typer.Option(
            "--chaos", help="Kill the lightest tier's simulator on the way, and bring it back."
        ),
    ] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="Let simulated answers take no time.")
    ] = False,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Longest answer of a model, in tokens.")
    ] = 256,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object for each request, then a summary.")
    ] = False,
) -> None:
    """Send about 30 requests of many kinds through one TieredChatModel and show each.

    Chains, streams, tools, structured output and a LangGraph agent: for each request its
    score, tier, reason, tokens and time; at the end what it cost against all on heavy.
    Exits with 1 if a request failed. Ctrl-C sums up what is done.

    With --chaos the light tier dies on the way: see its requests go to another tier, the
    router leave it alone, and the tier taken up again once it is back.

    Example: [bold]tiered-llm demo --input prompts.jsonl --limit 100[/bold]
    """
    from tiered_llm.cli.backing import announce, backed, silent_tiers
    from tiered_llm.settings import get_settings

    requests = _requests(input_file)[:limit]
    pace = 0.0 if fast else min(1.0, _PACED_REQUESTS / len(requests))
    settings = get_settings()
    if chaos:
        _check_chaos(settings, simulate=simulate)
        simulate = True
    silent = silent_tiers(settings, unchecked=True) if simulate is None else {}
    simulate = simulate or bool(silent)
    with (
        backed(settings, simulate=simulate, silent=silent, pace=pace) as backing,
        _outage(backing, len(requests), pace, wanted=chaos) as disorder,
    ):
        announce(backing, quiet=as_json, plan=disorder.plan() if disorder else ())
        program = _program(backing.settings, max_tokens, disorder)
        ledger = _run(requests, program, backing, _view(as_json=as_json), disorder)
    raise typer.Exit(_exit_code(ledger))


def _check_chaos(settings: Settings, *, simulate: bool | None) -> None:
    """End the command where `--chaos` cannot be."""
    if simulate is False:
        message = "--chaos kills a tier, and --live tiers are not its own to kill"
        hint = "leave --live out: with --chaos the simulator answers"
    elif len(settings.tiers) == 1:
        message = f"--chaos kills a tier, and {min(settings.tiers)} is the only one configured"
        hint = "switch another tier on, so that there is one to fall back to"
    else:
        return
    print_error(message, hint)
    raise typer.Exit(ExitCode.USAGE)


def _outage(
    backing: Backing, planned: int, pace: float, *, wanted: bool
) -> AbstractContextManager[Chaos | None]:
    if not wanted:
        return nullcontext()
    from tiered_llm.cli.demo_chaos import Chaos

    return Chaos(backing, planned, pace)


def _requests(source: str | None) -> list[DemoRequest]:
    """The requests to send; ends the command where a line cannot be read."""
    from tiered_llm.cli.demo_requests import BadLineError, built_in, read_file, read_requests

    if source is None:
        return built_in()
    try:
        if source == "-":
            stdin = typer.get_text_stream("stdin", encoding="utf-8", errors="replace")
            found = read_requests(stdin.read())
        else:
            found = read_file(Path(source))
    except OSError as error:
        message = f"{source} cannot be read: {error.strerror}"
    except BadLineError as error:
        message = f"{source}, {error}; nothing was sent"
    else:
        if found:
            return found
        message = f"{source} holds no request"
    print_error(message, 'one request a line: plain text, or JSON such as {"prompt": "Hello"}')
    raise typer.Exit(ExitCode.USAGE)


def _view(*, as_json: bool) -> View:
    from tiered_llm.cli.demo_table import JsonView, LineView, LiveView

    if as_json:
        return JsonView()
    out = console()
    live = sys.stdout.isatty() and not out.is_dumb_terminal
    return LiveView(out, out.width) if live else LineView(out)


def _program(settings: Settings, max_tokens: int, disorder: Chaos | None) -> Program:
    """The program and its model; importing LangChain and LangGraph takes a moment."""
    with console(stderr=True).status("loading LangChain"):
        from tiered_llm.chat_model import TieredChatModel
        from tiered_llm.cli.demo_program import Program

        model = TieredChatModel(
            settings=disorder.settings if disorder else settings,
            max_tokens=max_tokens,
            health=disorder.health if disorder else None,
        )
        return Program(model)


def _run(
    requests: list[DemoRequest],
    program: Program,
    backing: Backing,
    view: View,
    disorder: Chaos | None,
) -> Ledger:
    """Send the requests one after the other; whatever ends it, sum up."""
    from tiered_llm.cli.demo_ledger import Ledger, Prices

    settings = backing.settings
    ledger = Ledger(prices=Prices.of(settings), planned=len(requests), simulated=backing.simulated)
    began_s = SYSTEM_CLOCK.monotonic_s()
    try:
        with view:
            for request in requests:
                ledger = _disturbed(ledger, view, disorder)
                view.begin(request, ledger)
                outcome = _send(len(ledger.outcomes) + 1, request, program, settings, view)
                elapsed_s = SYSTEM_CLOCK.monotonic_s() - began_s
                ledger = replace(ledger, outcomes=(*ledger.outcomes, outcome), elapsed_s=elapsed_s)
                view.end(outcome, ledger)
            ledger = _disturbed(ledger, view, disorder)
    except KeyboardInterrupt:
        ledger = replace(ledger, interrupted=True)
    view.sum_up(ledger)
    return ledger


def _disturbed(ledger: Ledger, view: View, disorder: Chaos | None) -> Ledger:
    """Let happen what is due between two requests, and show it."""
    if disorder is None:
        return ledger
    for event in disorder.events(len(ledger.outcomes)):
        view.tell(event)
    return replace(ledger, outage=disorder.outage)


def _send(
    number: int, request: DemoRequest, program: Program, settings: Settings, view: View
) -> Outcome:
    """Send one request and listen; whatever fails is part of what came of it."""
    from tiered_llm.cli.demo_ledger import Recorder, outcome_of
    from tiered_llm.cli.texts import error_line

    heard, error = Recorder(), ""
    began_s = SYSTEM_CLOCK.monotonic_s()
    try:
        program.run(
            request, {"callbacks": [heard], "configurable": request.configurable()}, view.show
        )
    except Exception as failure:  # noqa: BLE001  # shown in the request's line; the run goes on
        heard.failed(failure)
        error = error_line(failure)
    latency_ms = (SYSTEM_CLOCK.monotonic_s() - began_s) * 1000
    return outcome_of(number, request, heard, settings, latency_ms=latency_ms, error=error)


def _exit_code(ledger: Ledger) -> ExitCode:
    if ledger.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.FAILED if ledger.failed else ExitCode.OK
