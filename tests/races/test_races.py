"""Bursts and loops on one budget: the servers never bill more than the limit, and the ledger
knows what they billed to the last token."""

from __future__ import annotations

from dataclasses import replace

import pytest
from langchain_core.messages import HumanMessage
from races.callers import (
    DOORS,
    INPUT,
    LIMIT,
    OUTPUT,
    PROMPT,
    TENANT,
    count_exactly,
    run,
    run_here,
)

from tiered_llm.budgets.bound import input_bound
from tiered_llm.testing import Answer

BOUND = input_bound([HumanMessage(PROMPT)])
"""What a call's input is reserved for where no tokenizer is known."""


@pytest.fixture
def settled(billed):
    """Holds a race's end to what all of them promise, where every answer told its usage."""

    def check(race, heard, day):
        assert heard["failed"] == 0
        assert heard["answered"] + heard["refused"] >= race.callers
        assert 0 < billed() <= LIMIT
        assert day.used == billed()
        assert (day.reserved, day.orphaned) == (0, 0)
        if race.exact and race.max_tokens:
            assert billed() == LIMIT, "to the last token"
        elif race.loop:
            left = LIMIT - billed()
            assert left <= (INPUT if race.exact else BOUND), "no further call had room"
            assert race.exact or billed() >= 0.9 * LIMIT

    return check


def test_a_call_bills_600_in_and_400_out(tiers, race):
    for tier in ("light", "standard", "heavy"):
        run_here(race(callers=1, tier=tier))
        server = getattr(tiers, tier)
        assert server.billed() == (INPUT, OUTPUT)
    assert count_exactly([HumanMessage(PROMPT)], ()) == INPUT
    assert INPUT < BOUND <= 0.1 * LIMIT, "so that a tenth at most cannot be used"


ASKED = {
    "light-named-exact": {"tier": "light", "exact": True},
    "light-named-bytes": {"tier": "light", "exact": False},
    "heavy-unset-exact": {"tier": "heavy", "exact": True, "max_tokens": None},
    "heavy-unset-bytes": {"tier": "heavy", "exact": False, "max_tokens": None},
}
CROWDS = {
    "burst": {"callers": 200, "exact": True},
    "loop-bytes": {"callers": 52, "loop": True},
    "loop-exact": {"callers": 200, "loop": True, "exact": True},
}
PLACES = [("memory", 1), ("sqlite", 1), ("redis", 1), ("sqlite", 4), ("redis", 4)]
THOUSANDS = {
    "memory": {"place": ("memory", 1), "doors": ("ainvoke",), "exact": True},
    "redis": {"place": ("redis", 4), "doors": ("stream",)},
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("door", DOORS)
def test_a_burst_by_every_door_and_those_who_come_after(race, settled, door, asked):
    burst = race(doors=(door,), **asked)
    budget = burst.budget()
    for crowd in (burst, replace(burst, callers=8, loop=True)):
        heard = run(crowd, budget)
        settled(crowd, heard, budget.usage(TENANT)["daily"])


@pytest.mark.parametrize(("door", "tier"), [*zip(DOORS, ["light", "heavy"] * 2, strict=True)])
def test_answers_longer_than_what_is_left_are_cut_to_it(race, tiers, settled, door, tier):
    server = getattr(tiers, tier)
    (name,) = server.models
    server.always(name, Answer(text=" ".join(["word"] * LIMIT)))
    given = race(doors=(door,), tier=tier, max_tokens=3_000, exact=True)
    budget = given.budget()
    heard = run(given, budget)
    settled(given, heard, budget.usage(TENANT)["daily"])
    assert heard["answered"] == 3, "two whole answers, and what is left for a third"


@pytest.mark.parametrize("crowd", CROWDS.values(), ids=CROWDS)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place[0]}-{place[1]}")
def test_callers_on_every_store(racing, settled, place, crowd):
    settled(*racing(*place, doors=DOORS, **crowd))


@pytest.mark.parametrize("crowd", THOUSANDS.values(), ids=THOUSANDS)
def test_a_thousand_callers(racing, settled, crowd):
    given = dict(crowd)
    settled(*racing(*given.pop("place"), callers=1_000, loop=True, **given))
