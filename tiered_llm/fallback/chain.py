"""The chain of attempts, built with langchain-core's `with_fallbacks`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiered_llm.errors import AttemptFailedError
from tiered_llm.fallback.attempt import Attempt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import Runnable

    from tiered_llm.providers import Endpoint
    from tiered_llm.tiers import Tier


class FallbackChain:
    """Tries tiers in a decision's order until one answers.

    Only `AttemptFailedError` leads to the next tier: with its default, `with_fallbacks`
    would take a budget error, a graph's interrupt or a `KeyError` for a dead tier.
    """

    def __init__(self, endpoints: Mapping[Tier, Endpoint]) -> None:
        """Make one attempt for each endpoint."""
        self._attempts = {tier: Attempt(endpoint) for tier, endpoint in endpoints.items()}
        self._chains: dict[tuple[Tier, ...], Runnable[Any, Any]] = {}

    def runnable(self, order: tuple[Tier, ...]) -> Runnable[Any, Any]:
        """The chain that tries these tiers in turn; the same order gives the same chain."""
        chain = self._chains.get(order)
        if chain is None:
            first, *rest = (self._attempts[tier] for tier in order)
            chain = first.with_fallbacks(rest, exceptions_to_handle=(AttemptFailedError,))
            self._chains[order] = chain
        return chain
