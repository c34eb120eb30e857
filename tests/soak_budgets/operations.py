"""A long random walk of a ledger beside the plain reference, without hypothesis' bookkeeping.

The rules and their arguments are those of `conformance.ledger_reference`: hypothesis draws a
stock of arguments once, and the walk picks from it. Every answer is compared with the
reference's, and all balances after every step.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.stateful import Rule

EPISODE = 100
"""Steps of one ledger: the reference adds all of its calls up at each."""
STOCK = 500
TOLD_EVERY = 25_000


def walk(machine: type[Any], steps: int, seed: int, tell: Callable[[str], None]) -> None:
    """Take so many steps, with a fresh ledger for each hundred.

    Raises:
        AssertionError: The ledger and the reference disagree; the episode's steps are in a note.
    """
    rng, began_s = random.Random(seed), time.monotonic()  # noqa: S311  # a soak that can be had again
    stock, done = _stocked(machine, seed), 0
    while done < steps:
        _episode(machine, stock, rng, min(EPISODE, steps - done))
        done += EPISODE
        if done % TOLD_EVERY < EPISODE:
            per_s = done / (time.monotonic() - began_s)
            tell(f"{min(done, steps):,} of {steps:,} operations, {per_s:,.0f} a second")


def _episode(
    machine: type[Any], stock: dict[str, dict[str, list[Any]]], rng: random.Random, steps: int
) -> None:
    taken: list[str] = []
    walker, rules = machine(), sorted(stock)
    try:
        for _ in range(steps):
            name = rng.choice(rules)
            arguments = {key: rng.choice(values) for key, values in stock[name].items()}
            taken.append(f"{name}({arguments})")
            getattr(walker, name)(**arguments)
            for each in walker.invariants:
                each.function(walker)
    except AssertionError as error:
        error.add_note("\n".join(taken))
        raise
    finally:
        walker.teardown()


def _stocked(machine: type[Any], seed: int) -> dict[str, dict[str, list[Any]]]:
    """Arguments of every rule, by the rule's name and the argument's."""
    rules: list[Rule] = machine.setup_state().rules
    stock: dict[str, dict[str, list[Any]]] = {rule.function.__name__: {} for rule in rules}
    drawn = defaultdict(list)

    @seeded(seed)
    @settings(
        max_examples=STOCK,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.fixed_dictionaries({
        (rule.function.__name__, name): strategy
        for rule in rules
        for name, strategy in rule.arguments.items()
    }))  # fmt: skip
    def draw(values: dict[tuple[str, str], Any]) -> None:
        for key, value in values.items():
            drawn[key].append(value)

    draw()
    for (rule, name), values in drawn.items():
        stock[rule][name] = values
    return stock
