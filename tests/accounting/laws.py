"""What must stand in the books after calls that ended in one way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from accounting.calls import Charge, bill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from accounting.calls import Books

    from tiered_llm.testing.simulator.journal import RequestRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """Of which requests the client was told what they cost, and which certainly cost nothing.

    What it was told is in `used`, exactly; of what it was not told, at least what was billed is
    in `orphaned`, which is the flag; nothing is in both.
    """

    told: Callable[[RequestRecord], bool]
    free: Callable[[RequestRecord], bool] = lambda record: False

    def check(self, books: Books, numbers: Iterable[int]) -> None:
        """Hold each call to it, and the tenant to the sum of the calls."""
        requests, charges = books.requests(), {n: books.charge(n) for n in numbers}
        for number, charge in charges.items():
            self._check_one(charge, requests[number])
        assert books.whole == Charge(
            used=sum(charge.used for charge in charges.values()),
            reserved=0,
            orphaned=sum(charge.orphaned for charge in charges.values()),
        )

    def _check_one(self, charge: Charge, requests: list[RequestRecord]) -> None:
        told = [each for each in requests if self.told(each)]
        free = [each for each in requests if self.free(each)]
        rest = [each for each in requests if each not in told and each not in free]
        assert (charge.used, charge.reserved) == (bill(told), 0)
        assert charge.orphaned >= bill(rest)
        assert bool(charge.orphaned) == bool(rest), "what is uncertain is flagged, and only that"
        assert bill(free) == 0


TOLD = Law(told=lambda record: True)
UNTOLD = Law(told=lambda record: False)
ANSWERS_TOLD = Law(told=lambda record: record.outcome == "answered")
REFUSED = Law(told=lambda record: False, free=lambda record: True)
ANSWERED_OR_REFUSED = Law(
    told=lambda record: record.outcome == "answered",
    free=lambda record: record.outcome == "status",
)
