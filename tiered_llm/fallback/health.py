"""What a process knows of its endpoints: their breakers, and its retry budget."""

from __future__ import annotations

import logging
import random
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

from opentelemetry import trace

from tiered_llm.clock import SYSTEM_CLOCK
from tiered_llm.fallback.breaker import Breaker
from tiered_llm.fallback.retries import RetryBudget
from tiered_llm.settings.masking import masked_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiered_llm.clock import Clock
    from tiered_llm.fallback.phases import State
    from tiered_llm.providers import Endpoint
    from tiered_llm.settings import BreakerSettings, FallbackSettings

_log = logging.getLogger("tiered_llm.fallback")
logging.getLogger("tiered_llm").addHandler(logging.NullHandler())  # a library is silent by itself

_MOST_ENDPOINTS = 1_024
"""Endpoints that are remembered; the one not asked for longest goes first."""

Address: TypeAlias = tuple[str, str, str]
"""Provider, endpoint and model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointHealth:
    """One endpoint as its breaker sees it.

    Attributes:
        provider: `ollama`, `vllm` and the like.
        endpoint: Its URL; empty where the provider's own is used.
        model: The model's name.
        state: `closed`, `open`, `half_open`, or `cooldown` after a 429.
        remaining_s: Seconds until a call is let through, at the latest.
    """

    provider: str
    endpoint: str
    model: str
    state: State
    remaining_s: float


class Health:
    """Breakers by endpoint, and the retry budget. Shared by threads, event loops and models.

    All models of a process share one, `PROCESS_HEALTH`, unless they are given another:
    `TieredChatModel(health=Health())`. A ready model of no known address, a fake for one,
    has a breaker to itself.
    """

    def __init__(
        self, clock: Clock = SYSTEM_CLOCK, rng: Callable[[], float] = random.random
    ) -> None:
        """Know nothing yet; `rng` draws from [0, 1) for the jitter of open times."""
        self.clock, self._rng = clock, rng
        self._lock = threading.RLock()
        self._breakers: OrderedDict[tuple[Address, BreakerSettings], Breaker] = OrderedDict()
        self._own: WeakKeyDictionary[Endpoint, Breaker] = WeakKeyDictionary()
        self._budgets: dict[tuple[float, int], RetryBudget] = {}
        self._reported: set[Address] = set()

    def __deepcopy__(self, memo: dict[int, object]) -> Health:
        """A copy of a model shares its health: the endpoints are the same."""
        return self

    def __reduce__(self) -> str | tuple[type[Health], tuple[()]]:
        """Another process finds out for itself."""
        return "PROCESS_HEALTH" if self is PROCESS_HEALTH else (Health, ())

    def breaker(self, endpoint: Endpoint, policy: BreakerSettings) -> Breaker:
        """The breaker of an endpoint: the same one for every model with the same policy."""
        address = endpoint.address
        with self._lock:
            if address is None:
                found = self._own.get(endpoint)
                if found is None:
                    spec = endpoint.spec
                    found = self._own[endpoint] = self._new(
                        (spec.provider, "", spec.model_name), policy
                    )
                return found
            key = (address, policy)
            if key not in self._breakers:
                self._breakers[key] = self._new(address, policy)
            self._breakers.move_to_end(key)
            if len(self._breakers) > _MOST_ENDPOINTS:
                self._breakers.popitem(last=False)
            return self._breakers[key]

    def retries(self, policy: FallbackSettings) -> RetryBudget:
        """The retry budget: one for all models with the same share and reserve."""
        key = (policy.retry_share, policy.retry_reserve)
        with self._lock:
            if key not in self._budgets:
                self._budgets[key] = RetryBudget(*key, clock=self.clock)
            return self._budgets[key]

    def report(self, endpoint: Endpoint, what: str) -> None:
        """Warn of a configuration that cannot work, once for each endpoint: it mends nothing."""
        address = endpoint.address or ("", "", endpoint.spec.model_id)
        with self._lock:
            if address in self._reported or len(self._reported) >= _MOST_ENDPOINTS:
                return
            self._reported.add(address)
        _log.warning(
            "the %s tier is not set up right: %s; `tiered-llm doctor` tells more",
            endpoint.spec.tier.value,
            what,
        )

    def snapshot(self) -> tuple[EndpointHealth, ...]:
        """The endpoints asked so far, as their breakers see them."""
        with self._lock:
            known = [(address, breaker) for (address, _), breaker in self._breakers.items()]
        return tuple(
            EndpointHealth(
                provider=provider,
                endpoint=masked_url(url),
                model=model,
                state=breaker.state,
                remaining_s=breaker.remaining_s,
            )
            for (provider, url, model), breaker in known
        )

    def reset(self) -> None:
        """Be as new: breakers closed, the retry budget full. For tests."""
        with self._lock:
            breakers = [*self._breakers.values(), *self._own.values()]
            budgets = [*self._budgets.values()]
            self._reported.clear()
        for breaker in breakers:
            breaker.reset()
        for budget in budgets:
            budget.reset()

    def _new(self, address: Address, policy: BreakerSettings) -> Breaker:
        return Breaker(policy, self.clock, self._rng, partial(_tell, address))


def _named(address: Address) -> str:
    """An endpoint as logs may show it: a URL may hold a secret."""
    provider, url, model = address
    return f"{provider}/{model} at {masked_url(url)}" if url else f"{provider}/{model}"


def _tell(address: Address, old: State, new: State) -> None:
    level = logging.INFO if new in {"closed", "half_open"} else logging.WARNING
    _log.log(level, "breaker of %s: %s, was %s", _named(address), new, old)
    _event(address, old, new)


def _event(address: Address, old: State, new: State) -> None:
    """An event of the span that is current, if any is recorded."""
    span = trace.get_current_span()
    if span.is_recording():
        provider, url, model = address
        told = {
            "tiered_llm.breaker.state": new,
            "tiered_llm.breaker.was": old,
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
        }
        span.add_event("tiered_llm.breaker", {**told, "server.address": masked_url(url)})


PROCESS_HEALTH = Health()
"""What all models of this process share."""
