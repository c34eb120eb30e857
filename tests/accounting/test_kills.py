"""Processes that are killed and frozen in the midst of calls; `make soak` does much more of it."""

from __future__ import annotations

from accounting.kills import Herd

from tiered_llm.budgets.ledgers.sqlite import SqliteLedger

WORKERS, KILLS, FREEZES = 2, 5, 1


def test_the_limit_holds_and_the_books_add_up_whoever_is_killed_or_frozen(
    tmp_path, clean_environment
):
    path = tmp_path / "budgets.db"
    ledger = SqliteLedger(path, busy_s=0.5)
    with Herd(tmp_path, f"sqlite:///{path}", ledger, WORKERS, seed=7) as herd:
        for _ in range(KILLS):
            herd.kill()
        for _ in range(FREEZES):
            herd.freeze()
        toll = herd.check()
    print(toll)  # noqa: T201  # pytest shows it with a failure
    assert (toll.kills, toll.freezes) == (KILLS, FREEZES)
    assert toll.corrected <= FREEZES
    assert toll.used > 0 < toll.orphaned
