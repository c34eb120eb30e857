"""The errors of the stores that budgets are kept in."""

from __future__ import annotations

from tiered_llm.errors import TieredLLMError


class LedgerError(TieredLLMError):
    """The store of budgets cannot be reached, or has lost what it held.

    Nothing is known of what the operation would have answered: a caller refuses, or allows
    within what its operator permits for this case. The message says what is wrong and what
    would be right, and holds no group, account, lease or password. The store's own error,
    if it raised one, is the `__cause__`.
    """


class LedgerLostError(LedgerError):
    """The store is there and cannot be trusted: it has lost what it held, or is another's.

    Nobody goes on without an operator, whatever is permitted while a store is away.
    """
