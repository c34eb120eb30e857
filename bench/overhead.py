"""What a `TieredChatModel` costs over the model that it calls, in one run.

Both are timed in turns, in batches, so that a busy moment strikes both; the ratio of a round
is theirs alone, and its median is what counts:

    python bench/overhead.py [--json] [--rounds 25]

Exits with 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tiered_llm import TieredChatModel
from tiered_llm.testing import FakeChatModel

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNKS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way of calling, measured.

    Attributes:
        what: The call.
        bare_us: Median microseconds of the model's own call.
        tiered_us: Median microseconds of the same call through a `TieredChatModel`.
        ratio: Median of the rounds' ratios.
        bound: The ratio promised, if one is.
        met: Whether it was kept.
    """

    what: str
    bare_us: float
    tiered_us: float
    ratio: float
    bound: float | None
    met: bool


class Forgetful(FakeChatModel):
    """A fake that keeps no record of its calls, so that a long run stays flat."""

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.clear()
        return super()._generate(*args, **kwargs)

    def _stream(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.clear()
        return super()._stream(*args, **kwargs)


def seconds(call: Callable[[], Any], times: int) -> float:
    """Seconds of one call, over a batch."""
    start = perf_counter()
    for _ in range(times):
        call()
    return (perf_counter() - start) / times


def compare(
    what: str, calls: tuple[Callable[[], Any], Callable[[], Any]], bound: float | None, rounds: int
) -> Row:
    """Time two calls, batch by batch in turns."""
    times = max(1, int(0.02 / min(seconds(calls[0], 3) for _ in range(3))))
    bare, tiered = [], []
    for _ in range(rounds):
        bare.append(seconds(calls[0], times))
        tiered.append(seconds(calls[1], times))
    ratio = median(t / b for t, b in zip(tiered, bare, strict=True))
    return Row(
        what=what,
        bare_us=round(median(bare) * 1e6, 1),
        tiered_us=round(median(tiered) * 1e6, 1),
        ratio=round(ratio, 2),
        bound=bound,
        met=bound is None or ratio <= bound,
    )


def measure(rounds: int) -> list[Row]:
    """All rows: invoke and ainvoke of a short answer, streams of 200 chunks."""
    loop = asyncio.new_event_loop()
    short, long = Forgetful(text="hi"), Forgetful(text=" ".join(["word"] * CHUNKS))
    pairs = [(model, TieredChatModel(light=model)) for model in (short, long)]

    async def read(model: Any) -> None:
        async for _ in model.astream("hello"):
            pass

    def both(call: Callable[[Any], Any], pair: int) -> Any:
        return tuple((lambda model=model: call(model)) for model in pairs[pair])

    run = loop.run_until_complete
    rows = [
        compare("invoke", both(lambda m: m.invoke("hello"), 0), 3.0, rounds),
        compare("ainvoke", both(lambda m: run(m.ainvoke("hello")), 0), None, rounds),
        compare("stream, 200 chunks", both(lambda m: list(m.stream("hello")), 1), None, rounds),
        compare("astream, 200 chunks", both(lambda m: run(read(m)), 1), 1.3, rounds),
    ]
    loop.close()
    return rows


def line(row: Row) -> str:
    """A row as text."""
    bound = f"(at most {row.bound}{'' if row.met else ': MISSED'})" if row.bound else ""
    times = f"{row.bare_us:9.1f} µs {row.tiered_us:9.1f} µs"
    return f"{row.what:20} {times} {row.ratio:6.2f} times {bound}".rstrip()


def main() -> int:
    """Measure, print, and tell whether every bound was kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=25, help="timed rounds")
    given = parser.parse_args()
    gc.freeze()
    rows = measure(given.rounds)
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        for row in rows:
            print(line(row))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
