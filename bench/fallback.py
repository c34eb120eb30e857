"""What the fallback chain costs where the first tier answers, over that tier's own model.

The estimate and the rules are left out: what is timed is the chain with its breaker, its retry
budget and the signing of the answer. A model in the same process, in turns with the chain:

    python bench/fallback.py [--json] [--rounds 25]

Exits with 1 if the bound is missed.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig
from overhead import Forgetful, compare

from tiered_llm import FallbackChain, Tier, TierSpec
from tiered_llm.fallback import Call, Plain
from tiered_llm.providers import Endpoint, Parameters
from tiered_llm.types import RoutingDecision

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way of calling, measured.

    Attributes:
        what: The call.
        bare_us: Median microseconds of the model's own call.
        chain_us: Median microseconds of the same call through the chain.
        cost: What the chain adds, as a share of the model's own call.
        bound: The share promised, if one is.
        met: Whether it was kept.
    """

    what: str
    bare_us: float
    chain_us: float
    cost: float
    bound: float | None
    met: bool


class Handler(BaseCallbackHandler):
    """Somebody who watches the runs."""


class Passing(Runnable[Any, Any]):
    """Calls a model and does nothing else: what LangChain's chain costs by itself."""

    def __init__(self, model: Any) -> None:
        """Take the model."""
        self._model = model

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_kwargs: Any) -> Any:
        """The model's answer."""
        return self._model.invoke(input, config)


def chained(model: Any) -> Callable[[Any, RunnableConfig], Any]:
    """A call through a chain of three tiers, of which the first answers."""
    specs = [TierSpec(tier=tier, model_id="local/fake") for tier in Tier]
    chain = FallbackChain([Endpoint(spec, model) for spec in specs])
    decision = RoutingDecision(selected_tier=Tier.LIGHT, fallbacks=(Tier.STANDARD, Tier.HEAVY))

    def call(messages: Any, config: RunnableConfig) -> Any:
        given = Call(
            shape=Plain(), parameters=Parameters(), arguments={}, tier_arguments={}, overrides={}
        )
        chain.begin(given, decision)
        return chain.invoke(given, messages, config)

    return call


def measure(rounds: int) -> list[Row]:
    """The chain with nobody watching and with a handler, and LangChain's own chain alone."""
    model, messages = Forgetful(text="hi"), [HumanMessage("hello")]
    chain = chained(model)
    passing = Passing(model).with_fallbacks([Passing(model), Passing(model)])
    quiet, watched = RunnableConfig(), RunnableConfig(callbacks=[Handler()])
    rows = []
    for what, call, config, bound in (
        ("fallback chain", chain, quiet, MOST),
        ("fallback chain, with a handler", chain, watched, None),
        ("with_fallbacks alone", passing.invoke, quiet, None),
        ("with_fallbacks alone, with a handler", passing.invoke, watched, None),
    ):
        pair = (
            lambda config=config: model.invoke(messages, config),
            lambda call=call, config=config: call(messages, config),
        )
        timed = compare(what, pair, None, rounds)
        cost = round(timed.ratio - 1, 2)
        rows.append(
            Row(
                what=what,
                bare_us=timed.bare_us,
                chain_us=timed.tiered_us,
                cost=cost,
                bound=bound,
                met=bound is None or cost <= bound,
            )
        )
    return rows


def line(row: Row) -> str:
    """A row as text."""
    bound = f"(at most {row.bound}{'' if row.met else ': MISSED'})" if row.bound else ""
    times = f"{row.bare_us:9.1f} µs {row.chain_us:9.1f} µs"
    return f"{row.what:38} {times} {row.cost:6.2f} of a bare invoke {bound}".rstrip()


def main() -> int:
    """Measure, print, and tell whether the bound was kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=25, help="timed rounds")
    given = parser.parse_args()
    gc.freeze()
    rows = measure(given.rounds)
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        for row in rows:
            print(line(row))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
