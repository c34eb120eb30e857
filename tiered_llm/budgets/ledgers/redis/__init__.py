"""The ledger behind `redis://` and `rediss://`."""

from __future__ import annotations

from tiered_llm.budgets.ledgers.redis.ledger import RedisLedger

__all__ = ["RedisLedger"]
