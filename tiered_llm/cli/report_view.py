"""The report on the terminal: blocks of aligned lines, bars, and words for what is bad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tiered_llm.cli.explain import TIER_STYLES, bar
from tiered_llm.cli.output import console

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_BAR = 14
_TIERS = ("light", "standard", "heavy")
_MOST_LINES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A heading and a table below it.

    Attributes:
        title: The heading.
        rows: The cells; the first row names the columns, unless it is empty.
        styles: The style of each row's first cell, below the first row.
        notes: Lines below the table, each with its style.
    """

    title: str
    rows: Sequence[Sequence[str]] = ()
    styles: Sequence[str] = ()
    notes: Sequence[tuple[str, str]] = ()

    def show(self) -> None:
        """Print it; columns beyond the terminal's width are cut, not wrapped."""
        from rich.padding import Padding
        from rich.text import Text

        out = console()
        out.print()
        out.print(Text(self.title, style="bold"))
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        for number, row in enumerate(self.rows):
            line = Text("  ")
            for at, (cell, width) in enumerate(zip(row, widths, strict=True)):
                text = cell.ljust(width) if at == 0 or "█" in cell else cell.rjust(width)
                style = "dim" if number == 0 else self.styles[number - 1] if at == 0 else ""
                line.append(text + "  ", style=style)
            line.rstrip()
            out.print(line, no_wrap=True, overflow="ellipsis")
        for note, style in self.notes:
            out.print(Padding(Text(note, style=style), (0, 0, 0, 2), expand=False))


def report_blocks(told: Mapping[str, Any]) -> Iterator[Block]:
    """The parts of a report that have something to say."""
    yield _savings(told["savings"])
    yield _tiers(told["distribution"])
    yield _latency(told["latency"])
    yield from _tasks(told["distribution"])
    yield from _faults(told["faults"])
    yield from _quality(told["quality"])
    yield from _near(told["near_limits"])


def _savings(told: Mapping[str, Any]) -> Block:
    saved = float(told["cost_units_saved"])
    word, style = ("saved", "green") if saved >= 0 else ("LOST", "bold red")
    base = told["baseline"]
    rows = [["", "spent", f"all {base['tier']}", word]]
    for name, (spent, would, won) in {
        "cost units": ("cost_units", "baseline_cost_units", "cost_units_saved"),
        "US dollars": ("usd", "baseline_usd", "usd_saved"),
        "GPU hours": ("gpu_hours", "baseline_gpu_hours", "gpu_hours_saved"),
    }.items():
        if told[spent] is not None and (told[spent] or told[would]):
            rows.append([name, *(_number(told[each]) for each in (spent, would, won))])
    failed, router = told["failed_attempts"], told["router"]
    estimated = told["estimated"]["input_tokens"] + told["estimated"]["output_tokens"]
    whole = told["tokens"] or 1
    notes = [
        (
            (
                f"{word} {abs(told['cost_reduction_pct']):.1f} % of all-{base['tier']}, worth "
                f"{told['tokens_saved']:,} of its tokens"
            ),
            style,
        ),
        (
            (
                f"net of failed attempts ({_number(failed['cost_units'])} cost units) and of the "
                f"router's {router['seconds']:.2f} s ({_number(router['cost_units'])})"
            ),
            "dim",
        ),
        (
            (
                f"{told['tokens']:,} tokens, {100 * estimated / whole:.1f} % of them estimated; "
                f"{base['tier']} taken at {base['s_per_token']:.3f} s a token ({_basis(base)})"
            ),
            "dim",
        ),
    ]
    return Block(title="Savings", rows=rows, styles=[""] * (len(rows) - 1), notes=notes)


def _basis(base: Mapping[str, Any]) -> str:
    words = {"tenant": "measured", "all_tenants": "measured over everybody"}
    return words.get(base["basis"], "by default: too little of it was measured")


def _tiers(told: Mapping[str, Any]) -> Block:
    rows = [["tier", "answered", "", "asked", "tokens in", "out"]]
    for tier in _TIERS:
        each = told["tiers"][tier]
        rows.append(
            [
                tier,
                f"{each['answered']:,}",
                f"{bar(each['share'], _BAR)}{100 * each['share']:>4.0f} %",
                f"{each['asked']:,}",
                f"{each['input_tokens']:,}",
                f"{each['output_tokens']:,}",
            ]
        )
    note = (
        f"{told['fallbacks']:,} answered by another tier than the chosen one "
        f"({100 * told['fallback_rate']:.1f} %), {told['failed']:,} not at all"
    )
    style = "yellow" if told["failed"] or told["fallbacks"] else "dim"
    return Block(title="Tiers", rows=rows, styles=_styles(_TIERS), notes=[(note, style)])


