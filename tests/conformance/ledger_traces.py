"""Traces: what the plain reference answered to a long walk, for ledgers to be replayed against.

A trace is made once and replayed in a moment, so that many wrong ledgers can be told from the
right one. Its clock stops at the very instants at which something expires, ends or is
forgotten.
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import Any

from conformance.ledger_reference import DAY_S, GROUPS, KINDS, Reference, line
from hand_clock import HandClock

from tiered_llm.budgets.ledger import KEPT_S, Ask

THE_MOST = 31 * DAY_S  # when not even the first month is forgotten


@dataclass(frozen=True)
class Step:
    """What was asked at a time, and what the reference answered."""

    now_s: float
    name: str
    arguments: tuple[Any, ...]
    answer: Any


class Walk:
    """A walk through the reference, always the same for the same seed."""

    def __init__(self, seed):
        self.draw = random.Random(seed)  # noqa: S311  # not for secrets
        self.clock = HandClock(0.0)
        self.reference = Reference(self.clock)
        self.steps, self.serial = [], 0

    def trace(self, steps):
        """Walk on, and look at every account after each step."""
        while len(self.steps) < steps:
            name = self.draw.choice(WAYS)
            group = self.draw.choice(GROUPS)
            getattr(self, name)(group)
            accounts = ("never", *(key for whose, key in self.reference.asked if whose == group))
            balances = tuple(self.reference.balance(group, key) for key in accounts)
            self.note("balances", (group, accounts), balances)
        return self.steps

    def reserve(self, group):
        most = self.draw.choice((0, 1, 50, 150, 300))
        ask = dataclasses.replace(
            self.ask(group, self.lease(group, known=0.2)),
            least=self.draw.choice((0, most // 2, most)),
            most=most,
            ttl_s=self.draw.choice((30.0, 600.0, 600.0, 12 * DAY_S)),
            releases=self.draw.random() < 0.25,
        )
        self.note("reserve", (ask,), self.reference.reserve(ask))

    def settle(self, group):
        whose = (group, self.lease(group))
        amounts = self.amounts(whose)
        self.note("settle", (*whose, amounts), self.reference.settle(*whose, amounts))

    def orphan(self, group):
        whose = (group, self.lease(group))
        amounts = self.draw.choice(((), (self.amounts(whose),)))
        answer = self.reference.end(*whose, "orphaned", *amounts)
        self.note("orphan", (*whose, *amounts), answer)

    def void(self, group):
        whose = (group, self.lease(group))
        self.note("void", whose, self.reference.end(*whose, "voided"))

    def record(self, group):
        lease = self.lease(group, known=0.3)
        if lease.startswith("call") and not self.reference.call(group, lease):
            lease = f"record-{lease}"  # a reserve with its id is not told of in the contract
        ask = self.ask(group, lease)
        amounts = tuple(self.draw.randrange(0, 300) for _ in ask.lines)
        self.note("record", (ask, amounts), self.reference.record(ask, amounts))

    def set_limit(self, group):
        limit = self.draw.choice((None, None, 0, 100, 700, 5_000))
        kind = self.draw.choice(sorted(KINDS))
        self.reference.set_limit(group, kind, limit)
        self.note("set_limit", (group, kind, limit), None)
        self.note("limits", (group,), self.reference.limits(group))

    def alerts(self, group):
        asked = (self.draw.choice((None, group)), self.draw.choice((0, 3, 50)))
        self.note("alerts", asked, self.reference.alerts(*asked))

    def time(self, _group):
        """Go to the next instant at which something changes, or just before it."""
        calls = self.reference.calls
        instants = {call.expires_s for call in calls if call.state == "open"}
        ends = {ln.ends_s for call in calls for ln in call.ask.lines}
        if self.draw.random() < 0.1:
            instants |= ends | {end + KEPT_S for end in ends}
        ahead = sorted(at for at in instants if at > self.clock.now_s)
        if ahead and ahead[0] < THE_MOST:
            self.clock.now_s = max(self.clock.now_s, ahead[0] - self.draw.choice((0.0, 0.0, 0.5)))
        else:
            self.clock.now_s += 60.0

    # --- inside ---

    def note(self, name, arguments, answer):
        self.steps.append(Step(self.clock.now_s, name, arguments, answer))

    def lease(self, group, known=0.95):
        """One that was asked for lately, an older one, or a new one."""
        mine = [call.ask.lease for call in self.reference.calls if call.ask.group == group]
        if mine and self.draw.random() < known:
            return self.draw.choice(mine[-4:] if self.draw.random() < 0.8 else mine)
        self.serial += 1
        return f"call-{self.serial}"

    def ask(self, group, lease):
        day = int(self.clock.now_s // DAY_S)
        day = max(0, day + self.draw.choice((0,) * 8 + (-1, 1)))
        kinds = self.draw.sample(sorted(KINDS), self.draw.choice((1, 2, 3)))
        lines = tuple(
            line(kind, day, self.draw.choice((0, 7, 60, 100)), self.draw.choice((0, 1, 1, 3)))
            for kind in kinds
        )
        return Ask(group=group, lease=lease, lines=lines, least=0, most=0, ttl_s=0.0)

    def amounts(self, whose):
        """What is held, a part more or less, or anything; as many as there are lines."""
        call = self.reference.call(*whose)
        held = call.held or tuple(0 for _ in call.ask.lines) if call else (1,)
        some = (0, 1, 80, 400)
        return tuple(
            max(0, self.draw.choice((h, h + 1, h - 1, self.draw.choice(some)))) for h in held
        )


WAYS = (
    ["reserve"] * 10 + ["settle"] * 3 + ["orphan"] * 2 + ["void", "record", "set_limit", "alerts"]
)
WAYS += ["time"] * 3


def traces(seeds, steps):
    """One trace for each seed."""
    return [Walk(seed).trace(steps) for seed in seeds]


def differs(ledger, clock, trace):
    """The first step at which a ledger answers otherwise than the reference, or None."""
    for step in trace:
        clock.now_s = step.now_s
        try:
            answer = getattr(ledger, step.name)(*step.arguments)
        except Exception as error:  # noqa: BLE001  # any failure is another answer
            answer = error
        if answer != step.answer:
            return step
    return None


def crowd_trace(many=450):
    """More leases expire at once than one operation puts away, and a late one settles."""
    walk = Walk(0)
    asked = ("g", ("free/0",))
    for n in range(many):
        made = (line("free", 0, 1, 0),)
        ask = Ask(group="g", lease=f"{n}", lines=made, least=0, most=0, ttl_s=60.0)
        walk.note("reserve", (ask,), walk.reference.reserve(ask))
    walk.clock.now_s = 60.0
    for name, how, more in (
        ("void", lambda *whose: walk.reference.end(*whose, "voided"), ()),
        ("settle", walk.reference.settle, ((3,),)),
    ):
        whose = ("g", f"{many - 1}", *more)
        walk.note(name, whose, how(*whose))
    walk.note("balances", asked, (walk.reference.balance("g", "free/0"),))
    return walk.steps


def edge_trace():
    """Asks at the very instants at which a window begins, ends and is forgotten."""
    walk = Walk(0)
    for n, now_s in enumerate((DAY_S - 0.5, DAY_S, 2 * DAY_S - 0.5, 2 * DAY_S, 2 * DAY_S + KEPT_S)):
        walk.clock.now_s = now_s
        ask = Ask(
            group="g", lease=f"{n}", lines=(line("day", 1, 5, 1),), least=0, most=9, ttl_s=9e9
        )
        walk.note("reserve", (ask,), walk.reference.reserve(ask))
        walk.note("settle", ("g", "1", (3,)), walk.reference.settle("g", "1", (3,)))
        asked = ("g", ("day/1",))
        walk.note("balances", asked, (walk.reference.balance("g", "day/1"),))
    return walk.steps
