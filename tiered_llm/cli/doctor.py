"""`tiered-llm doctor`: is every tier's model there, and where does each setting come from."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiered_llm.cli.errors import ExitCode
from tiered_llm.cli.findings import Level, TierReport
from tiered_llm.cli.output import console, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from tiered_llm.settings import Origin

_STYLES = {Level.OK: "green", Level.NOTE: "cyan", Level.PROBLEM: "red", Level.UNCHECKED: "yellow"}

_WIDEST_VALUE = 40
"""Characters to which values are aligned; a longer one pushes the rest of its line."""


def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Longest wait for one answer, in seconds.")
    ] = 10.0,
    probe: Annotated[
        bool,
        typer.Option("--probe/--no-probe", help="Run each model for a token and a tool call."),
    ] = True,
    settings: Annotated[
        bool, typer.Option("--settings", help="Show every setting, not only those you set.")
    ] = False,
) -> None:
    """Check each tier's endpoint and model, and show where settings come from.

    Says what to do about each problem; exits with 1 if there is one. Keys are never shown.

    Example: [bold]tiered-llm doctor --timeout 60[/bold] when models must be loaded first.
    """
    from tiered_llm.cli.probes import examine
    from tiered_llm.settings import get_settings

    found = get_settings()
    origins = [o for o in found.origins() if settings or o.source != "default"]
    specs = found.tiers.values()
    reports = asyncio.run(examine(specs, timeout_s=timeout, probe=probe))
    well = all(report.well for report in reports)
    if as_json:
        print_json(_as_dict(reports, origins, well=well))
    else:
        _show(reports, origins, well=well)
    raise typer.Exit(ExitCode.OK if well else ExitCode.FAILED)


def _as_dict(
    reports: Sequence[TierReport], origins: Sequence[Origin], *, well: bool
) -> dict[str, Any]:
    return {
        "well": well,
        "tiers": [report.to_dict() for report in reports],
        "settings": [asdict(origin) for origin in origins],
    }


def _show(reports: Sequence[TierReport], origins: Sequence[Origin], *, well: bool) -> None:
    out = console()
    for report in reports:
        _show_tier(out, report)
    _show_settings(out, origins)
    out.print("all is well" if well else "there are problems", style="green" if well else "red")


def _show_tier(out: Console, report: TierReport) -> None:
    from rich.text import Text

    where = f" at {report.endpoint}" if report.endpoint else ""
    out.print(Text(f"{report.tier}: {report.model_id}{where}", style="bold"), soft_wrap=True)
    for finding in report.findings:
        level = Text(f"  {finding.level.value:<11} ", style=_STYLES[finding.level])
        out.print(level + Text(f"{finding.check}: {finding.found}", style=""), soft_wrap=True)
        if finding.do:
            out.print(Text(f"              → {finding.do}"), soft_wrap=True)
    out.print()


def _show_settings(out: Console, origins: Sequence[Origin]) -> None:
    from rich.text import Text

    if not origins:
        out.print("every setting has its default; --settings shows them\n")
        return
    keys = max(len(origin.key) for origin in origins)
    values = min(max(len(origin.value) for origin in origins), _WIDEST_VALUE)
    out.print("settings, and where each comes from", style="bold")
    for origin in origins:
        named = "" if origin.name == origin.key else f": {origin.name}"
        line = Text(f"  {origin.key:<{keys}}  {origin.value:<{values}}  ")
        out.print(line + Text(f"{origin.source}{named}", style="cyan"), soft_wrap=True)
    out.print()
