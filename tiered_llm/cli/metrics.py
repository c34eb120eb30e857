"""`tiered-llm metrics`: the page that Prometheus reads, served or shown."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiered_llm.cli.decisions_store import Store, open_beside, open_decisions
from tiered_llm.cli.errors import ExitCode
from tiered_llm.cli.output import print_error

if TYPE_CHECKING:
    from tiered_llm.budgets import BudgetManager
    from tiered_llm.cli.decisions_store import OpenDecisions

Tenants = Annotated[
    list[str],
    typer.Option("--tenant", help="A tenant with series of its own; may be repeated."),
]

MaxSeries = Annotated[
    int | None,
    typer.Option(min=1, help="Series that the page may have.", show_default="10,000"),
]


def serve(  # noqa: PLR0913  # each is one thing that an operator may set
    ctx: typer.Context,
    *,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Where to listen; 0 takes a free port.")
    ] = 9_464,
    tenant: Tenants = [],  # noqa: B006  # typer's own form of an empty list
    max_series: MaxSeries = None,
    store: Store = None,
) -> None:
    """Serve the page at /metrics until Ctrl-C: the totals of all processes that record there.

    Who reaches the page sees how much is used and by which listed tenants; keep it on loopback, or
    behind what guards it.

    Example: [bold]tiered-llm metrics serve --port 9464 --store redis://localhost:6379/0[/bold]
    """
    from tiered_llm.prometheus import metrics_app

    with open_decisions(ctx, store) as decisions, open_beside(decisions) as budget:
        app = metrics_app(decisions.metrics, **_wanted(decisions, budget, tenant, max_series))
        _run(app, host, port, decisions.notes)


def show(
    ctx: typer.Context,
    *,
    tenant: Tenants = [],  # noqa: B006  # as above
    max_series: MaxSeries = None,
    store: Store = None,
) -> None:
    """Print the page once.

    Example: [bold]tiered-llm metrics show | grep tiered_llm_tokens[/bold]
    """
    from tiered_llm.prometheus import MetricsPage

    with open_decisions(ctx, store) as decisions, open_beside(decisions) as budget:
        page = MetricsPage(decisions.metrics, **_wanted(decisions, budget, tenant, max_series))
        text, _ = page.render()
        typer.echo(text.decode(), nl=False)


def _wanted(
    decisions: OpenDecisions,
    budget: BudgetManager | None,
    tenants: list[str],
    max_series: int | None,
) -> dict[str, Any]:
    """What the page is told; tenants as the settings list them if none are named."""
    listed = tenants or list(decisions.settings.telemetry.tenants)
    bound = {} if max_series is None else {"max_series": max_series}
    return {"budget": budget, "tenants": listed, **bound}


def _run(app: object, host: str, port: int, notes: tuple[str, ...]) -> None:
    import uvicorn

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen()  # who reads the line below may come at once
        except OSError as error:
            why = error.strerror or str(error)
            print_error(f"cannot listen on {host}:{port}: {why}", "--port 0 takes a free port")
            raise typer.Exit(ExitCode.USAGE) from None
        bound = listening.getsockname()[1]
        for note in notes:
            typer.echo(f"note: {note}", err=True)
        shown = f"[{host}]" if ":" in host else host
        typer.echo(f"http://{shown}:{bound}/metrics")
        typer.echo("Ctrl-C ends it.", err=True)
        config = uvicorn.Config(app, log_level="warning", lifespan="off")  # type: ignore[arg-type]
        uvicorn.Server(config).run(sockets=[listening])


metrics = typer.Typer(
    help="The page that Prometheus reads.\n\nExample: [bold]tiered-llm metrics serve[/bold]",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
)
metrics.command("serve")(serve)
metrics.command("show")(show)
