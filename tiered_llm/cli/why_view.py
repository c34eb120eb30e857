"""One decision on the terminal, from the question of where to what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiered_llm.cli.explain import TIER_STYLES, factor_lines
from tiered_llm.cli.layout import bar_cells, width_of, wrapped
from tiered_llm.cli.output import console
from tiered_llm.cli.texts import in_one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

    from tiered_llm.metrics import Entry
    from tiered_llm.records import AttemptRecord, CallRecord
    from tiered_llm.settings import Settings

_BAR = 20
_HANG = 3
"""What is broken goes on below the words after a number and its dot."""


def show_why(entry: Entry, settings: Settings, *, show_tenant: bool) -> None:
    """Print it, part by part."""
    from rich.text import Text

    record, out = entry.record, console()
    head = way_of(record)
    head.append(f"  score {record.score:.2f}  {record.at:%Y-%m-%d %H:%M:%S} UTC", style="")
    out.print(head, soft_wrap=True)
    out.print(Text(f"run {in_one_line(record.run_id)}", style="dim"), soft_wrap=True)
    for line in _about(record, show_tenant=show_tenant):
        out.print(Text(in_one_line(line)), soft_wrap=True)
    _show_lines("Why", _reasons(record, settings))
    _show_lines("What came of it", _outcome(record))
    if entry.feedback is not None:
        said = entry.feedback.comment
        words = f": {in_one_line(said)}" if said else ""
        _show_lines("Judged", [f"{entry.feedback.score:.2f}{words}"])


def way_of(record: CallRecord) -> Text:
    """Who was chosen, and who answered if that was another, in its colour."""
    from rich.text import Text

    asked = "none" if record.asked is None else record.asked.value
    answered = "nobody" if record.answered is None else record.answered.value
    way = asked if asked == answered else f"{asked} → {answered}"
    return Text(way, style=TIER_STYLES.get(answered, "bold red"))


def _show_lines(title: str, lines: Any) -> None:
    from rich.text import Text

    out = console()
    width = width_of(out)
    out.print()
    out.print(Text(title, style="bold"))
    for line in lines:
        for part in wrapped(line, width, _HANG):
            text = Text(part)
            text.highlight_regex(r"failed: \w+|the caller got \w+|refused by \S+", "red")
            for tier, style in TIER_STYLES.items():
                text.highlight_regex(rf"\b{tier}\b", style)
            out.print(text, soft_wrap=True)


def _about(record: CallRecord, *, show_tenant: bool) -> Iterator[str]:
    told = {
        "task": record.task_type,
        "node": record.node,
        "thread": record.thread_id,
        "tenant": record.tenant_id if show_tenant else None,
    }
    said = [f"{name} {value}" for name, value in told.items() if value]
    if said:
        yield ", ".join(said)


def _reasons(record: CallRecord, settings: Settings) -> Iterator[str]:
    if record.factors:
        weights = settings.complexity.weights
        yield from factor_lines({"factors": record.factors}, weights, bar_cells(_BAR))
        yield f"{'score':<23}{'':<{bar_cells(_BAR)}} {record.score:.2f}"
        yield ""
    if not record.reasons:
        yield "it did not come to a decision, or its record was too long to be kept whole"
    for number, reason in enumerate(record.reasons, start=1):
        yield f"{number}. {in_one_line(reason)}"
    yield f"policy {record.policy_version or 'unknown'}; router {record.router_s * 1000:.2f} ms"


def _outcome(record: CallRecord) -> Iterator[str]:
    for number, attempt in enumerate(record.attempts, start=1):
        yield f"{number}. {_end(attempt)}"
        yield " " * _HANG + _use(attempt)
    if not record.attempts:
        yield "no tier was asked"
    if record.budget:
        yield "budget: " + ", ".join(
            f"{name.replace('_', ' ')} {in_one_line(str(value))}"
            for name, value in record.budget.items()
        )
    if record.error:
        yield f"the caller got {in_one_line(record.error)}"


def _end(attempt: AttemptRecord) -> str:
    ended = f"{attempt.outcome}: {attempt.fault}" if attempt.fault else attempt.outcome
    model = f" ({attempt.model_id})" if attempt.model_id else ""
    return in_one_line(f"{attempt.tier.value}{model} {ended} in {attempt.latency_s:.3f} s")


def _use(attempt: AttemptRecord) -> str:
    how = "estimated" if attempt.estimated else "measured"
    parts = [f"{attempt.input_tokens:,} tokens in, {attempt.output_tokens:,} out, {how}"]
    if attempt.charged_tokens is not None:
        parts.append(f"{attempt.charged_tokens:,} charged")
    if attempt.first_token_s is not None:
        parts.append(f"first token after {attempt.first_token_s:.3f} s")
    return "; ".join(parts)
