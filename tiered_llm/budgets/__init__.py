"""Token budgets that hold: reserve before a call, settle after it."""

from tiered_llm.budgets.bounds import Overrun, TokenCounter
from tiered_llm.budgets.errors import LedgerError, LedgerLostError
from tiered_llm.budgets.exceeded import BudgetExceededError
from tiered_llm.budgets.handler import BudgetCallbackHandler
from tiered_llm.budgets.ledger import Alert, Ledger
from tiered_llm.budgets.manager import BudgetManager
from tiered_llm.budgets.plan import Payer
from tiered_llm.budgets.reservation import Reservation
from tiered_llm.budgets.rules import BudgetRule
from tiered_llm.budgets.usage import WindowUsage
from tiered_llm.budgets.wallet import CallWallet

__all__ = [
    "Alert",
    "BudgetCallbackHandler",
    "BudgetExceededError",
    "BudgetManager",
    "BudgetRule",
    "CallWallet",
    "Ledger",
    "LedgerError",
    "LedgerLostError",
    "Overrun",
    "Payer",
    "Reservation",
    "TokenCounter",
    "WindowUsage",
]
