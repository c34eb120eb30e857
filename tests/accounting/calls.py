"""Calls that can be told apart on the wire and in the ledger, and the books of both sides.

Each call has words of its own, by which its requests are found, and a user of its own, whose
account holds that call alone; the tenant's account holds them all.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accounting.traced import Traced
from hand_clock import HandClock

from tiered_llm import BudgetRule, ModelMetricsCollector
from tiered_llm.budgets import BudgetManager
from tiered_llm.budgets.plan import Payer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_core.language_models import BaseChatModel

    from tiered_llm.testing import Simulator
    from tiered_llm.testing.simulator.journal import RequestRecord

TENANT = "acme"
LEASE_S = 60.0
PLENTY = 10**12

_WORDS = re.compile(r"call (\d+) of")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call, ready to be made."""

    number: int
    model: BaseChatModel
    config: dict[str, Any]
    server: Simulator
    words_of: int | None = None
    """Whose words it says; its own unless given."""

    @property
    def words(self) -> str:
        whose = self.number if self.words_of is None else self.words_of
        return f"call {whose} of many"


def number_of(record: RequestRecord) -> int:
    """Which call a request belongs to."""
    return int(_WORDS.search(record.body["messages"][-1]["content"])[1])


def bill(records: Iterable[RequestRecord]) -> int:
    """Tokens that the servers have read and written for some requests."""
    return sum(record.input_tokens + record.output_tokens for record in records)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What stands in one account."""

    used: int
    reserved: int
    orphaned: int


class Books:
    """A budget without an end, on a clock that a test moves, and what servers have billed."""

    def __init__(self, *servers: Simulator) -> None:
        self._servers, self.clock = servers, HandClock()
        self.manager = BudgetManager(
            rules=[
                BudgetRule(name="tenant", daily=PLENTY),
                BudgetRule(name="call", by=("user",), daily=PLENTY),
            ],
            lease_s=LEASE_S,
            clock=self.clock,
        )
        self.collector, self.traced = ModelMetricsCollector(), Traced()

    def charge(self, number: int) -> Charge:
        """What one call was charged."""
        return self._charge(Payer(tenant_id=TENANT, user_id=str(number)), "call/daily")

    @property
    def whole(self) -> Charge:
        """What all calls together were charged."""
        return self._charge(Payer(tenant_id=TENANT), "daily")

    def requests(self) -> dict[int, list[RequestRecord]]:
        """All requests by the call's number, once the servers are done with them."""
        found = defaultdict(list)
        for server in self._servers:
            server.wait_for(
                lambda at=server: all(r.outcome not in {"open", "stalled"} for r in at.requests)
            )
            for record in server.requests:
                found[number_of(record)].append(record)
        return found

    def _charge(self, payer: Payer, budget: str) -> Charge:
        usage = self.manager.usage_of(payer)[budget]
        columns = {name: int(getattr(usage, name)) for name in ("used", "reserved", "orphaned")}
        return Charge(**columns)
