"""The options that budget commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Tenant = Annotated[
    str | None, typer.Option("--tenant", help="Whose budgets; without it those of no tenant.")
]
User = Annotated[str | None, typer.Option("--user", help="The tenant's user, where each has one.")]
Agent = Annotated[str | None, typer.Option("--agent", help="The agent, where each has one.")]
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="sqlite:///path or redis://host:6379/0; the setting `store` if left out.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def whose(tenant: str | None) -> str:
    """A heading's words for a tenant that was given, or none."""
    from tiered_llm.cli.texts import in_one_line

    return "calls without a tenant" if tenant is None else in_one_line(tenant)
