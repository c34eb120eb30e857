"""How `demo` looks: a table that grows line by line, or a JSON object for each line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from tiered_llm.cli.demo_ledger import outcome_dict
from tiered_llm.cli.explain import TIER_STYLES, bar
from tiered_llm.cli.texts import in_one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tiered_llm.cli.demo_ledger import Ledger, Outcome
    from tiered_llm.cli.demo_outage import Event
    from tiered_llm.cli.demo_requests import DemoRequest

_GAP = "  "
PLAIN_WIDTH = 110
"""Cells in a line where no terminal says."""
_LEAST_WIDTH, _MOST_WIDTH = 80, 150
_REQUEST_SHARE = 0.52
_TAIL_CHARS = 400
_BAR_WIDTH = 30


class View(Protocol):
    """Whoever shows a demonstration while it runs."""

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(self, *_: object) -> None:
        """Leave the screen in order, whatever happened."""
        ...

    def begin(self, request: DemoRequest, ledger: Ledger) -> None:
        """A request is about to be sent."""
        ...

    def show(self, piece: str) -> None:
        """A piece of the present answer has come."""
        ...

    def end(self, outcome: Outcome, ledger: Ledger) -> None:
        """A request is over; the ledger holds it already."""
        ...

    def tell(self, event: Event) -> None:
        """Something has happened between two requests."""
        ...

    def sum_up(self, ledger: Ledger) -> None:
        """The run is over."""
        ...


class JsonView:
    """A JSON object for each request, and one for the summary, a line each, on stdout."""

    def __enter__(self) -> Self:
        """Nothing to begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to put in order."""

    def begin(self, request: DemoRequest, ledger: Ledger) -> None:
        """Nothing is said of what is not over."""

    def show(self, piece: str) -> None:
        """Nothing is said of what is not over."""

    def end(self, outcome: Outcome, ledger: Ledger) -> None:
        """A line for the request."""
        found = outcome_dict(outcome, ledger.prices, simulated=ledger.simulated)
        typer.echo(json.dumps(found, ensure_ascii=False))

    def tell(self, event: Event) -> None:
        """A line for the event."""
        typer.echo(json.dumps(event.to_dict(), ensure_ascii=False))

    def sum_up(self, ledger: Ledger) -> None:
        """The last line."""
        typer.echo(json.dumps(ledger.to_dict(), ensure_ascii=False))


class Columns(NamedTuple):
    """Widths of the two columns that share what the others leave, in cells."""

    request: int
    why: int

    @classmethod
    def within(cls, width: int) -> Columns:
        """Widths for a line of so many cells."""
        rest = min(_MOST_WIDTH, max(_LEAST_WIDTH, width)) - _fixed_width()
        request = round(rest * _REQUEST_SHARE)
        return cls(request, rest - request)

    def line(self, cells: tuple[Text, ...]) -> Text:
        """One line; cells that are too long are cut, figures stand to the right."""
        widths = (3, self.request, 5, 8, self.why, 6, 5, 7)
        right = (True, False, True, False, False, True, True, True)
        fitted = map(_fitted, cells, widths, right)
        return Text(_GAP).join(fitted)


def _fixed_width() -> int:
    return 3 + 5 + 8 + 6 + 5 + 7 + 7 * len(_GAP)


def _fitted(cell: Text, width: int, right: bool) -> Text:
    cell.truncate(width, overflow="ellipsis")
    if right:
        cell.pad_left(width - cell.cell_len)
    else:
        cell.pad_right(width - cell.cell_len)
    return cell


_EVENT_MARKS = {
    "killed": ("▼", "bold red"),
    "back": ("▲", "bold green"),
    "breaker": ("◆", "bold cyan"),
}
_HEADINGS = ("#", "request", "score", "tier", "why", "in", "out", "time")


class LineView:
    """A line of the table for each request, for a log or a pipe."""

    def __init__(self, out: Console, width: int = PLAIN_WIDTH) -> None:
        """Take the console to write to, and the width of a line in cells."""
        self._out, self._width = out, width
        self._columns = Columns.within(width)

    def __enter__(self) -> Self:
        """Write the headings."""
        self._print(self._columns.line(tuple(Text(h, style="bold") for h in _HEADINGS)))
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to put in order."""

    def begin(self, request: DemoRequest, ledger: Ledger) -> None:
        """Nothing is said of what is not over."""

    def show(self, piece: str) -> None:
        """Nothing is said of what is not over."""

    def end(self, outcome: Outcome, ledger: Ledger) -> None:
        """The request's line."""
        del ledger
        self._print(self._columns.line(_cells(outcome)))

    def tell(self, event: Event) -> None:
        """A line that stands out from the requests'."""
        mark, style = _EVENT_MARKS[event.kind]
        self._print(Text(f"{mark:>3}  {event.text}", style=style))

    def sum_up(self, ledger: Ledger) -> None:
        """The summary, below the table."""
        for line in summary(ledger):
            self._print(line)

    def _print(self, line: Text) -> None:
        self._out.print(line, soft_wrap=True)


