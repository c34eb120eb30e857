from __future__ import annotations

import sys
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from races.callers import ANSWER, TENANT, Race, run
from races.crew import Crew

sys.path.append(str(Path(__file__).parent.parent / "redis"))  # whose server these tests start too


@pytest.fixture(scope="session")
def crew():
    """Four processes, made once."""
    made = Crew(4)
    yield made
    made.close()


@pytest.fixture(scope="session")
def redis_url():
    from redis_server import RedisServer

    with RedisServer() as server:
        yield server.url


@pytest.fixture
def stores(redis_url, tmp_path):
    """An empty store's URL: `stores("sqlite")`."""

    def url(kind):
        if kind == "redis":
            import redis

            with redis.Redis.from_url(redis_url) as client:
                client.flushall()
            return redis_url
        return {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/budgets.db"}[kind]

    return url


@pytest.fixture
def tiers(simulated_tiers):
    """The servers, whose every answer is 400 tokens long."""
    for server in (simulated_tiers.light, simulated_tiers.standard, simulated_tiers.heavy):
        for name in server.models:
            server.always(name, ANSWER)
    return simulated_tiers


@pytest.fixture
def race(tiers):
    """Makes races on the servers: `race(callers=200)`."""
    specs = {tier.value: spec for tier, spec in tiers.specs.items()}
    return lambda **given: Race(specs=specs, **given)


@pytest.fixture
def billed(tiers):
    """Tokens that all servers have billed."""
    return lambda: sum(sum(s.billed()) for s in (tiers.light, tiers.standard, tiers.heavy))


@pytest.fixture
def racing(request, race, stores):
    """Runs a race on a store and in so many processes: `racing("redis", 4, callers=200)`.

    Gives the race, what its callers heard, and the day's usage after it. With `one_before`, a
    lone caller goes first, for whose fallbacks there is room for sure.
    """

    def start(kind, processes, *, one_before=False, **fields):
        given = race(store=stores(kind), **fields)
        budget = given.budget()
        with closing(budget.ledger):
            heard = run(replace(given, callers=1), budget) if one_before else Counter()
            if processes == 1:
                heard += run(given, budget)
            else:
                heard += request.getfixturevalue("crew").race(given)
            return given, heard, budget.usage(TENANT)["daily"]

    return start
