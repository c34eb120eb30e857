"""The laws of leases that are orphaned with less than they held: a part of `LedgerLaws`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tiered_llm.budgets.ledger import Balance, Granted, Refused, Settled
from tiered_llm.testing.laws.ledger_samples import ACCOUNT, DAY_S, ask, line

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiered_llm.budgets.ledger import Ledger

_TIGHT = line(limit=100, thresholds=())
_HELD = 100  # what an ask of the samples holds in a line


class CutLaws:
    """What holds of an `orphan` that says the most that can have been used."""

    @pytest.mark.parametrize("most", [0, 30, _HELD, 130])
    def test_a_cut_lease_stays_charged_with_the_less(self, ledger: Ledger, most: int) -> None:
        """Never with more than it held; the rest may be reserved by others at once."""
        ledger.reserve(ask("1", _TIGHT))
        assert ledger.orphan("payer", "1", (most,)) == Settled(ended="settled")
        left = min(most, _HELD)
        expected = Balance(account=ACCOUNT, orphaned=left, limit=_HELD)
        assert ledger.balances("payer", (ACCOUNT,)) == (expected,)
        assert ledger.reserve(ask("2", _TIGHT, least=0)) == Granted(tokens=_HELD - left)

    def test_each_line_is_cut_by_its_own_amount(self, ledger: Ledger) -> None:
        """In the order of the ask."""
        ledger.reserve(ask("1", line("b", fixed=7), line("a", per_token=3)))
        ledger.orphan("payer", "1", (9, 1_000))
        assert [b.orphaned for b in ledger.balances("payer", ("b", "a"))] == [9, 300]

    @pytest.mark.parametrize(("used", "overrun"), [(20, 0), (30, 0), (45, 15)])
    def test_a_late_settle_corrects_from_the_less(
        self, ledger: Ledger, used: int, overrun: int
    ) -> None:
        """What it uses beyond is overrun, for others may have reserved what was freed."""
        ledger.reserve(ask("1", _TIGHT))
        ledger.orphan("payer", "1", (30,))
        assert ledger.reserve(ask("2", _TIGHT, least=0)) == Granted(tokens=70)
        assert ledger.settle("payer", "1", (used,)) == Settled(ended="corrected", overrun=overrun)
        (balance,) = ledger.balances("payer", (ACCOUNT,))
        assert balance == Balance(
            account=ACCOUNT, settled=used, reserved=70, overrun=overrun, limit=_HELD
        )

    def test_a_cut_counts_once(self, ledger: Ledger, clock: Any) -> None:
        """Only an open lease is cut, and never again; one that expired stays charged in full."""
        for lease in ("1", "2"):
            ledger.reserve(ask(lease))
        ledger.orphan("payer", "1", (30,))
        assert ledger.orphan("payer", "1", (5,)) == Settled(ended="already")
        clock.now_s = 60.0
        assert ledger.orphan("payer", "2", (5,)) == Settled(ended="already")
        assert ledger.orphan("payer", "3", (5,)) == Settled(ended="unknown")
        assert ledger.balances("payer", (ACCOUNT,))[0].orphaned == 30 + _HELD
        assert ledger.settle("payer", "2", (40,)) == Settled(ended="corrected")

    def test_the_wrong_number_of_amounts_cuts_nothing(self, ledger: Ledger) -> None:
        """The lease stays open, and may be ended rightly."""
        ledger.reserve(ask("1", line("a"), line("b")))
        for amounts in ((1,), (1, 1, 1)):
            with pytest.raises(ValueError, match=r"."):
                ledger.orphan("payer", "1", amounts)
        assert [b.reserved for b in ledger.balances("payer", ("a", "b"))] == [_HELD, _HELD]
        assert ledger.orphan("payer", "1", (1, 2)) == Settled(ended="settled")
        assert [b.charged for b in ledger.balances("payer", ("a", "b"))] == [1, 2]

    def test_a_lease_that_releases_frees_all(self, ledger: Ledger) -> None:
        """Whatever the amounts."""
        ledger.reserve(ask("1", _TIGHT, releases=True))
        assert ledger.orphan("payer", "1", (30,)) == Settled(ended="settled")
        assert ledger.balances("payer", (ACCOUNT,)) == (Balance(account=ACCOUNT, limit=100),)
        assert ledger.settle("payer", "1", (40,)) == Settled(ended="corrected")

    def test_a_cut_lease_outlives_its_day(self, ledger: Ledger, clock: Any) -> None:
        """A day that is forgotten is left alone, and its month is cut."""
        month = line("month", ends_s=30 * DAY_S)
        ledger.reserve(ask("1", line("day"), month, ttl_s=20 * DAY_S))
        clock.now_s = 10 * DAY_S
        assert ledger.orphan("payer", "1", (3, 30)) == Settled(ended="settled")
        assert [b.charged for b in ledger.balances("payer", ("day", "month"))] == [0, 30]
        assert ledger.settle("payer", "1", (9, 40)) == Settled(ended="corrected", overrun=10)

    def test_the_twin_cuts_too(self, ledger: Ledger, run: Callable[..., Any]) -> None:
        """On the event loop; what is freed lets others in."""
        ledger.reserve(ask("1", _TIGHT))
        assert isinstance(ledger.reserve(ask("2", _TIGHT)), Refused)
        assert run(ledger.aorphan("payer", "1", (30,))) == Settled(ended="settled")
        assert ledger.reserve(ask("2", _TIGHT)) == Granted(tokens=70)

    def test_a_restart_keeps_a_cut_lease_cut(
        self, ledger: Ledger, reopen: Callable[[], Ledger]
    ) -> None:
        """Where the store promises to survive."""
        ledger.reserve(ask("1"))
        ledger.orphan("payer", "1", (30,))
        again = reopen()
        assert again.balances("payer", (ACCOUNT,))[0].orphaned == 30  # noqa: PLR2004
        assert again.settle("payer", "1", (45,)) == Settled(ended="corrected", overrun=15)
