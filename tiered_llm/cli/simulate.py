"""`tiered-llm simulate`: endpoints to try things against where there is no GPU."""

from __future__ import annotations

import json
import signal
import threading
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from tiered_llm.cli.errors import ExitCode
from tiered_llm.cli.output import print_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiered_llm.testing import Simulator

_MODELS = ["qwen2.5:7b", "qwen2.5:32b", "qwen2.5:72b"]
_ENDING = (signal.SIGINT, signal.SIGTERM)


def simulate(  # noqa: PLR0913 - each is an option of the command
    *,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Where to listen; 0 takes a free port.")
    ] = 11_435,
    model: Annotated[
        list[str], typer.Option("--model", "-m", help="A name to answer to; may be repeated.")
    ] = _MODELS,
    latency: Annotated[float, typer.Option(min=0, help="Seconds before the first token.")] = 0.0,
    token_latency: Annotated[float, typer.Option(min=0, help="Seconds for each token.")] = 0.0,
    context_window: Annotated[
        int, typer.Option(min=1, help="Tokens that input and output share.")
    ] = 32_768,
    expose: Annotated[
        bool, typer.Option("--expose", help="Listen beyond this machine, if --host says so.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON once it is ready.")
    ] = False,
) -> None:
    """Serve Ollama's and vLLM's protocols on one port. NO MODEL IS BEHIND IT.

    Answers are patterns, token counts are exact in the simulator's own tokens. Ctrl-C ends it.

    Example: [bold]tiered-llm simulate --model qwen2.5:7b --latency 0.2[/bold]
    """
    from tiered_llm.testing import SimulatedModel, Simulator

    if not expose and not _is_loopback(host):
        _give_up(f"{host} is not a loopback address", "--expose lets others reach the simulator")
    models = [
        SimulatedModel(
            name=name,
            context_window=context_window,
            latency_s=latency,
            token_latency_s=token_latency,
        )
        for name in model
    ]
    try:
        with _until_told_to_end() as ended, Simulator(models, host=host, port=port) as simulator:
            _announce(simulator, as_json=as_json)
            ended.wait()
    except OSError as error:
        _give_up(f"cannot listen on {host}:{port}: {error.strerror}", "--port 0 takes a free port")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _until_told_to_end() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that the server is stopped, not killed."""
    ended = threading.Event()
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in _ENDING}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _announce(simulator: Simulator, *, as_json: bool) -> None:
    from tiered_llm.testing.simulator import BANNER

    names = list(simulator.models)
    if as_json:
        ready = {
            "url": simulator.url,
            "openai_url": simulator.openai_url,
            "models": names,
            "note": BANNER,
        }
        typer.echo(json.dumps(ready))
        return
    typer.echo(BANNER)
    typer.echo(f"  models  {', '.join(names)}")
    typer.echo(f"  Ollama  {simulator.url}")
    typer.echo(f"  vLLM    {simulator.openai_url}")
    typer.echo("Ctrl-C ends it.")


def _give_up(message: str, hint: str) -> NoReturn:
    print_error(message, hint)
    raise typer.Exit(ExitCode.USAGE)