def _latency(told: Mapping[str, Any]) -> Block:
    rows = [["tier", "answers", "p50", "p95", "longest", "first token p50", "p95"]]
    shown = [tier for tier in _TIERS if told[tier]["count"]]
    for tier in shown:
        each, first = told[tier], told[tier]["first_token"]
        times = (each["p50_s"], each["p95_s"], each["max_s"], first["p50_s"], first["p95_s"])
        rows.append([tier, f"{each['count']:,}", *map(_seconds, times)])
    return Block(title="Latency", rows=rows, styles=_styles(shown))


def _tasks(told: Mapping[str, Any]) -> Iterator[Block]:
    tasks = sorted(told["tasks"].items(), key=lambda item: -item[1]["calls"])
    if not tasks:
        return
    from tiered_llm.cli.texts import in_one_line

    rows = [["task", "calls", *_TIERS, "failed"]]
    for name, each in tasks[:_MOST_LINES]:
        counts = (each["calls"], *(each[tier] for tier in _TIERS), each["failed"])
        rows.append([in_one_line(name)[:28], *(f"{count:,}" for count in counts)])
    left = len(tasks) - _MOST_LINES
    notes = [(f"and {left} more: --json", "dim")] if left > 0 else []
    yield Block(title="Tasks", rows=rows, styles=[""] * len(rows), notes=notes)


def _faults(told: Mapping[str, Any]) -> Iterator[Block]:
    found = [
        (count, tier, fault)
        for tier, faults in told["faults"].items()
        for fault, count in faults.items()
    ]
    if not found and not told["errors"]:
        return
    from tiered_llm.cli.texts import in_one_line

    rows = [["tier", "fault", "attempts"]]
    most = sorted(found, reverse=True)[:_MOST_LINES]
    rows += [[tier, in_one_line(fault), f"{count:,}"] for count, tier, fault in most]
    notes = [
        (f"callers got {in_one_line(error)} {count:,} times", "red")
        for error, count in sorted(told["errors"].items(), key=lambda item: -item[1])[:_MOST_LINES]
    ]
    styles = _styles(tier for _, tier, _ in most)
    yield Block(title="Faults", rows=rows if found else (), styles=styles, notes=notes)


def _quality(told: Mapping[str, Any]) -> Iterator[Block]:
    shown = [tier for tier in _TIERS if told["tiers"][tier]["count"]]
    if not shown:
        return
    rows = [["tier", "judged", "", "mean", "95 % interval"]]
    for tier in shown:
        each = told["tiers"][tier]
        interval = f"{each['low']:.2f} to {each['high']:.2f}"
        mean = f"{each['mean']:.2f}"
        rows.append([tier, f"{each['count']:,}", bar(each["mean"], _BAR), mean, interval])
    notes = [
        (
            (
                f"{flag['tier']} does worse than {flag['next_tier']} at scores "
                f"{flag['from']:.1f} to {flag['to']:.1f}"
            ),
            "bold red",
        )
        for flag in told["flags"]
    ]
    yield Block(title="Quality", rows=rows, styles=_styles(shown), notes=notes)


def _near(told: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    if told:
        notes = [
            (
                f"{each['accounts']:,} at {each['threshold_pct']} % of {each['budget']}",
                "red" if each["threshold_pct"] >= 95 else "yellow",  # noqa: PLR2004
            )
            for each in told
        ]
        hint = ("whose: tiered-llm budget alerts, budget show --tenant", "dim")
        yield Block(title="Budgets near their limits", notes=[*notes, hint])


def _styles(tiers: Any) -> list[str]:
    return [TIER_STYLES[tier] for tier in tiers]


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3g} s" if value < 1 else f"{value:.1f} s"


def _number(value: Any) -> str:
    number = float(value)
    if number == int(number):
        return f"{int(number):,}"
    return f"{number:,.1f}" if abs(number) >= 100 else f"{number:,.4f}"  # noqa: PLR2004
