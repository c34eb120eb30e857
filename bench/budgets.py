"""What a reserve and its settle cost, in memory and in a SQLite file.

    python bench/budgets.py [--json] [--calls 2000]

Exits with 1 if the bound in memory is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter

from tiered_llm import BudgetManager

MOST_US = 40.0
_ROUNDS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One store, measured.

    Attributes:
        store: The kind of its URL.
        ledger_us: Median microseconds of the ledger's own reserve and settle, together.
        manager_us: The same through a `BudgetManager`, with windows and three accounts.
        bound_us: Microseconds promised for the ledger, if any are.
        met: Whether that was kept.
    """

    store: str
    ledger_us: float
    manager_us: float
    bound_us: float | None
    met: bool


def measure(store: str, calls: int, bound_us: float | None) -> Row:
    """Time reserve and settle in batches."""
    manager = BudgetManager(10**12, 10**12, store=store)
    ledger, serial = manager.ledger, 0
    held = manager.reserve("acme", "light", 600, 400)
    ask = held._ask  # noqa: SLF001  # what the manager writes, to time the ledger with
    amounts = tuple(1_000 for _ in ask.lines)
    held.void()
    own, whole = [], []
    for _ in range(_ROUNDS):
        start = perf_counter()
        for _ in range(calls):
            serial += 1
            lease = f"lease-{serial}"
            ledger.reserve(replace(ask, lease=lease))
            ledger.settle(ask.group, lease, amounts)
        own.append((perf_counter() - start) / calls)
        start = perf_counter()
        for _ in range(calls):
            manager.reserve("acme", "light", 600, 400).settle(550, 300)
        whole.append((perf_counter() - start) / calls)
    ledger.close()
    ledger_us = round(median(own) * 1e6, 1)
    return Row(
        store=store.partition(":")[0],
        ledger_us=ledger_us,
        manager_us=round(median(whole) * 1e6, 1),
        bound_us=bound_us,
        met=bound_us is None or ledger_us <= bound_us,
    )


def main() -> int:
    """Measure, print, and tell whether the bound was kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--calls", type=int, default=2_000, help="calls in a round")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        rows = [
            measure("memory://", given.calls, MOST_US),
            measure(f"sqlite:///{Path(place) / 'b.db'}", max(given.calls // 20, 1), None),
        ]
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        for row in rows:
            bound = (
                f"(at most {row.bound_us:g}{'' if row.met else ': MISSED'})" if row.bound_us else ""
            )
            times = f"{row.ledger_us:9.1f} µs, through the manager {row.manager_us:9.1f} µs"
            print(f"{row.store:8} reserve and settle {times} {bound}".rstrip())
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
