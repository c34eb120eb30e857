"""One tier wholly down: how much more the others, and the dead one, are asked.

The first callers, 64 at once, cannot know better: each of them finds the dead tier dead and
asks the next one, which is the attempt too many. Their failures open the breaker after ten,
and from then on the rule `health` sends callers past the dead tier with their first attempt,
but for two probes every few seconds. So 64 further attempts and a few are what an outage
costs, however many callers follow: 0.13 for each of 520.

All of them are answered, for the process starts with leave for 100 further attempts, earns
one for every five calls, and needs some 64. Where there is no breaker the retry budget alone
holds the bound; it then does so at the callers' expense.
"""

from __future__ import annotations

import pytest
from hand_clock import HandClock
from soak.crowd import TASKS, Crowd, Tally
from soak.leaks import Held, permits_left, tasks_left, watched
from soak.weather import Sky

from tiered_llm import TieredChatModel
from tiered_llm.fallback import Health
from tiered_llm.settings import get_settings

CALLS, PROBES, RETURNING = 520, 2, 16
MOST = 1.2
BOUND_S = 200
TIMEOUT_S = 1.375
"""Of the dead tier, for the black hole; the others have all the time that they need."""
LONG_ENOUGH_S = 145.0
"""The longest open time with its jitter; a lost probe's lease is longer."""

OUTAGES = {
    "refused": ("light", Sky.REFUSED),
    "black hole": ("heavy", Sky.BLACK_HOLE),
    "all 503": ("standard", Sky.OVERLOADED),
}


def model_over(servers, dead, **fields):
    specs = {tier: servers.spec(tier) for tier in TASKS}
    return TieredChatModel(**{**specs, dead: servers.spec(dead, timeout_s=TIMEOUT_S)}, **fields)


@pytest.mark.parametrize("outage", OUTAGES)
def test_an_outage_is_not_amplified_and_nobody_goes_without_an_answer(servers, clock, outage):
    before = Held.now()
    dead, sky = OUTAGES[outage]
    health, tally, after = Health(clock), Tally(), Tally()
    crowd = Crowd(
        model=model_over(servers, dead, health=health, settings=get_settings()), wanted=(dead,)
    )

    async def live_through():
        servers.set(**{dead: sky})
        await crowd.ask(range(CALLS), tally)
        during = servers.counts()
        servers.set(**{dead: Sky.FAIR})
        clock.ahead_s += LONG_ENOUGH_S
        for probe in range(CALLS, CALLS + PROBES):
            await crowd.ask([probe], after)
        await crowd.ask(range(CALLS + PROBES, CALLS + PROBES + RETURNING), after)
        assert await tasks_left() == []
        assert permits_left() == 0
        return during

    during = watched(live_through, BOUND_S)
    reached = sum(count["requests"] for count in during.values())
    print(tally, f"amplification: {tally.made / CALLS} made, {reached / CALLS} reached", sep="\n")  # noqa: T201
    assert tally.wrong == []
    assert tally.answered == tally.calls == CALLS
    assert tally.ends[dead] == 0
    assert tally.made <= MOST * CALLS
    assert reached <= MOST * CALLS
    assert set(tally.attempts) == {1, 2}
    assert after.ends == {dead: PROBES + RETURNING}, "the tier is back, and so are its callers"
    assert {seen.state for seen in health.snapshot()} == {"closed"}
    servers.until_empty()
    assert Held.now().beyond(before) == {}


def test_without_a_breaker_the_retry_budget_alone_holds_the_bound(servers):
    settings = get_settings(breaker={"enabled": False}, fallback={"retry_reserve": 1})
    # the clock stands still: no further attempt is earned by waiting
    model = model_over(servers, "light", health=Health(HandClock()), settings=settings)
    tally = Tally()

    async def live_through():
        servers.set(light=Sky.REFUSED)
        await Crowd(model=model, wanted=("light",)).ask(range(CALLS), tally)

    watched(live_through, BOUND_S)
    print(tally)  # noqa: T201  # pytest shows it with a failure
    assert tally.wrong == []
    assert tally.answered + tally.ends["AllTiersFailedError"] == tally.calls == CALLS
    assert tally.answered > 0
    assert tally.made <= MOST * CALLS + 1
    assert set(tally.attempts) == {1, 2}
