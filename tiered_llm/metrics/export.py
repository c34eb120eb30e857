"""A period's hours as rows, and as JSON, CSV or Parquet."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from tiered_llm.errors import ConfigurationError, Problem
from tiered_llm.metrics.tally import Counters, durations, family, hour_starts, total
from tiered_llm.records import OUTCOMES
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tiered_llm.tiers import TierSpec

Format = Literal["json", "csv", "parquet"]
FORMATS: tuple[Format, ...] = ("json", "csv", "parquet")

_TOKENS = {"m": "measured", "e": "estimated"}
_COLUMNS: dict[str, str] = {
    "hour": "string",
    "tier": "string",
    "asked": "int64",
    "served": "int64",
    **dict.fromkeys(OUTCOMES, "int64"),
    **{f"{part}_tokens_{how}": "int64" for how in _TOKENS.values() for part in ("input", "output")},
    "model_s": "float64",
    "cost_units": "string",
    "p50_s": "float64",
    "p95_s": "float64",
    "first_token_p50_s": "float64",
    "first_token_p95_s": "float64",
}
"""Columns and their types; cost units are exact, and so stand as text."""


def rows_of(hours: Mapping[int, Counters], specs: Mapping[Tier, TierSpec]) -> list[dict[str, Any]]:
    """A row for each hour and tier that was chosen, asked or answered in it."""
    return [
        row
        for hour, counters in sorted(hours.items())
        for tier in Tier
        if (row := _row(hour, counters, tier, specs.get(tier)))
    ]


def _row(hour: int, counters: Counters, tier: Tier, spec: TierSpec | None) -> dict[str, Any]:
    calls = [(parts, count) for parts, count in family(counters, "c", 3)]
    asked = sum(count for (chosen, _, _), count in calls if chosen == tier.value)
    served = sum(count for (_, end, _), count in calls if end == tier.value)
    ends = {end: total(counters, f"a/{tier.value}/{end}/") for end in OUTCOMES}
    if not asked and not served and not any(ends.values()):
        return {}
    tokens = _tokens(counters, tier)
    whole, first = durations(counters, tier), durations(counters, tier, "f")
    weight = Decimal(0) if spec is None else spec.cost_weight
    return {
        "hour": hour_starts(hour).isoformat(),
        "tier": tier.value,
        "asked": asked,
        "served": served,
        **{str(end): count for end, count in ends.items()},
        **tokens,
        "model_s": total(counters, f"s/{tier.value}/") / 1e6,
        "cost_units": str(weight * sum(tokens.values())),
        "p50_s": whole.quantile_s(0.50),
        "p95_s": whole.quantile_s(0.95),
        "first_token_p50_s": first.quantile_s(0.50),
        "first_token_p95_s": first.quantile_s(0.95),
    }


def _tokens(counters: Counters, tier: Tier) -> dict[str, int]:
    found = {name: 0 for name in _COLUMNS if "_tokens_" in name}
    for (whose, _, how, part), count in family(counters, "k", 4):
        if whose == tier.value:
            found[f"{'input' if part == 'i' else 'output'}_tokens_{_TOKENS[how]}"] += count
    return found


def exported(
    format: Format, report: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> str | bytes:
    """Text for JSON, with the report, and for CSV; bytes for Parquet.

    Raises:
        ConfigurationError: Parquet is wanted, and pyarrow is not installed.
        ValueError: No such format.
    """
    if format == "json":
        return json.dumps({**report, "hours": rows}, default=_plain, indent=2)
    if format == "csv":
        return _csv(rows)
    if format == "parquet":
        return _parquet(rows)
    msg = f"no such format; the formats are {', '.join(FORMATS)}"
    raise ValueError(msg)


def _plain(value: Any) -> str:
    """Decimals as text: a float would not be exact."""
    if isinstance(value, Decimal):
        return str(value)
    msg = f"a report holds no {type(value).__name__}"
    raise TypeError(msg)


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    page = io.StringIO(newline="")
    writer = csv.DictWriter(page, list(_COLUMNS))
    writer.writeheader()
    writer.writerows(rows)
    return page.getvalue()


def _parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    try:
        pa, pq = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        problem = Problem(
            source="arguments",
            key="format",
            wrong="Parquet needs pyarrow, which is not installed",
            right='install "tiered-llm[parquet]", or take json or csv',
        )
        raise ConfigurationError([problem]) from error
    schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in _COLUMNS.items()])
    page = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), page)
    return page.getvalue()
