"""The report on the terminal: what its blocks say, with bars, and words for what is bad."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiered_llm.cli.explain import TIER_STYLES, bar
from tiered_llm.cli.layout import Block, Cell, bar_cells
from tiered_llm.cli.report_savings import savings_blocks
from tiered_llm.cli.texts import counted, in_one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_BAR = 14
_TIERS = ("light", "standard", "heavy")
_MOST_LINES = 8
_BAD = "bold red"
_LAST_WARNING_PCT = 95


def report_blocks(told: Mapping[str, Any]) -> Iterator[Block]:
    """The parts of a report that have something to say."""
    yield from savings_blocks(told["savings"])
    yield _tiers(told["distribution"])
    yield from _latency(told["latency"])
    yield from _tasks(told["distribution"])
    yield from _faults(told["faults"])
    yield from _quality(told["quality"])
    yield from _near(told["near_limits"])


def _tiers(told: Mapping[str, Any]) -> Block:
    rows = []
    for tier in _TIERS:
        each = told["tiers"][tier]
        share = f"{bar(each['share'], bar_cells(_BAR))} {100 * each['share']:>3.0f} %"
        numbers = (each["asked"], each["input_tokens"], each["output_tokens"])
        asked, read, wrote = (Cell(f"{number:,}") for number in numbers)
        answered = Cell(f"{each['answered']:,}")
        rows.append([_tier(tier), asked, answered, _bar(share, tier), read, wrote])
    note = (
        f"{told['fallbacks']:,} answered by another tier than the chosen one "
        f"({100 * told['fallback_rate']:.1f} %), {told['failed']:,} not at all"
    )
    style = "yellow" if told["failed"] or told["fallbacks"] else "dim"
    head = ("tier", "asked", "answered", "", "tokens in", "out")
    return Block(title="Tiers", head=head, rows=rows, notes=[Cell(note, style)])


def _latency(told: Mapping[str, Any]) -> Iterator[Block]:
    rows = []
    for tier in _TIERS:
        each, first = told[tier], told[tier]["first_token"]
        times = (each["p50_s"], each["p95_s"], each["max_s"], first["p50_s"], first["p95_s"])
        if each["count"]:
            shown = (f"{each['count']:,}", *map(_seconds, times))
            rows.append([_tier(tier), *map(Cell, shown)])
    head = ("tier", "answers", "p50", "p95", "longest", "first token p50", "p95")
    if rows:
        yield Block(title="Latency", head=head, rows=rows)


def _tasks(told: Mapping[str, Any]) -> Iterator[Block]:
    tasks = sorted(told["tasks"].items(), key=lambda item: -item[1]["calls"])
    rows = []
    for name, each in tasks[:_MOST_LINES]:
        counts = (each["calls"], *(each[tier] for tier in _TIERS))
        failed = Cell(f"{each['failed']:,}", "red" if each["failed"] else "")
        numbers = [Cell(f"{count:,}") for count in counts]
        rows.append([Cell(in_one_line(name)[:28]), *numbers, failed])
    left = len(tasks) - _MOST_LINES
    notes = [Cell(f"and {left} more: --json", "dim")] if left > 0 else []
    if rows:
        head = ("task", "calls", *_TIERS, "failed")
        yield Block(title="Tasks", head=head, rows=rows, notes=notes)


def _faults(told: Mapping[str, Any]) -> Iterator[Block]:
    found = [
        (count, tier, fault)
        for tier, faults in told["faults"].items()
        for fault, count in faults.items()
    ]
    rows = [
        [_tier(tier), Cell(in_one_line(fault), left=True), Cell(f"{count:,}")]
        for count, tier, fault in sorted(found, reverse=True)[:_MOST_LINES]
    ]
    left = len(found) - _MOST_LINES
    notes = [Cell(f"and {left} more: --json", "dim")] if left > 0 else []
    notes += [
        Cell(f"callers got {in_one_line(error)} {counted(count, 'time')}", "red")
        for error, count in sorted(told["errors"].items(), key=lambda item: -item[1])[:_MOST_LINES]
    ]
    left_by = sum(ends["abandoned"] for ends in told["outcomes"].values())
    if left_by:
        notes.append(Cell(f"callers gave up {counted(left_by, 'attempt')} under way", "dim"))
    if rows or notes:
        head = ("tier", "fault", "attempts")
        yield Block(title="Faults", head=head, rows=rows, notes=notes)


def _quality(told: Mapping[str, Any]) -> Iterator[Block]:
    rows = []
    for tier in _TIERS:
        each = told["tiers"][tier]
        if each["count"]:
            mean = _bar(bar(each["mean"], bar_cells(_BAR)), tier)
            interval = Cell(f"{each['low']:.2f} to {each['high']:.2f}")
            judged = Cell(f"{each['count']:,}")
            rows.append([_tier(tier), judged, mean, Cell(f"{each['mean']:.2f}"), interval])
    if rows:
        head = ("tier", "judged", "", "mean", "95 % interval")
        notes = [Cell(_flag(flag), _BAD) for flag in told["flags"]]
        yield Block(title="Quality", head=head, rows=rows, notes=notes)


def _flag(flag: Mapping[str, Any]) -> str:
    where = "there" if flag["against"] == "band" else "over all its scores"
    return (
        f"{flag['tier']} does worse than {flag['next_tier']} at scores {flag['from']:.1f} to "
        f"{flag['to']:.1f}: at most {flag['high']:.2f}, {flag['next_tier']} at least "
        f"{flag['next_low']:.2f} {where}"
    )


def _near(told: Sequence[Mapping[str, Any]] | None) -> Iterator[Block]:
    if not told:
        return
    notes = [
        Cell(_reached(each), "red" if each["threshold_pct"] >= _LAST_WARNING_PCT else "yellow")
        for each in told
    ]
    hint = Cell("whose: tiered-llm budget alerts, budget show --tenant", "dim")
    yield Block(title="Budgets near their limits", notes=[*notes, hint])


def _reached(near: Mapping[str, Any]) -> str:
    """How many have come so far; of a tenant's own budget how far, and what is left."""
    if "left" not in near:
        reached = f"{near['threshold_pct']} % of {in_one_line(near['budget'])}"
        return f"{counted(near['accounts'], 'account')} at {reached} or above"
    left = f"{near['left']:,} of {near['limit']:,} {near['unit']} left"
    until = near["resets_at"][:16].replace("T", " ")
    return f"{in_one_line(near['budget'])} at {int(near['share_pct'])} %: {left} until {until}"


def _tier(tier: str) -> Cell:
    return Cell(tier, TIER_STYLES[tier])


def _bar(text: str, tier: str) -> Cell:
    return Cell(text, TIER_STYLES[tier], left=True)


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{1000 * value:.3g} ms" if value < 0.9995 else f"{value:,.1f} s"  # noqa: PLR2004
