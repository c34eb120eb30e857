"""How much of a 10,000-token limit servers bill when many callers come at once.

Our model with its three stores, a LangChain callback handler that checks when a run begins and
adds when it ends, and LiteLLM's `Router` with its budgets, side by side:

    python bench/races.py [--json] [--quick]

Callers are coroutines, and come in a burst, each calling once, or in a loop, each calling again
until it is refused. The server waits a second before each answer and counts what it bills. Exits
with 1 if a call through our model takes the bill beyond the limit, or if less of the limit can
be used than is promised.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from races_arena import Arena, Crew
from races_contestants import LIMIT, Entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LEAST_BY_BYTES = 0.9
"""Of the limit, in a loop, where the input is reserved for by its bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One contestant in one configuration.

    Attributes:
        name: Its heading.
        contestant: Who holds the budget.
        store: Where, of ours.
        exact: Whether it knows the model's tokenizer.
    """

    name: str
    contestant: str = "tiered_llm"
    store: str = "memory"
    exact: bool = True

    def runs_in(self, processes: int) -> bool:
        """Whether so many processes can share it at all."""
        ours = self.contestant == "tiered_llm"
        return processes == 1 or not (ours and self.store == "memory")


STORES = ("memory", "sqlite", "redis")
COLUMNS = (
    *(Column(name=store, store=store) for store in STORES),
    *(Column(name=f"{store}, bytes", store=store, exact=False) for store in STORES),
    Column(name="callback", contestant="callback"),
    Column(name="LiteLLM", contestant="LiteLLM"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One race of one contestant, measured.

    Attributes:
        callers: How many started at once.
        form: `burst` or `loop`.
        processes: Among how many processes they were dealt out.
        column: The contestant.
        billed: Tokens that the server billed.
        answered: Calls that were let through.
        refused: Calls that were not.
        overspend_pct: Percent of the limit billed beyond it.
        used_pct: Percent of the limit that was used.
        met: Whether our promises were kept; of others, none are asked.
    """

    callers: int
    form: str
    processes: int
    column: str
    billed: int
    answered: int
    refused: int
    overspend_pct: float
    used_pct: float
    met: bool


def measure(arena: Arena, crew: Crew, column: Column, callers: int, form: str) -> Row:
    """Run one race."""
    entry = Entry(
        contestant=column.contestant,
        url="",
        exact=column.exact,
        callers=callers,
        loop=form == "loop",
    )
    billed, heard = arena.race(crew, column.store, entry)
    return Row(
        callers=callers,
        form=form,
        processes=crew.size,
        column=column.name,
        billed=billed,
        answered=heard["answered"],
        refused=heard["refused"],
        overspend_pct=round(100 * max(0, billed - LIMIT) / LIMIT, 1),
        used_pct=round(100 * min(billed, LIMIT) / LIMIT, 1),
        met=column.contestant != "tiered_llm" or _kept(billed, form, exact=column.exact),
    )


def _kept(billed: int, form: str, *, exact: bool) -> bool:
    """Whether the limit was held, and as much of it used as is promised."""
    if exact:
        return billed == LIMIT
    return billed <= LIMIT and (form == "burst" or billed >= LEAST_BY_BYTES * LIMIT)


def races(*, quick: bool) -> Iterator[tuple[int, Sequence[tuple[int, str]]]]:
    """Processes, and the crowds that race in them."""
    crowds = [(n, form) for n in ((50,) if quick else (50, 200, 1_000)) for form in FORMS]
    for processes in (1, 4) if quick else (1, 4, 8):
        alone = [(1, "loop")] if processes == 1 else []
        yield processes, alone + crowds


FORMS = ("burst", "loop")


def cell(row: Row | None) -> str:
    """A share that was used, or what was overspent."""
    if row is None:
        return ""
    shown = f"+{row.overspend_pct:,g} %" if row.overspend_pct else f"{row.used_pct:g} %"
    return shown if row.met else f"{shown} MISSED"


def heading() -> str:
    """The table's head, in Markdown."""
    names = ["callers", "form", "processes", *(column.name for column in COLUMNS)]
    return "\n".join(["| " + " | ".join(names) + " |", "|" + "---:|" * len(names)])


def line(rows: Sequence[Row]) -> str:
    """One crowd as a line of the table."""
    by_column = {row.column: row for row in rows}
    crowd = [f"{rows[0].callers:,}", rows[0].form, str(rows[0].processes)]
    cells = [cell(by_column.get(column.name)) for column in COLUMNS]
    return "| " + " | ".join([*crowd, *cells]) + " |"


def main() -> int:
    """Race, print, and tell whether all promises were kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="50 callers in 1 and 4 processes")
    given = parser.parse_args()
    if importlib.util.find_spec("litellm") is None:
        sys.exit("LiteLLM is not installed: `make bench` installs requirements/bench.lock")
    done: list[Row] = []
    if not given.json:
        print(heading(), flush=True)
    with Arena() as arena:
        for processes, crowds in races(quick=given.quick):
            columns = [column for column in COLUMNS if column.runs_in(processes)]
            with Crew(processes) as crew:
                for callers, form in crowds:
                    rows = [measure(arena, crew, column, callers, form) for column in columns]
                    done.extend(rows)
                    if not given.json:
                        print(line(rows), flush=True)
    if given.json:
        print(json.dumps([asdict(row) for row in done], indent=2))
    return 0 if all(row.met for row in done) else 1


if __name__ == "__main__":
    sys.exit(main())
