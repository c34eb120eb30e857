"""The laws of ledgers.

```python
import pytest
from tiered_llm.testing.laws.ledger import LedgerLaws


class TestMyLedger(LedgerLaws):
    @pytest.fixture
    def ledger(self, clock):
        ledger = MyLedger(clock)
        yield ledger
        ledger.close()
```

`clock` is set by hand: whoever writes `clock.now_s = 90.0` has the ledger's time changed. A
ledger takes it as it takes any `Clock`. One that tells the time by a server of its own
overrides the fixture `clock` with an object whose `now_s` sets the server's time.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest

from tiered_llm.budgets.ledger import (
    KEPT_S,
    MAX_PARTS,
    Balance,
    Granted,
    Refused,
    Settled,
    Stale,
)
from tiered_llm.testing.laws.ledger_cut import CutLaws
from tiered_llm.testing.laws.ledger_release import ReleaseLaws
from tiered_llm.testing.laws.ledger_samples import (
    ACCOUNT,
    CROWD,
    DAY_S,
    HOSTILE_NAMES,
    SCRIPT,
    TELESCOPED,
    TIGHT,
    HandSetClock,
    ask,
    line,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tiered_llm.budgets.ledger import Answer, Ask, Ledger


class LedgerLaws(ReleaseLaws, CutLaws):
    """What any ledger must hold; subclass it and give a fixture named `ledger`.

    Attributes:
        survives_restart: Whether the store promises to; give a fixture named `reopen` then.
        forgets_by_clock: Whether setting the clock makes it forget. A store that forgets by
            its own server's time says no, and shows in a test of its own that it forgets.
    """

    survives_restart = False
    forgets_by_clock = True

    @pytest.fixture
    def clock(self) -> Any:
        """The ledger's clock, at the epoch."""
        return HandSetClock()

    @pytest.fixture
    def ledger(self, clock: Any) -> Ledger:
        """The ledger under test, empty."""
        msg = "override the fixture `ledger` with one that returns yours"
        raise NotImplementedError(msg)

    @pytest.fixture
    def reopen(self, ledger: Ledger) -> Callable[[], Ledger]:
        """Close the ledger and return another one on the same store, as a new process would."""
        return lambda: ledger

    @pytest.fixture
    def kept(self) -> Callable[[], int]:
        """How many accounts and leases the store holds; give it for a store that can tell."""
        return lambda: 0

    @pytest.fixture
    def run(self) -> Callable[[Coroutine[Any, Any, Any]], Any]:
        """Run a coroutine; override it where something must be closed with its loop."""
        return asyncio.run

    # --- reserve ---

    def test_all_lines_or_none(self, ledger: Ledger) -> None:
        """A refusal in the last of several lines leaves nothing in any."""
        lines = (line("a"), line("b"), line("c", limit=9))
        answer = ledger.reserve(ask("1", *lines))
        wanted = Balance(account="c", limit=9)
        assert answer == Refused(balance=wanted, wanted=10, ends_s=DAY_S)
        assert [b.charged for b in ledger.balances("payer", ("a", "b", "c"))] == [0, 0, 0]
        assert ledger.settle("payer", "1", (1, 1, 1)) == Settled(ended="unknown")
        assert isinstance(ledger.reserve(ask("1", *lines[:2])), Granted)
        assert [b.reserved for b in ledger.balances("payer", ("a", "b", "c"))] == [100, 100, 0]

    @pytest.mark.parametrize(
        ("limit", "fixed", "per_token", "tokens"),
        [(250, 0, 1, 100), (60, 0, 1, 60), (60, 45, 1, 15), (60, 0, 3, 20), (62, 1, 3, 20)],
    )
    def test_the_most_that_fits_is_granted(
        self, ledger: Ledger, limit: int, fixed: int, per_token: int, tokens: int
    ) -> None:
        """Between `least` and `most`, as far as the tightest refusing line goes."""
        tight = line("tight", limit=limit, fixed=fixed, per_token=per_token)
        lines = (line("wide"), tight, line("soft", limit=1, refuses=False), line("none", None))
        assert _tokens(ledger.reserve(ask("1", *lines))) == tokens
        held = [b.reserved for b in ledger.balances("payer", ("wide", "tight", "soft", "none"))]
        assert held == [tokens, fixed + per_token * tokens, tokens, tokens]

    def test_least_is_granted_exactly_and_not_below(self, ledger: Ledger) -> None:
        """Room for `least` is enough, and one part less is not."""
        assert isinstance(ledger.reserve(ask("1", line(limit=9))), Refused)
        assert ledger.reserve(ask("2", line(limit=10, thresholds=()))) == Granted(tokens=10)

    def test_a_refusal_names_the_first_in_order(self, ledger: Ledger) -> None:
        """Of two accounts without room, the one that the ask names first, as it stands."""
        for at, names in enumerate((("a", "b"), ("b", "a"))):
            lines = (line("wide"), *(line(name, limit=5, fixed=1) for name in names))
            answer = ledger.reserve(ask(f"{at}", *lines))
            balance = Balance(account=names[0], limit=5)
            assert answer == Refused(balance=balance, wanted=11, ends_s=DAY_S)

    def test_a_line_that_costs_nothing_for_a_token_is_all_or_nothing(self, ledger: Ledger) -> None:
        """Input alone: it fits or does not, and bounds no output."""
        fixed = line("calls", limit=1, fixed=1, per_token=0, thresholds=())
        assert ledger.reserve(ask("1", fixed)) == Granted(tokens=100)
        assert isinstance(ledger.reserve(ask("2", fixed)), Refused)

    @pytest.mark.parametrize("now_s", [DAY_S - 1, 2 * DAY_S])
    def test_an_ask_of_another_window_is_stale(
        self, ledger: Ledger, clock: Any, now_s: float
    ) -> None:
        """Before a window's beginning, and from its end on; nothing is reserved."""
        clock.now_s = now_s
        late = line("late", starts_s=DAY_S, ends_s=2 * DAY_S)
        always = line("always", ends_s=9 * DAY_S)
        assert ledger.reserve(ask("1", always, late)) == Stale(now_s=now_s)
        assert [b.charged for b in ledger.balances("payer", ("always", "late"))] == [0, 0]

    def test_a_window_holds_its_beginning(self, ledger: Ledger, clock: Any) -> None:
        """And not its end."""
        clock.now_s = DAY_S
        late = line(starts_s=DAY_S, ends_s=2 * DAY_S)
        assert isinstance(ledger.reserve(ask("1", late)), Granted)
        assert isinstance(ledger.reserve(ask("2", line())), Stale)

    # --- twice the same ---

    @pytest.mark.parametrize("then", ["open", "settle", "void", "orphan"])
    def test_asking_twice_reserves_once(self, ledger: Ledger, clock: Any, then: str) -> None:
        """The same grant again, whatever became of the lease, its window or the room."""
        assert ledger.reserve(ask("1", line(limit=50, thresholds=()))) == Granted(tokens=50)
        _end(ledger, then)
        before = ledger.balances("payer", (ACCOUNT,))
        assert ledger.reserve(ask("1", line(limit=50, thresholds=()))) == Granted(tokens=50)
        assert ledger.balances("payer", (ACCOUNT,)) == before
        clock.now_s = DAY_S
        assert ledger.reserve(ask("1", line())) == Granted(tokens=50)

    @pytest.mark.parametrize(
        ("first", "second", "ended"),
        [
            ("settle", "settle", "already"),
            ("settle", "void", "already"),
            ("settle", "orphan", "already"),
            ("void", "void", "already"),
            ("void", "settle", "already"),
            ("void", "orphan", "already"),
            ("orphan", "orphan", "already"),
            ("orphan", "void", "already"),
            ("orphan", "settle", "corrected"),
        ],
    )
    def test_a_lease_ends_once(self, ledger: Ledger, first: str, second: str, ended: str) -> None:
        """And only an orphan is heard of again: a late settle corrects it."""
        ledger.reserve(ask("1"))
        assert _end(ledger, first).ended == "settled"
        before = ledger.balances("payer", (ACCOUNT,))
        assert _end(ledger, second).ended == ended
        assert (ledger.balances("payer", (ACCOUNT,)) == before) is (ended == "already")

    def test_a_lease_that_nobody_knows_changes_nothing(self, ledger: Ledger) -> None:
        """A settle, a void and an orphan of it say so."""
        for end in ("settle", "void", "orphan"):
            assert _end(ledger, end) == Settled(ended="unknown")
        assert ledger.balances("payer", (ACCOUNT,)) == (Balance(account=ACCOUNT),)

    def test_the_wrong_number_of_amounts_changes_nothing(self, ledger: Ledger) -> None:
        """A caller's mistake is told, and the lease is as it was."""
        lines = (line("a"), line("b"))
        ledger.reserve(ask("1", *lines))
        for amounts in ((), (1,), (1, 2, 3)):
            with pytest.raises(ValueError, match=r".+"):
                ledger.settle("payer", "1", amounts)
            with pytest.raises(ValueError, match=r".+"):
                ledger.record(ask("2", *lines), amounts)
        assert [b.reserved for b in ledger.balances("payer", ("a", "b"))] == [100, 100]
        assert ledger.settle("payer", "1", (1, 2)).ended == "settled"
        assert ledger.record(ask("2", *lines), (1, 2)).ended == "settled"

    # --- what is charged ---

    @pytest.mark.parametrize("used", [0, 40, 100, 130])
    @pytest.mark.parametrize("late", [False, True])
    def test_a_settle_charges_what_was_used(self, ledger: Ledger, used: int, late: bool) -> None:
        """Below, at and above the lease; what is above is overrun."""
        ledger.reserve(ask("1"))
        if late:
            ledger.orphan("payer", "1")
        beyond = max(0, used - 100)
        ended = ledger.settle("payer", "1", (used,))
        assert ended == Settled(ended="corrected" if late else "settled", overrun=beyond)
        expected = Balance(account=ACCOUNT, settled=used, overrun=beyond, limit=1_000)
        assert ledger.balances("payer", (ACCOUNT,)) == (expected,)

    def test_the_largest_overrun_is_told(self, ledger: Ledger) -> None:
        """Each account has its own; the answer has the most."""
        ledger.reserve(ask("1", line("a"), line("b"), line("c")))
        assert ledger.settle("payer", "1", (110, 150, 1)) == Settled(ended="settled", overrun=50)
        assert [b.overrun for b in ledger.balances("payer", ("a", "b", "c"))] == [10, 50, 0]

    def test_what_was_freed_may_be_reserved_again(self, ledger: Ledger) -> None:
        """By a void and by a settle below the lease; not by an orphan."""
        tight = line(limit=100, thresholds=())
        for end, left in (("void", 100), ("settle", 60), ("orphan", 0)):
            ledger.reserve(ask(end, tight))
            _end(ledger, end, end, (40,))
            (balance,) = ledger.balances("payer", (ACCOUNT,))
            assert balance.reserved == 0
            assert 100 - balance.charged == left

    def test_a_record_charges_once(self, ledger: Ledger, clock: Any) -> None:
        """In the window that it names, over or not; a second one of its name does nothing."""
        clock.now_s = DAY_S + 1
        wanted = ask("1", line(limit=100, thresholds=()))
        assert ledger.record(wanted, (70,)) == Settled(ended="settled")
        assert ledger.record(wanted, (70,)) == Settled(ended="already")
        assert _end(ledger, "void") == Settled(ended="already")
        other = ask("2", line(limit=100, thresholds=()))
        assert ledger.record(other, (70,)) == Settled(ended="settled", overrun=40)
        (balance,) = ledger.balances("payer", (ACCOUNT,))
        assert (balance.settled, balance.overrun) == (140, 40)

    def test_a_record_uses_what_overrun_there_is(self, ledger: Ledger) -> None:
        """Overrun grows only by what the bound does not hold otherwise."""
        tight = line(limit=200, thresholds=())
        ledger.reserve(ask("1", tight))
        assert ledger.settle("payer", "1", (130,)).overrun == 30  # noqa: PLR2004
        for lease, amount, beyond in (("2", 90, 0), ("3", 20, 10), ("4", 5, 5)):
            answer = ledger.record(ask(lease, tight), (amount,))
            assert answer == Settled(ended="settled", overrun=beyond)
        (balance,) = ledger.balances("payer", (ACCOUNT,))
        assert (balance.settled, balance.overrun) == (245, 45)

    def test_a_lowered_limit_is_no_overrun(self, ledger: Ledger) -> None:
        """A record over it adds no more overrun than it charges."""
        tight = line(limit=200, thresholds=())
        ledger.record(ask("1", tight), (150,))
        ledger.set_limit("payer", ACCOUNT, 10)
        assert ledger.record(ask("2", tight), (5,)) == Settled(ended="settled", overrun=5)
        (balance,) = ledger.balances("payer", (ACCOUNT,))
        assert (balance.settled, balance.overrun, balance.limit) == (155, 5, 10)

    def test_charged_stays_within_limit_and_overrun(self, ledger: Ledger, clock: Any) -> None:
        """After every step of calls that use less, as much and more than they had reserved."""
        tight = line(limit=500)
        ends = ("settle", "settle", "void", "orphan", "open")
        for at in range(60):
            ledger.reserve(ask(f"{at}", tight, least=1, most=1 + 37 * at % 90))
            _end(ledger, ends[at % len(ends)], f"{at}", (53 * at % 140,))
            ledger.record(ask(f"r{at}", tight), (at % 4,))
            if at % 7 == 0:
                _end(ledger, "settle", f"{at - 4}", (at,))
                clock.now_s += 20.0
            (balance,) = ledger.balances("payer", (ACCOUNT,))
            assert balance.charged <= (balance.limit or 0) + balance.overrun

    # --- time ---

    def test_a_lease_expires_at_its_time(self, ledger: Ledger, clock: Any) -> None:
        """Not before; it stays charged, and a late settle corrects it."""
        ledger.reserve(ask("1"))
        clock.now_s = 59.0
        (balance,) = ledger.balances("payer", (ACCOUNT,))
        assert (balance.reserved, balance.orphaned) == (100, 0)
        clock.now_s = 60.0
        (balance,) = ledger.balances("payer", (ACCOUNT,))
        assert (balance.reserved, balance.orphaned) == (0, 100)
        assert _end(ledger, "void") == Settled(ended="already")
        assert _end(ledger, "settle").ended == "corrected"

    def test_an_ending_that_comes_at_the_expiry_is_late(self, ledger: Ledger, clock: Any) -> None:
        """Though nobody has looked since."""
        for lease in ("1", "2", "3"):
            ledger.reserve(ask(lease))
        clock.now_s = 60.0
        assert _end(ledger, "settle", "1").ended == "corrected"
        assert _end(ledger, "void", "2").ended == "already"
        assert _end(ledger, "orphan", "3").ended == "already"

    def test_a_call_settles_in_its_own_window(self, ledger: Ledger, clock: Any) -> None:
        """Whenever it ends: the next day's account is another one."""
        ledger.reserve(ask("1", ttl_s=3 * DAY_S))
        clock.now_s = DAY_S + 1.0
        ledger.settle("payer", "1", (30,))
        assert [b.settled for b in ledger.balances("payer", (ACCOUNT, "next"))] == [30, 0]

    def test_nothing_is_forgotten_too_early(self, ledger: Ledger, clock: Any) -> None:
        """Nor, where the clock tells, too late."""
        ledger.reserve(ask("1"))
        ledger.orphan("payer", "1")
        clock.now_s = DAY_S + KEPT_S - 1.0
        assert ledger.settle("payer", "1", (30,)).ended == "corrected"
        assert ledger.balances("payer", (ACCOUNT,))[0].settled == 30  # noqa: PLR2004
        if self.forgets_by_clock:
            clock.now_s = DAY_S + KEPT_S
            assert ledger.settle("payer", "1", (30,)).ended == "unknown"
            assert ledger.balances("payer", (ACCOUNT,)) == (Balance(account=ACCOUNT),)

    def test_a_month_outlives_its_days(self, ledger: Ledger, clock: Any) -> None:
        """A call whose day is forgotten still ends in its month."""
        month = line("month", ends_s=30 * DAY_S)
        for at in range(4):
            ledger.reserve(ask(f"{at}", line("day"), month, ttl_s=20 * DAY_S))
        clock.now_s = 10 * DAY_S
        assert _end(ledger, "settle", "0", (40, 40)).ended == "settled"
        assert _end(ledger, "void", "1").ended == "settled"
        assert _end(ledger, "orphan", "2").ended == "settled"
        clock.now_s = 20 * DAY_S
        (balance,) = ledger.balances("payer", ("month",))
        assert (balance.settled, balance.reserved, balance.orphaned) == (40, 0, 200)

    def test_a_name_that_is_forgotten_may_be_used_again(self, ledger: Ledger, clock: Any) -> None:
        """A new lease of that name lives its own time."""
        if self.forgets_by_clock:
            ledger.reserve(ask("1", ttl_s=5 * DAY_S))
            clock.now_s = 4 * DAY_S
            late = line("late", starts_s=4 * DAY_S, ends_s=9 * DAY_S)
            assert ledger.reserve(ask("1", late, ttl_s=3 * DAY_S)) == Granted(tokens=100)
            clock.now_s = 6 * DAY_S
            assert ledger.balances("payer", ("late",))[0].reserved == 100  # noqa: PLR2004

    def test_what_is_over_is_put_away(
        self, ledger: Ledger, clock: Any, kept: Callable[[], int]
    ) -> None:
        """Little by little by later calls, of whatever group; looking on keeps nothing."""
        if self.forgets_by_clock:
            for at in range(300):
                ledger.reserve(ask("1", group=f"{at}"))
            clock.now_s = 4 * DAY_S
            later = line("later", starts_s=4 * DAY_S, ends_s=5 * DAY_S)
            for at in range(20):
                ledger.reserve(ask(f"{at}", later, least=1, most=1))
                ledger.balances(f"nobody {at}", (ACCOUNT,))
                ledger.settle(f"nobody {at}", "1", (1,))
            assert kept() < CROWD

    # --- limits ---

    def test_a_limit_set_at_run_time_goes_before(self, ledger: Ledger) -> None:
        """Higher, lower, zero, and taken back; of its own group alone."""
        ledger.set_limit("payer", "tokens", 150)
        ledger.set_limit("other", "tokens", 7)
        wanted = partial(line, limit=100, limit_name="tokens", thresholds=())
        assert ledger.reserve(ask("1", wanted())) == Granted(tokens=100)
        assert ledger.reserve(ask("2", wanted())) == Granted(tokens=50)
        ledger.set_limit("payer", "tokens", 0)
        answer = ledger.reserve(ask("3", wanted()))
        assert answer == Refused(
            balance=Balance(account=ACCOUNT, reserved=150, limit=0), wanted=10, ends_s=DAY_S
        )
        assert ledger.balances("payer", (ACCOUNT,))[0].limit == 0
        assert ledger.limits("payer") == {"tokens": 0}
        ledger.set_limit("payer", "tokens", None)
        ledger.set_limit("payer", "never set", None)
        assert ledger.limits("payer") == {}
        assert ledger.limits("other") == {"tokens": 7}
        ledger.void("payer", "1")
        assert ledger.reserve(ask("4", wanted())) == Granted(tokens=50)

    def test_without_a_limit_nothing_is_refused(self, ledger: Ledger) -> None:
        """Nor raised; it is counted all the same, and a limit set at run time holds."""
        for at in range(3):
            answer = ledger.reserve(ask(f"{at}", line(limit=None), most=MAX_PARTS // 10))
            assert answer == Granted(tokens=MAX_PARTS // 10)
        (balance,) = ledger.balances("payer", (ACCOUNT,))
        assert (balance.reserved, balance.limit) == (3 * MAX_PARTS // 10, None)
        ledger.set_limit("payer", ACCOUNT, 1)
        assert isinstance(ledger.reserve(ask("4", line(limit=None))), Refused)

    def test_a_line_that_does_not_refuse_raises(self, ledger: Ledger) -> None:
        """Over its limit by any amount."""
        soft = line(limit=100, refuses=False, thresholds=(80, 150))
        first, second = ledger.reserve(ask("1", soft)), ledger.reserve(ask("2", soft))
        assert (_raised(first), _raised(second)) == ([(80, 100)], [(150, 200)])

    def test_the_largest_numbers_are_exact(self, ledger: Ledger) -> None:
        """At a limit of 10**15, one part too many is one too many, and 80 % is 80 %."""
        wide = line(limit=MAX_PARTS, thresholds=(80, 100))
        most = 8 * MAX_PARTS // 10 - 1
        assert ledger.reserve(ask("1", wide, most=most)) == Granted(tokens=most)
        assert _raised(ledger.reserve(ask("2", wide, least=1, most=1))) == [(80, most + 1)]
        rest = MAX_PARTS - most - 1
        assert isinstance(ledger.reserve(ask("3", wide, least=rest + 1, most=rest + 1)), Refused)
        assert _raised(ledger.reserve(ask("4", wide, most=MAX_PARTS))) == [(100, MAX_PARTS)]
        assert ledger.settle("payer", "1", (most - 1,)).overrun == 0
        assert ledger.reserve(ask("5", wide, least=1)) == Granted(tokens=1)
        assert ledger.settle("payer", "4", (MAX_PARTS,)).overrun == MAX_PARTS - rest
        (balance,) = ledger.balances("payer", (ACCOUNT,))
        assert balance == Balance(
            account=ACCOUNT,
            settled=most - 1 + MAX_PARTS,
            reserved=2,
            overrun=MAX_PARTS - rest,
            limit=MAX_PARTS,
        )

    # --- alerts ---

    def test_an_alert_is_raised_once(self, ledger: Ledger, clock: Any) -> None:
        """By what first comes to its threshold: a reserve, a settle or a record."""
        clock.now_s = 5.0
        tight = line(limit=100, thresholds=(50, 80, 95))
        assert _raised(ledger.reserve(ask("1", tight, most=49))) == []
        assert _raised(ledger.settle("payer", "1", (50,))) == [(50, 50)]
        assert _raised(ledger.record(ask("2", tight), (29,))) == []
        assert _raised(ledger.reserve(ask("3", tight, most=20))) == [(80, 99), (95, 99)]
        ledger.void("payer", "3")
        assert _raised(ledger.reserve(ask("4", tight, most=20))) == []
        kept = ledger.alerts("payer")
        assert [(a.threshold, a.charged, a.limit, a.at_s) for a in kept] == [
            (95, 99, 100, 5.0),
            (80, 99, 100, 5.0),
            (50, 50, 100, 5.0),
        ]
        assert {(a.group, a.account) for a in kept} == {("payer", ACCOUNT)}

    def test_thresholds_are_those_of_the_last_ask(self, ledger: Ledger) -> None:
        """What was raised before is not raised again."""
        raised = []
        for lease, thresholds in (("1", (80, 95)), ("2", (20, 80)), ("3", (20, 80)), ("4", (30,))):
            ended = ledger.record(ask(lease, line(thresholds=thresholds)), (200,))
            raised.append([alert.threshold for alert in ended.alerts])
        assert raised == [[], [20], [], [30]]

    def test_a_new_window_has_its_own_alerts(self, ledger: Ledger, clock: Any) -> None:
        """And a late settle in the old one raises there."""
        for day in (0, 1):
            clock.now_s = day * DAY_S
            times = {"starts_s": day * DAY_S, "ends_s": (day + 1) * DAY_S}
            daily = line(f"day {day}", limit=100, thresholds=(80, 120), **times)
            assert _raised(ledger.reserve(ask(f"{day}", daily))) == [(80, 100)]
        assert _raised(ledger.settle("payer", "0", (120,))) == [(120, 120)]
        assert [a.account for a in ledger.alerts("payer")] == ["day 0", "day 1", "day 0"]

    def test_alerts_are_of_a_group_or_of_all(self, ledger: Ledger) -> None:
        """Newest first, as many as wanted."""
        for group in ("a", "b", "a"):
            lease = f"{len(ledger.alerts())}"
            wanted = line(f"account {lease}", limit=100, thresholds=(80,))
            ledger.reserve(ask(lease, wanted, group=group))
        assert [a.account for a in ledger.alerts()] == ["account 2", "account 1", "account 0"]
        assert [a.account for a in ledger.alerts("a")] == ["account 2", "account 0"]
        assert [a.account for a in ledger.alerts(most=1)] == ["account 2"]
        assert ledger.alerts("nobody") == ()

    # --- names ---

    def test_hostile_groups_are_kept_apart(self, ledger: Ledger) -> None:
        """Each has its accounts, leases, limits and alerts to itself."""
        names = HOSTILE_NAMES
        for at, group in enumerate(names, start=1):
            ledger.set_limit(group, ACCOUNT, 100 + at)
            ledger.reserve(ask("1", line(thresholds=(1,)), group=group, least=1, most=10 + at))
        for at, group in enumerate(names, start=1):
            (balance,) = ledger.balances(group, (ACCOUNT,))
            assert balance == Balance(account=ACCOUNT, reserved=10 + at, limit=100 + at)
            assert ledger.limits(group) == {ACCOUNT: 100 + at}
            assert [a.group for a in ledger.alerts(group)] == [group]
            assert ledger.settle(group, "1", (at,)).ended == "settled"
        settled = [ledger.balances(group, (ACCOUNT,))[0].settled for group in names]
        assert settled == list(range(1, len(names) + 1))

    def test_hostile_names_are_kept_apart(self, ledger: Ledger) -> None:
        """Accounts, leases and limits of one group."""
        names = HOSTILE_NAMES
        for at, name in enumerate(names, start=1):
            ledger.set_limit("payer", name, 100 + at)
            ledger.reserve(ask(name, line(name, thresholds=()), least=1, most=at))
        balances = ledger.balances("payer", names)
        assert [b.account for b in balances] == list(names)
        assert [b.reserved for b in balances] == list(range(1, len(names) + 1))
        assert ledger.limits("payer") == {n: 101 + at for at, n in enumerate(names)}
        for at, name in enumerate(names, start=1):
            assert ledger.settle("payer", name, (at,)).ended == "settled"
        assert [b.settled for b in ledger.balances("payer", names)] == [
            b.reserved for b in balances
        ]

    def test_joined_names_are_kept_apart(self, ledger: Ledger) -> None:
        """A group and an account, or a lease, that would read like another pair's."""
        for at, (group, name) in enumerate(TELESCOPED, start=1):
            ledger.reserve(ask(name, line(name), group=group, least=1, most=at))
        found = [ledger.balances(group, (name,))[0].reserved for group, name in TELESCOPED]
        assert found == list(range(1, len(TELESCOPED) + 1))

    def test_accounts_leases_and_limits_may_share_a_name(self, ledger: Ledger) -> None:
        """They are different things."""
        ledger.set_limit("x", "x", 40)
        assert _tokens(ledger.reserve(ask("x", line("x"), group="x"))) == 40  # noqa: PLR2004
        assert ledger.limits("x") == {"x": 40}
        assert ledger.settle("x", "x", (7,)).ended == "settled"
        assert ledger.balances("x", ("x",))[0].settled == 7  # noqa: PLR2004

    def test_an_account_that_was_never_used_is_zeros(self, ledger: Ledger) -> None:
        """In a group that was never heard of, and twice if asked for twice."""
        assert ledger.balances("nobody", ("a", "a")) == (Balance(account="a"),) * 2
        assert ledger.balances("nobody", ()) == ()
        assert ledger.limits("nobody") == {}

    # --- crowds ---

    @pytest.mark.parametrize("twins", [False, True], ids=["threads", "coroutines"])
    def test_a_crowd_is_admitted_as_far_as_it_fits(
        self, ledger: Ledger, run: Callable[..., Any], twins: bool
    ) -> None:
        """Fifty for a limit of ten calls: ten, to the part; the others are refused."""
        asks = [ask(f"{at}", line(limit=1_000), least=100) for at in range(CROWD)]
        answers = _crowd(ledger, run, asks, twins=twins)
        admitted = [a for a in answers if isinstance(a, Granted)]
        assert [a.tokens for a in admitted] == [100] * 10
        assert sum(isinstance(a, Refused) for a in answers) == CROWD - 10
        assert sorted(t for a in answers for t, _ in _raised(a)) == [80, 95]
        assert [a.threshold for a in ledger.alerts("payer")] == [95, 80]
        assert ledger.balances("payer", (ACCOUNT,))[0].reserved == 1_000  # noqa: PLR2004

    @pytest.mark.parametrize("twins", [False, True], ids=["threads", "coroutines"])
    def test_a_crowd_uses_the_whole_limit(
        self, ledger: Ledger, run: Callable[..., Any], twins: bool
    ) -> None:
        """Partial grants add up to the limit exactly, in opposite orders of accounts too."""
        orders = list(permutations((line("a", limit=200), line("b", limit=300))))
        asks = [ask(f"{at}", *orders[at % 2], least=1, most=7) for at in range(CROWD)]
        answers = _crowd(ledger, run, asks, twins=twins)
        assert sum(a.tokens for a in answers if isinstance(a, Granted)) == 200  # noqa: PLR2004
        assert [b.reserved for b in ledger.balances("payer", ("a", "b"))] == [200, 200]

    def test_a_crowd_with_one_lease_reserves_and_settles_once(self, ledger: Ledger) -> None:
        """All are granted the same; one settle of many counts."""
        with ThreadPoolExecutor(CROWD) as pool:
            wanted = ask("1", line(thresholds=()))
            answers = list(pool.map(ledger.reserve, [wanted] * CROWD))
            ends = list(pool.map(lambda _: ledger.settle("payer", "1", (60,)), range(CROWD)))
        assert answers == [Granted(tokens=100)] * CROWD
        assert sorted(e.ended for e in ends) == ["already"] * (CROWD - 1) + ["settled"]
        expected = Balance(account=ACCOUNT, settled=60, limit=1_000)
        assert ledger.balances("payer", (ACCOUNT,)) == (expected,)

    def test_the_twins_give_the_same_answers(
        self, ledger: Ledger, clock: Any, run: Callable[..., Any]
    ) -> None:
        """The same steps in two groups, one of them on the event loop."""
        plain = [_step(ledger, "sync", at) for at in range(len(SCRIPT))]
        clock.now_s = 0.0

        async def twins() -> list[Any]:
            return [await _atwin(ledger, "async", at) for at in range(len(SCRIPT))]

        on_the_loop = run(twins())
        renamed = [repr(answer).replace("'async'", "'sync'") for answer in on_the_loop]
        assert renamed == [repr(answer) for answer in plain]

    # --- the store ---

    def test_a_restart_loses_nothing(
        self, ledger: Ledger, clock: Any, reopen: Callable[[], Ledger]
    ) -> None:
        """Where the store promises so: accounts, open leases, limits and alerts."""
        if self.survives_restart:
            ledger.set_limit("payer", ACCOUNT, 200)
            for lease in ("1", "2"):
                ledger.reserve(ask(lease))
            ledger.settle("payer", "1", (30,))
            before = (ledger.balances("payer", (ACCOUNT,)), ledger.alerts(), ledger.limits("payer"))
            again = reopen()
            after = (again.balances("payer", (ACCOUNT,)), again.alerts(), again.limits("payer"))
            assert after == before
            assert again.reserve(ask("1")) == Granted(tokens=100)
            clock.now_s = 60.0
            assert again.settle("payer", "2", (10,)).ended == "corrected"

    def test_the_time_is_the_clocks(
        self, ledger: Ledger, clock: Any, run: Callable[..., Any]
    ) -> None:
        """In seconds since the epoch."""
        clock.now_s = 1_234.5
        assert ledger.now_s() == run(ledger.anow_s()) == clock.now_s


def _tokens(answer: Answer) -> int | None:
    return answer.tokens if isinstance(answer, Granted) else None


def _raised(answer: Answer | Settled) -> list[tuple[int, int]]:
    """Thresholds and what was charged then."""
    alerts = answer.alerts if isinstance(answer, Granted | Settled) else ()
    return [(alert.threshold, alert.charged) for alert in alerts]


def _end(ledger: Ledger, how: str, lease: str = "1", amounts: tuple[int, ...] = (40,)) -> Settled:
    if how == "settle":
        return ledger.settle("payer", lease, amounts)
    ends = {"void": ledger.void, "orphan": ledger.orphan}
    return ends[how]("payer", lease) if how in ends else Settled(ended="unknown")


def _crowd(
    ledger: Ledger, run: Callable[..., Any], asks: list[Ask], *, twins: bool
) -> list[Answer]:
    """The answers to asks that are made at once, by threads or on one event loop."""
    if twins:

        async def all_of_them() -> list[Answer]:
            return list(await asyncio.gather(*(ledger.areserve(one) for one in asks)))

        on_the_loop: list[Answer] = run(all_of_them())
        return on_the_loop
    start = threading.Barrier(len(asks))

    def one_of_them(one: Ask) -> Answer:
        start.wait()
        return ledger.reserve(one)

    with ThreadPoolExecutor(len(asks)) as pool:
        return list(pool.map(one_of_them, asks))


def _call(group: str, at: int) -> tuple[str, tuple[Any, ...]]:
    name, more = SCRIPT[at]
    if name in {"reserve", "record"}:
        return name, (ask(more[0], TIGHT, group=group), *more[1:])
    return name, (group, *more)


def _step(ledger: Ledger, group: str, at: int) -> Any:
    name, arguments = _call(group, at)
    return getattr(ledger, name)(*arguments)


async def _atwin(ledger: Ledger, group: str, at: int) -> Any:
    name, arguments = _call(group, at)
    return await getattr(ledger, f"a{name}")(*arguments)
