"""The report's savings on the terminal: what was spent and saved, and of what that is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiered_llm.cli.explain import bar
from tiered_llm.cli.layout import Block, Cell, bar_cells

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal

_BAR = 14
_GOOD, _BAD = "green", "bold red"
_UNITS = {"cost units": "cost_units", "US dollars": "usd", "GPU hours": "gpu_hours"}
_WHOLE = 100
"""From which amount on one decimal is enough."""


def savings_blocks(told: Mapping[str, Any]) -> Iterator[Block]:
    """The whole, and its parts."""
    yield _whole(told)
    yield _parts(told)


def _whole(told: Mapping[str, Any]) -> Block:
    base = told["baseline"]
    word = _word(told["cost_units_saved"])
    rows = []
    for name, unit in _UNITS.items():
        spent, would, saved = _of(told, unit)
        if spent is None or not (spent or would):
            continue
        share = float(spent / would) if would else 1.0
        style = _style(saved)
        part = Cell(f"{bar(share, bar_cells(_BAR))} {100 * share:>3.0f} %", style, left=True)
        amounts = (Cell(_number(spent)), Cell(_number(would)), Cell(_number(saved), style))
        rows.append([Cell(name), *amounts, part])
    head = ("", "spent", f"all {base['tier']}", word, "spent of that")
    return Block(title="Savings", head=head, rows=rows, notes=[_verdict(told), *_losses(told)])


def _verdict(told: Mapping[str, Any]) -> Cell:
    tier = told["baseline"]["tier"]
    return Cell(
        (
            f"{_word(told['cost_units_saved'])} {abs(told['cost_reduction_pct']):.1f} % of "
            f"all-{tier}, worth {abs(told['tokens_saved']):,} of its tokens"
        ),
        _style(told["cost_units_saved"]),
    )


def _losses(told: Mapping[str, Any]) -> Iterator[Cell]:
    """What was lost although cost units were saved."""
    if told["cost_units_saved"] < 0:
        return
    for name, unit in _UNITS.items():
        saved = told[f"{unit}_saved"]
        if saved is not None and saved < 0:
            yield Cell(f"LOST {_number(abs(saved))} {name}", _BAD)


def _parts(told: Mapping[str, Any]) -> Block:
    """Cost units by what is known of the tokens; the rows add up to the whole."""
    base, router = told["baseline"], told["router"]
    rows = [[Cell(name), *_amounts(told[name])] for name in ("measured", "estimated")]
    lost = Cell(_number(-router["cost_units"]), _BAD if router["cost_units"] else "")
    rows.append([Cell("router"), Cell(""), Cell(_number(router["cost_units"])), Cell("0"), lost])
    failed = told["failed_attempts"]
    of_failed = (
        f"failed attempts, in these: {failed['tokens']:,} tokens, "
        f"{_number(failed['cost_units'])} cost units"
    )
    of_router = (
        f"router: {router['seconds']:.2f} s; {base['tier']} taken at {base['s_per_token']:.3f} s "
        f"a token, {_basis(base)}"
    )
    word = _word(told["cost_units_saved"])
    head = ("", "tokens", "spent", f"all {base['tier']}", word)
    notes = (Cell(of_failed, "dim"), Cell(of_router, "dim"))
    return Block(title="Cost units, by what is known", head=head, rows=rows, notes=notes)


def _amounts(part: Mapping[str, Any]) -> Iterator[Cell]:
    spent, would, saved = _of(part, "cost_units")
    yield Cell(f"{part['input_tokens'] + part['output_tokens']:,}")
    yield Cell(_number(spent))
    yield Cell(_number(would))
    yield Cell(_number(saved), _style(saved) if saved < 0 else "")


def _of(told: Mapping[str, Any], unit: str) -> tuple[Any, Any, Any]:
    """Spent, the baseline's, and the difference."""
    return told[unit], told[f"baseline_{unit}"], told[f"{unit}_saved"]


def _word(saved: Any) -> str:
    return "saved" if saved >= 0 else "LOST"


def _style(saved: Any) -> str:
    return _GOOD if saved >= 0 else _BAD


def _basis(base: Mapping[str, Any]) -> str:
    answers = f"measured on {base['attempts']:,} answers"
    words = {"tenant": answers, "all_tenants": f"{answers} of everybody"}
    return words.get(base["basis"], "by default: too little of it was measured")


def _number(amount: Decimal | float) -> str:
    """With separators; a fraction of four decimals, of one where the number is large."""
    value = float(amount)
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= _WHOLE else f"{value:,.4f}"
