"""Eight processes on one store, 200 kills, 20 freezes that outlast a lease."""

from __future__ import annotations

import random

import pytest
from accounting.kills import Herd

from tiered_llm.budgets.ledgers.sqlite import SqliteLedger

WORKERS, KILLS, FREEZES = 8, 200, 20


@pytest.fixture(params=["sqlite", "redis"])
def store(request, tmp_path):
    """The workers' URL, and the ledger by which the test looks at it."""
    if request.param == "redis":
        url = request.getfixturevalue("redis_server").url
        return url, url
    path = tmp_path / "budgets.db"
    return f"sqlite:///{path}", SqliteLedger(path, busy_s=0.5)


def test_the_limit_holds_and_the_books_add_up(store, tmp_path, seed, capsys):
    blows = ["kill"] * KILLS + ["freeze"] * FREEZES
    random.Random(seed).shuffle(blows)  # noqa: S311  # to have a run again
    with Herd(tmp_path, *store, WORKERS, seed) as herd:
        for number, blow in enumerate(blows, 1):
            getattr(herd, blow)()
            if number % 20 == 0:
                with capsys.disabled():
                    print(f"  {number} of {len(blows)} blows", flush=True)  # noqa: T201
        toll = herd.check()
    with capsys.disabled():
        print(f"  {toll}", flush=True)  # noqa: T201  # what `make soak` is run for
    assert (toll.kills, toll.freezes) == (KILLS, FREEZES)
    assert toll.corrected > 0, "a late settle corrects what its lease's end had orphaned"
    assert toll.used > 0 < toll.orphaned