class LiveView(LineView):
    """The table on a terminal: below the finished lines, the present answer as it comes."""

    def __init__(self, out: Console, width: int) -> None:
        """Take the console to draw on, and its width."""
        super().__init__(out, width)
        self._spinner = Spinner("dots", style="cyan")
        self._request = self._tail = self._progress = ""
        self._live = Live(
            get_renderable=self._below, console=out, transient=True, refresh_per_second=12
        )

    def __enter__(self) -> Self:
        """Write the headings and begin to draw below them."""
        super().__enter__()
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take away what is drawn below the table."""
        self._live.stop()

    def begin(self, request: DemoRequest, ledger: Ledger) -> None:
        """Show what is being sent, and how it stands."""
        self._request, self._tail = in_one_line(request.text[:_TAIL_CHARS]), ""
        self._progress = f"{len(ledger.outcomes) + 1}/{ledger.planned}  {saving(ledger)}"

    def show(self, piece: str) -> None:
        """Let the answer run through the line below."""
        self._tail = (self._tail + piece)[-_TAIL_CHARS:]

    def _below(self) -> RenderableType:
        width = self._width - 3
        request = Text(self._request, style="cyan")
        request.truncate(width, overflow="ellipsis")
        self._spinner.update(text=request)
        answer = Text(f"  {_end_of(in_one_line(self._tail), width)}", style="dim")
        return Group(Text(), self._spinner, answer, Text(f"  {self._progress}", style="dim"))


def _end_of(text: str, width: int) -> str:
    """The end of a text, as much of it as a line surely holds."""
    end = text if len(text) <= width else f"…{text[1 - width :]}"
    return end if Text(end).cell_len <= width else f"…{end[1 - width // 2 :]}"


def _cells(outcome: Outcome) -> tuple[Text, ...]:
    tier = outcome.tier.value if outcome.tier else "-"
    style = TIER_STYLES.get(tier, "")
    why_style = "yellow" if outcome.fell_back else "dim"
    return (
        Text(str(outcome.number), style="dim"),
        Text(outcome.shown),
        Text("-" if outcome.score is None else f"{outcome.score:.2f}"),
        Text("failed", style="bold red") if outcome.error else Text(tier, style=style),
        Text(outcome.error, style="red") if outcome.error else Text(outcome.why, style=why_style),
        Text(f"{outcome.input_tokens:,}"),
        Text(f"{outcome.output_tokens:,}"),
        Text(f"{outcome.latency_ms / 1000:.2f} s"),
    )


def summary(ledger: Ledger) -> list[Text]:
    """What it all came to: the mix of tiers, tokens, cost units, the signed saving."""
    return [
        Text(),
        Text(_headline(ledger), style="bold"),
        *(_mix_line(tier, answered, ledger) for tier, answered in ledger.mix.items()),
        Text(_tokens_line(ledger)),
        *_cost_lines(ledger),
        *_outage_lines(ledger),
        *_failure_lines(ledger),
    ]


def _headline(ledger: Ledger) -> str:
    done, planned = len(ledger.outcomes), ledger.planned
    how_many = f"{done}" if done == planned else f"{done} of {planned}"
    ending = "; interrupted" if ledger.interrupted else ""
    failed = f", {ledger.failed} failed" if ledger.failed else ""
    requests = "request" if planned == 1 else "requests"
    return f"{how_many} {requests} in {ledger.elapsed_s:.1f} s{failed}{ending}"


def _mix_line(tier: str, answered: int, ledger: Ledger) -> Text:
    share = answered / len(ledger.outcomes) if ledger.outcomes else 0.0
    drawn = Text(bar(share, _BAR_WIDTH), style=TIER_STYLES[str(tier)])
    return Text(f"{tier:<10}") + drawn + Text(f" {answered:>3}  {share:4.0%}")


def _tokens_line(ledger: Ledger) -> str:
    found = ledger.to_dict()
    calls = len(ledger.calls)
    return (
        f"tokens    {found['input_tokens']:,} read and {found['output_tokens']:,} written "
        f"in {calls} model call{'s' if calls != 1 else ''}"
    )


def _cost_lines(ledger: Ledger) -> list[Text]:
    weights = ", ".join(f"{tier} {w:g}" for tier, w in sorted(ledger.prices.weights.items()))
    baseline = f"all on {ledger.prices.baseline_tier}: {ledger.baseline:,.0f} units"
    return [
        Text(f"cost      {ledger.cost:,.0f} units; {baseline}; ")
        + Text(saving(ledger), style="bold green" if ledger.saving_pct >= 0 else "bold red"),
        Text(f"          a unit is a token times its tier's weight: {weights}", style="dim"),
    ]


def saving(ledger: Ledger) -> str:
    """The saving in words; a loss is called a loss."""
    verb = "saved" if ledger.saving_pct >= 0 else "lost"
    return f"{abs(ledger.saving_pct):.1f} % {verb}"


def _outage_lines(ledger: Ledger) -> list[Text]:
    return [Text(line) for line in ledger.outage.lines(ledger.outcomes)] if ledger.outage else []


def _failure_lines(ledger: Ledger) -> list[Text]:
    failed = [outcome for outcome in ledger.outcomes if outcome.error]
    return [Text(f"#{o.number} failed: {o.error}", style="red") for o in failed]
