"""What every reservation of one manager needs at its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiered_llm.budgets.alerting import Alerting
    from tiered_llm.budgets.bounds import Bounds
    from tiered_llm.budgets.ledger import Ledger
    from tiered_llm.budgets.outage import Outage


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where a manager's reservations are made and ended.

    Attributes:
        ledger: Where it is counted.
        outage: What is remembered while the ledger's store is away.
        bounds: What models may use, and what is learnt from what they did use.
        alerting: Who is told.
        cut_margin: Tokens charged beyond what was seen of an answer that was cut; None to charge
            all that was reserved.
    """

    ledger: Ledger
    outage: Outage
    bounds: Bounds
    alerting: Alerting
    cut_margin: int | None
