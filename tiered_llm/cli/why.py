"""`tiered-llm why RUN_ID`: one decision, explained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiered_llm.cli.decisions_store import Store, open_decisions
from tiered_llm.cli.errors import ExitCode
from tiered_llm.cli.output import console, print_error, print_json
from tiered_llm.cli.texts import in_one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiered_llm.cli.decisions_store import OpenDecisions
    from tiered_llm.metrics import Entry

_LEAST = 4
_SHOWN = 8


def why(
    ctx: typer.Context,
    run_id: Annotated[
        str, typer.Argument(help="The run's id, its beginning, or its end, from 4 characters on.")
    ],
    *,
    show_tenant: Annotated[
        bool, typer.Option("--show-tenant", help="Name the tenant as well.")
    ] = False,
    store: Store = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Explain why a call went where it went, and what came of it.

    The id stands in the answer's response_metadata["routing"]["run_id"], in traces, and in
    [bold]tiered-llm decisions[/bold].

    Example: [bold]tiered-llm why 01a21cb6[/bold]
    """
    with open_decisions(ctx, store) as decisions:
        entry = _found(decisions, run_id)
        if as_json:
            print_json(as_dict(entry, show_tenant=show_tenant))
            return
        from tiered_llm.cli.why_view import show_why

        show_why(entry, decisions.settings, show_tenant=show_tenant)


def as_dict(entry: Entry, *, show_tenant: bool) -> dict[str, Any]:
    """A decision as plain JSON values; whose it is only where that is asked for."""
    from tiered_llm.metrics.packing import record_to_plain

    told = record_to_plain(entry.record)
    if not show_tenant:
        told.pop("tenant_id")
    feedback = entry.feedback
    judged = None if feedback is None else {"score": feedback.score, "comment": feedback.comment}
    return {"serial": entry.serial, **told, "feedback": judged}


def _found(decisions: OpenDecisions, run_id: str) -> Entry:
    metrics, kept = decisions.metrics, decisions.settings.metrics.recent
    exact = metrics.find(run_id)
    if exact is not None:
        return exact
    if len(run_id) < _LEAST:
        msg = f"give at least {_LEAST} characters of the id"
        raise typer.BadParameter(msg, param_hint="RUN_ID")
    ids = [
        entry
        for entry in metrics.recent(kept)
        if entry.record.run_id.startswith(run_id) or entry.record.run_id.endswith(run_id)
    ]
    if len(ids) == 1:
        return ids[0]
    if ids:
        print_error(f"{len(ids):,} runs begin or end so", "Give more of the id. The latest are:")
        _list(ids[-_SHOWN:])
    else:
        print_error(
            f"no such run among the last {kept:,} in {decisions.store}",
            "`tiered-llm decisions` lists them; answers carry theirs in"
            ' response_metadata["routing"]["run_id"].',
        )
    raise typer.Exit(ExitCode.FAILED)


def _list(entries: Sequence[Entry]) -> None:
    """Which runs may be meant, with their whole ids."""
    from tiered_llm.cli.why_view import way_of

    out = console(stderr=True)
    for entry in entries:
        run_id, at = in_one_line(entry.record.run_id), f"{entry.record.at:%Y-%m-%d %H:%M:%S} UTC"
        out.print(f"  {run_id}  {at}  ", way_of(entry.record), sep="", markup=False, soft_wrap=True)
