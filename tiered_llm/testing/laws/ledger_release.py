"""The laws of leases that are released: a part of `LedgerLaws`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tiered_llm.budgets.ledger import Balance, Granted, Refused, Settled
from tiered_llm.testing.laws.ledger_samples import ACCOUNT, DAY_S, ask, line

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiered_llm.budgets.ledger import Ledger

_TIGHT = line(limit=100, thresholds=())


class ReleaseLaws:
    """What holds of an ask that `releases`."""

    @pytest.mark.parametrize("how", ["orphan", "expires"])
    def test_a_released_lease_is_free_again(self, ledger: Ledger, clock: Any, how: str) -> None:
        """Given up or expired, where others are orphaned; nothing stays charged."""
        ledger.reserve(ask("1", _TIGHT, releases=True))
        assert isinstance(ledger.reserve(ask("2", _TIGHT)), Refused)
        self._let_go(ledger, clock, how)
        assert ledger.balances("payer", (ACCOUNT,)) == (Balance(account=ACCOUNT, limit=100),)
        assert ledger.reserve(ask("2", _TIGHT)) == Granted(tokens=100)
        for end in (ledger.orphan, ledger.void):
            assert end("payer", "1") == Settled(ended="already")

    @pytest.mark.parametrize("how", ["orphan", "expires"])
    @pytest.mark.parametrize(("used", "taken", "overrun"), [(40, 60, 0), (40, 61, 1), (130, 0, 30)])
    def test_a_late_settle_of_a_released_lease_charges_what_was_used(  # noqa: PLR0913, PLR0917
        self, ledger: Ledger, clock: Any, how: str, used: int, taken: int, overrun: int
    ) -> None:
        """Others may have taken its place: only what the bound does not hold is overrun."""
        ledger.reserve(ask("1", _TIGHT, releases=True))
        self._let_go(ledger, clock, how)
        ledger.reserve(ask("2", _TIGHT, least=0, most=taken))
        assert ledger.settle("payer", "1", (used,)) == Settled(ended="corrected", overrun=overrun)
        expected = Balance(
            account=ACCOUNT, settled=used, reserved=taken, overrun=overrun, limit=100
        )
        assert ledger.balances("payer", (ACCOUNT,)) == (expected,)
        assert ledger.settle("payer", "1", (used,)) == Settled(ended="already")

    def test_a_late_settle_of_a_released_lease_uses_what_overrun_there_is(
        self, ledger: Ledger
    ) -> None:
        """And adds no more than what it charges, where the limit was lowered."""
        for lease in ("1", "2", "3"):
            ledger.reserve(ask(lease, _TIGHT, releases=True))
            ledger.orphan("payer", lease)
        assert ledger.record(ask("4", _TIGHT), (130,)).overrun == 30  # noqa: PLR2004
        ledger.set_limit("payer", ACCOUNT, 150)
        ledger.reserve(ask("5", _TIGHT, least=0, most=0))
        for lease, used, overrun in (("1", 60, 10), ("2", 5, 5)):
            answer = ledger.settle("payer", lease, (used,))
            assert answer == Settled(ended="corrected", overrun=overrun)
        ledger.set_limit("payer", ACCOUNT, 1)
        ledger.reserve(ask("6", _TIGHT, least=0, most=0))
        assert ledger.settle("payer", "3", (7,)).overrun == 7  # noqa: PLR2004

    def test_a_late_settle_of_a_released_lease_raises_alerts(self, ledger: Ledger) -> None:
        """Once, as any charge does; an account without a limit is only counted."""
        lines = (line("a", limit=100, thresholds=(95, 120)), line("b", limit=None))
        ledger.reserve(ask("1", *lines, releases=True))
        ledger.orphan("payer", "1")
        ended = ledger.settle("payer", "1", (120, 500))
        assert (ended.overrun, [alert.threshold for alert in ended.alerts]) == (20, [120])
        assert [b.charged for b in ledger.balances("payer", ("a", "b"))] == [120, 500]

    def test_what_ends_in_time_is_as_if_it_did_not_release(self, ledger: Ledger) -> None:
        """Settled or voided, and asked for twice."""
        assert ledger.reserve(ask("1", _TIGHT, releases=True)) == Granted(tokens=100)
        assert ledger.reserve(ask("1", _TIGHT)) == Granted(tokens=100)
        assert ledger.settle("payer", "1", (130,)) == Settled(ended="settled", overrun=30)
        ledger.reserve(ask("2", line("other"), releases=True))
        assert ledger.void("payer", "2") == Settled(ended="settled")
        assert ledger.settle("payer", "2", (1,)) == Settled(ended="already")
        assert [b.charged for b in ledger.balances("payer", (ACCOUNT, "other"))] == [130, 0]

    def test_a_released_lease_settles_in_its_own_windows(self, ledger: Ledger, clock: Any) -> None:
        """A day that is forgotten is left alone, and its month is charged."""
        month = line("month", ends_s=30 * DAY_S)
        for lease, ttl_s in (("1", 60.0), ("2", 20 * DAY_S)):
            ledger.reserve(ask(lease, line("day"), month, releases=True, ttl_s=ttl_s))
        clock.now_s = 10 * DAY_S
        assert ledger.settle("payer", "1", (2_000, 30)).ended == "corrected"
        assert ledger.orphan("payer", "2").ended == "settled"
        (balance,) = ledger.balances("payer", ("month",))
        assert balance == Balance(account="month", settled=30, limit=1_000)

    def test_a_restart_keeps_a_released_lease_released(
        self, ledger: Ledger, clock: Any, reopen: Callable[[], Ledger]
    ) -> None:
        """Where the store promises to survive: one that was, and one that is to be."""
        for lease in ("1", "2"):
            ledger.reserve(ask(lease, releases=True))
        ledger.orphan("payer", "1")
        again = reopen()
        clock.now_s = 60.0
        assert again.balances("payer", (ACCOUNT,))[0].charged == 0
        assert [again.settle("payer", lease, (7,)).ended for lease in "12"] == ["corrected"] * 2

    @staticmethod
    def _let_go(ledger: Ledger, clock: Any, how: str) -> None:
        if how == "orphan":
            assert ledger.orphan("payer", "1") == Settled(ended="settled")
        else:
            clock.now_s = 60.0
