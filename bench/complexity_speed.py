"""Complexity estimates side by side with LiteLLM's complexity router, in one run.

Both read the same prompts on the same machine, in turns, so that a busy moment strikes
both; what counts is the ratio of the medians, not the microseconds. Run it where LiteLLM is
installed (`requirements/bench.lock`):

    python bench/complexity_speed.py [--json] [--rounds 15]

Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tiered_llm.complexity import ComplexityEstimator
from tiered_llm.types import RoutingRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TARGETS = {12: 5.0, 3_500: 15.0, 51_000: 30.0}
"""Characters of the prompt → how many times faster than LiteLLM's router we promise to be."""

PROSE = (
    "We run a booking service for about forty hotels, and every night a job copies the day's "
    "reservations into the warehouse. Since the last release the copy takes three hours instead "
    "of one. Please look at the query plan below and at how the index is used, compare it with "
    "the plan of last month, and tell me what changed and which of the two fixes you would "
    "recommend. Guests must not notice anything, the team is small, and security review takes a "
    "week. Keep the answer short: a table with cost, risk and effort, then one paragraph.\n"
)

BATCH_S = 0.02
"""Seconds that one timed batch of calls should last: long against the clock's resolution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One prompt length, measured.

    Attributes:
        chars: Length of the prompt.
        ours_us: Median microseconds of one estimate.
        litellm_us: Median microseconds of one classification by LiteLLM.
        ratio: How many times faster the estimate is.
        target: The ratio promised.
        met: Whether it was reached.
    """

    chars: int
    ours_us: float
    litellm_us: float
    ratio: float
    target: float
    met: bool


def prompt(chars: int) -> str:
    """A greeting or a request of exactly so many characters."""
    if chars <= len("Hello there!"):
        return "Hello there!"[:chars]
    return (PROSE * (chars // len(PROSE) + 1))[:chars]


def ours() -> Callable[[str], Any]:
    """An estimate by this project, from text to result."""
    estimator = ComplexityEstimator()
    return lambda text: estimator.estimate_request(RoutingRequest(message=text))


def litellm() -> Callable[[str], Any]:
    """A classification by LiteLLM's complexity router."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or the import fetches a price list
    from litellm.router_strategy.complexity_router import complexity_router

    router = complexity_router.ComplexityRouter("bench", SimpleNamespace(model_list=[]))
    classify: Callable[[str], Any] = router.classify
    return classify


def seconds(call: Callable[[str], Any], text: str, times: int) -> float:
    """Seconds of one call, over a batch."""
    start = perf_counter()
    for _ in range(times):
        call(text)
    return (perf_counter() - start) / times


def batch_size(call: Callable[[str], Any], text: str) -> int:
    """Calls that fill a batch; warms up on the way."""
    return max(1, int(BATCH_S / min(seconds(call, text, 3) for _ in range(3))))


def measure(chars: int, calls: Sequence[Callable[[str], Any]], rounds: int) -> Row:
    """Time both on one prompt, batch by batch in turns."""
    text = prompt(chars)
    sizes = [batch_size(call, text) for call in calls]
    took: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, size, into in zip(calls, sizes, took, strict=True):
            into.append(seconds(call, text, size))
    mine, theirs = (median(times) * 1e6 for times in took)
    ratio, target = theirs / mine, TARGETS[chars]
    return Row(
        chars=chars,
        ours_us=round(mine, 2),
        litellm_us=round(theirs, 2),
        ratio=round(ratio, 1),
        target=target,
        met=ratio >= target,
    )


def table(rows: Sequence[Row]) -> str:
    """The measurement as text."""
    lines = [f"{'chars':>8} {'ours µs':>10} {'LiteLLM µs':>12} {'faster':>8} {'target':>8}"]
    lines.extend(
        f"{row.chars:>8,} {row.ours_us:>10,.1f} {row.litellm_us:>12,.1f} {row.ratio:>7,.1f}x"
        f" {row.target:>7,.0f}x {'' if row.met else '  MISSED'}".rstrip()
        for row in rows
    )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, and return what was printed as plain values."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--rounds", type=int, default=15, help="timed batches of each")
    arguments = parser.parse_args(argv)
    calls = (ours(), litellm())
    rows = [measure(chars, calls, arguments.rounds) for chars in TARGETS]
    result = {"rows": [asdict(row) for row in rows], "met": all(row.met for row in rows)}
    print(json.dumps(result, indent=1) if arguments.json else table(rows))
    return result


if __name__ == "__main__":
    sys.exit(0 if main()["met"] else 1)
