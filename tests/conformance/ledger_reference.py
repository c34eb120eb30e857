"""A ledger written from its contract alone, and a state machine that holds others to it.

    TestMine = ledger_machine(lambda clock: MyLedger(clock)).TestCase
    TestMine.settings = settings(max_examples=50, stateful_step_count=100, deadline=None)

The reference keeps every call that was ever made and adds them up anew for each question.
Where the contract leaves a choice, it reads it so: an ask asks its lines one after another
and stops at the one that refuses, so accounts after that keep the limit that they had.

Two things that the contract does not tell are not asked: a reserve with the id of a record,
and a record into a window that is forgotten.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import permutations, product

from hand_clock import HandClock
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tiered_llm.budgets.ledger import (
    KEPT_S,
    Alert,
    Ask,
    Balance,
    Granted,
    Line,
    Refused,
    Settled,
    Stale,
)

DAY_S = 86_400.0


@dataclass
class Call:
    ask: Ask
    tokens: int
    state: str
    held: tuple[int, ...]
    expires_s: float
    used: tuple[int, ...] = ()
    beyond: tuple[int, ...] = ()

    @property
    def forget_s(self):
        return max(line.ends_s for line in self.ask.lines) + KEPT_S

    @property
    def unheard(self):
        return "released" if self.ask.releases else "orphaned"

    def parts(self, account):
        """What it adds to an account: settled, reserved, orphaned, overrun."""
        for at, line in enumerate(self.ask.lines):
            if line.account == account:
                held = self.held[at] if self.held else 0
                return (
                    self.used[at] if self.state == "settled" else 0,
                    held if self.state == "open" else 0,
                    held if self.state == "orphaned" else 0,
                    self.beyond[at] if self.state == "settled" else 0,
                )
        return (0, 0, 0, 0)


class Reference:
    def __init__(self, clock):
        self.clock, self.calls, self.asked, self.set_limits = clock, [], {}, {}
        self.raised = []

    def reserve(self, ask):
        call = self.call(ask.group, ask.lease)
        if call:
            return Granted(tokens=call.tokens)
        now_s = self.clock.now_s
        if any(now_s < line.starts_s or now_s >= line.ends_s for line in ask.lines):
            return Stale(now_s=now_s)
        tokens = ask.most
        for line in ask.lines:
            self.ask(ask.group, line)
            balance = self.balance(ask.group, line.account)
            if not line.refuses or balance.limit is None:
                continue
            wanted = line.fixed + line.per_token * ask.least
            if balance.charged + wanted > balance.limit:
                return Refused(balance=balance, wanted=wanted, ends_s=line.ends_s)
            while balance.charged + line.fixed + line.per_token * tokens > balance.limit:
                tokens -= 1
        held = tuple(line.fixed + line.per_token * tokens for line in ask.lines)
        self.calls.append(Call(ask, tokens, "open", held, now_s + ask.ttl_s))
        return Granted(tokens=tokens, alerts=self.alert(ask))

    def settle(self, group, lease, amounts):
        call = self.call(group, lease)
        if call is None or call.state in {"settled", "voided"}:
            return Settled(ended="already" if call else "unknown")
        ended = "settled" if call.state == "open" else "corrected"
        call.beyond = tuple(
            self.beyond(call, line, held, used) if self.known(group, line.account) else 0
            for line, held, used in zip(call.ask.lines, call.held, amounts, strict=True)
        )
        call.state, call.used = "settled", amounts
        return Settled(ended=ended, overrun=max(call.beyond), alerts=self.alert(call.ask))

    def end(self, group, lease, state, amounts=None):
        call = self.call(group, lease)
        if call is None or call.state != "open":
            return Settled(ended="already" if call else "unknown")
        if amounts is not None:
            call.held = tuple(min(pair) for pair in zip(call.held, amounts, strict=True))
        call.state = state if state == "voided" else call.unheard
        return Settled(ended="settled")

    def record(self, ask, amounts):
        if self.call(ask.group, ask.lease):
            return Settled(ended="already")
        beyond = []
        for line, amount in zip(ask.lines, amounts, strict=True):
            self.ask(ask.group, line)
            beyond.append(self.missing(ask.group, line.account, amount))
        call = Call(ask, 0, "settled", (), self.clock.now_s, amounts, tuple(beyond))
        self.calls.append(call)
        return Settled(ended="settled", overrun=max(beyond), alerts=self.alert(ask))

    def balance(self, group, account):
        if not self.known(group, account):
            return Balance(account=account)
        self.expire()
        parts = [(0, 0, 0, 0)]
        parts += [call.parts(account) for call in self.calls if call.ask.group == group]
        settled, reserved, orphaned, overrun = (sum(column) for column in zip(*parts, strict=True))
        return Balance(
            account=account,
            settled=settled,
            reserved=reserved,
            orphaned=orphaned,
            overrun=overrun,
            limit=self.asked[group, account][0],
        )

    def set_limit(self, group, limit_name, limit):
        self.set_limits.pop((group, limit_name), None)
        if limit is not None:
            self.set_limits[group, limit_name] = limit

    def limits(self, group):
        return {name: limit for (whose, name), limit in self.set_limits.items() if whose == group}

    def alerts(self, group, most):
        mine = [alert for alert in self.raised if group in {None, alert.group}]
        return tuple(mine[::-1][:most])

    # --- inside ---

    def expire(self):
        for call in self.calls:
            if call.state == "open" and call.expires_s <= self.clock.now_s:
                call.state = call.unheard

    def beyond(self, call, line, held, used):
        if call.state == "released":
            return self.missing(call.ask.group, line.account, used)
        return max(0, used - held)

    def missing(self, group, account, amount):
        """What limit and overrun do not hold of a charge that nobody had reserved."""
        balance = self.balance(group, account)
        if balance.limit is None:
            return 0
        over = balance.charged + amount - balance.limit - balance.overrun
        return min(amount, max(0, over))

    def call(self, group, lease):
        self.expire()
        for call in self.calls:
            mine = (call.ask.group, call.ask.lease) == (group, lease)
            if mine and self.clock.now_s < call.forget_s:
                return call
        return None

    def known(self, group, account):
        return (group, account) in self.asked and (
            self.clock.now_s < self.asked[group, account][1].ends_s + KEPT_S
        )

    def ask(self, group, line):
        limit = self.set_limits.get((group, line.limit_name), line.limit)
        self.asked[group, line.account] = (limit, line)

    def alert(self, ask):
        """Raise what has been reached and was not raised before."""
        new = []
        for line in ask.lines:
            if not self.known(ask.group, line.account):
                continue
            balance = self.balance(ask.group, line.account)
            for threshold in self.asked[ask.group, line.account][1].thresholds:
                done = any(
                    (a.group, a.account, a.threshold) == (ask.group, line.account, threshold)
                    for a in self.raised
                )
                if balance.limit is None or done:
                    continue
                if balance.charged * 100 >= balance.limit * threshold:
                    new.append(
                        Alert(
                            group=ask.group,
                            account=line.account,
                            threshold=threshold,
                            charged=balance.charged,
                            limit=balance.limit,
                            at_s=self.clock.now_s,
                        )
                    )
        self.raised += new
        return tuple(new)


def line(kind, day, fixed, per_token):
    """A line of one of five kinds, in the window that the day is in."""
    limit, refuses, thresholds, monthly = KINDS[kind]
    starts_s, ends_s = (0.0, 30 * DAY_S) if monthly else (day * DAY_S, (day + 1) * DAY_S)
    return Line(
        account=f"{kind}/{0 if monthly else day}",
        limit_name=kind,
        limit=limit,
        refuses=refuses,
        starts_s=starts_s,
        ends_s=ends_s,
        fixed=fixed,
        per_token=per_token,
        thresholds=thresholds,
    )


KINDS = {
    "day": (1_000, True, (80, 95), False),
    "month": (2_500, True, (80, 95), True),
    "heavy": (300, True, (50,), False),
    "soft": (500, False, (10, 80, 120), False),
    "free": (None, True, (80, 95), False),
}
GROUPS = ("g", "h")
# few draws for each step: they are what takes the time
_LINES = st.builds(
    lambda kinds, fixed, rates: tuple(zip(kinds, fixed, rates, strict=False)),
    st.sampled_from([kinds for n in (1, 2, 3) for kinds in permutations(sorted(KINDS), n)]),
    st.integers(0, 120).map(lambda fixed: (fixed, 0, fixed // 2)),
    st.sampled_from(list(product((1, 3, 0), repeat=3))),
)
_GROUP = st.sampled_from(GROUPS)
_CALLS = st.sampled_from([(group, f"call-{n}") for group in GROUPS for n in range(25)])
_RECORDS = st.sampled_from([(group, f"record-{n}") for group in GROUPS for n in range(5)])
_TOKENS = st.integers(0, 300).map(lambda most: (most % 60, most))
_WHEN = st.sampled_from(
    [
        (ttl_s, late, releases)
        for late in (0,) * 5 + (1,)
        for ttl_s in (30.0, 60.0, 4 * DAY_S)
        for releases in (False, False, True)
    ]
)
_AMOUNTS = st.integers(0, 400).map(lambda used: (used, 400 - used, used // 2))


class LedgerMachine(RuleBasedStateMachine):
    make, forgets = None, True

    def __init__(self):
        super().__init__()
        self.clock = HandClock(0.0)
        self.ledger, self.reference = self.make(self.clock), Reference(self.clock)

    def teardown(self):
        self.ledger.close()

    @rule(whose=_CALLS, lines=_LINES, tokens=_TOKENS, when=_WHEN)
    def reserve(self, whose, lines, tokens, when):
        ttl_s, late, releases = when
        ask = self.ask(*whose, lines, late)
        ask = dataclasses.replace(ask, ttl_s=ttl_s, releases=releases)
        ask = dataclasses.replace(ask, least=tokens[0], most=tokens[1])
        assert self.ledger.reserve(ask) == self.reference.reserve(ask)

    @rule(whose=_CALLS | _RECORDS, amounts=_AMOUNTS)
    def settle(self, whose, amounts):
        call = self.reference.call(*whose)
        amounts = amounts[: len(call.ask.lines)] if call else amounts
        assert self.ledger.settle(*whose, amounts) == self.reference.settle(*whose, amounts)

    @rule(amounts=_AMOUNTS, at=st.integers(0, 24))
    def settle_one_that_is_there(self, amounts, at):
        calls = self.reference.calls
        if calls:
            ask = calls[-1 - at % len(calls)].ask
            self.settle((ask.group, ask.lease), amounts)

    @rule(whose=_CALLS | _RECORDS, state=st.sampled_from(("voided", "orphaned")))
    def end(self, whose, state):
        end = self.ledger.void if state == "voided" else self.ledger.orphan
        assert end(*whose) == self.reference.end(*whose, state)

    @rule(whose=_CALLS | _RECORDS, amounts=_AMOUNTS)
    def cut(self, whose, amounts):
        call = self.reference.call(*whose)
        amounts = amounts[: len(call.ask.lines)] if call else amounts
        expected = self.reference.end(*whose, "orphaned", amounts)
        assert self.ledger.orphan(*whose, amounts) == expected

    @rule(whose=_RECORDS | _CALLS, lines=_LINES, amounts=_AMOUNTS, late=st.integers(0, 1))
    def record(self, whose, lines, amounts, late):
        group, lease = whose
        if lease.startswith("call") and not self.reference.call(group, lease):
            lease = "record-0"
        ask, amounts = self.ask(group, lease, lines, late), amounts[: len(lines)]
        assert self.ledger.record(ask, amounts) == self.reference.record(ask, amounts)

    @rule(seconds=st.sampled_from((1.0, 30.0, 30.0, 60.0, 3_600.0, DAY_S / 2, 4 * DAY_S)))
    def time_passes(self, seconds):
        now_s = self.clock.now_s + seconds
        self.clock.now_s = now_s if self.forgets else min(now_s, KEPT_S)

    @rule(
        group=_GROUP,
        kind=st.sampled_from(sorted(KINDS)),
        limit=st.none() | st.sampled_from((0, 100, 700, 5_000)),
    )
    def set_limit(self, group, kind, limit):
        self.ledger.set_limit(group, kind, limit)
        self.reference.set_limit(group, kind, limit)
        assert self.ledger.limits(group) == self.reference.limits(group)

    @rule(group=st.none() | _GROUP, most=st.integers(0, 50))
    def alerts(self, group, most):
        assert self.ledger.alerts(group, most) == self.reference.alerts(group, most)

    @invariant()
    def balances_agree(self):
        for group in GROUPS:
            names = ("never/0", *(name for whose, name in self.reference.asked if whose == group))
            expected = tuple(self.reference.balance(group, name) for name in names)
            assert self.ledger.balances(group, names) == expected

    def ask(self, group, lease, lines, late):
        day = max(0, int(self.clock.now_s // DAY_S) - late)
        made = tuple(line(kind, day, fixed, per_token) for kind, fixed, per_token in lines)
        return Ask(group=group, lease=lease, lines=made, least=0, most=0, ttl_s=0.0)


def ledger_machine(make, *, forgets=True):
    """A state machine for the ledgers that `make(clock)` makes; each is closed at its end.

    `forgets=False` keeps the clock where nothing is forgotten yet, for a store that forgets
    by its own server's time.
    """
    return type("Machine", (LedgerMachine,), {"make": staticmethod(make), "forgets": forgets})
