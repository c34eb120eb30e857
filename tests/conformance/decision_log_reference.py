"""A decision log as plain as it can be: every call is kept, and every answer is counted anew."""

from __future__ import annotations

from conformance.decision_log_samples import HOUR_S, record, unanswered
from hand_clock import HandClock
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tiered_llm.metrics import Feedback, Retention
from tiered_llm.metrics.tally import hour_of, merge, tally, tally_feedback

RETENTION = Retention(days=1, recent=4, runs=8, totals_of=frozenset({"a"}))
TENANTS = ("a", "b", None)


class Reference:
    def __init__(self, clock):
        self.clock, self.calls, self.given = clock, [], []

    def oldest(self):
        return hour_of(self.clock.now()) - 24 * RETENTION.days

    def write(self, records):
        before = [call.run_id for call in self.calls[-RETENTION.runs :]]
        new = []
        for each in records:
            if each.run_id not in before:
                before.append(each.run_id)
                new.append(each)
        self.calls += new
        return len(new)

    def known(self, run_id):
        calls = self.calls[-RETENTION.runs :]
        return next((call for call in reversed(calls) if call.run_id == run_id), None)

    def feedback(self, run_id, score):
        call = self.known(run_id)
        if call is None or call.answered is None:
            return False
        self.given = [(whose, said) for whose, said in self.given if whose is not call]
        self.given.append((call, score))
        return True

    def hours(self, tenant, first, last):
        found = {}
        for call in self.calls:
            hour = hour_of(call.at)
            if tenant in {None, call.tenant_id} and max(first, self.oldest()) <= hour <= last:
                tally(call, found.setdefault(hour, {}))
        for call, score in self.given:
            counters = found.get(hour_of(call.at))
            if counters is not None and tenant in {None, call.tenant_id}:
                merge(counters, judged(call, score))
        return found

    def totals(self, tenant):
        """Of calls and of judgements, however old."""
        found = {}
        for call in self.calls:
            if tenant in {None, call.tenant_id}:
                tally(call, found)
        for call, score in self.given:
            if tenant in {None, call.tenant_id}:
                merge(found, judged(call, score))
        return found

    def recent(self, most):
        calls = self.calls[-RETENTION.recent :]
        said = {id(call): score / 4 for call, score in self.given}
        kept = calls[len(calls) - min(most, len(calls)) :]
        return [(call, said.get(id(call))) for call in kept]


def judged(call, score):
    return tally_feedback(call.answered, int(call.score * 10), score * 250_000, None)


_RUNS = st.integers(0, 15).map(str)
_CALL = st.tuples(
    _RUNS,
    st.sampled_from(TENANTS),
    st.sampled_from(("light", "heavy", None)),
    st.integers(0, 30),
)


class LogMachine(RuleBasedStateMachine):
    make = None

    def __init__(self):
        super().__init__()
        self.clock = HandClock(40 * HOUR_S)
        self.log, self.reference = self.make(self.clock, RETENTION), Reference(self.clock)

    def teardown(self):
        self.log.close()

    @rule(calls=st.lists(_CALL, max_size=6))
    def write(self, calls):
        made = [self.call(*each) for each in calls]
        assert self.log.write(made) == self.reference.write(made)

    @rule(run_id=_RUNS, score=st.integers(0, 4))
    def feedback(self, run_id, score):
        expected = self.reference.feedback(run_id, score)
        assert self.log.feedback(run_id, Feedback(score=score / 4)) == expected

    @rule(hours=st.integers(1, 12))
    def time_passes(self, hours):
        self.clock.now_s += hours * HOUR_S

    @rule(most=st.integers(0, 6), run_id=_RUNS)
    def look(self, most, run_id):
        entries = self.log.recent(most)
        told = [(e.record, e.feedback.score if e.feedback else None) for e in entries]
        assert told == self.reference.recent(most)
        found = self.log.find(run_id)
        kept = [call for call, _ in self.reference.recent(99) if call.run_id == run_id]
        assert (found and found.record) == (kept[-1] if kept else None)

    @invariant()
    def hours_agree(self):
        now = hour_of(self.clock.now())
        for tenant in TENANTS:
            found = self.log.hours(tenant, now - 30, now)
            told = {hour: _without_zeros(counters) for hour, counters in found.items()}
            assert told == self.reference.hours(tenant, now - 30, now)

    @invariant()
    def totals_agree(self):
        found = [_without_zeros(counters) for counters in self.log.totals([None, "a", "b"])]
        assert found == [self.reference.totals(None), self.reference.totals("a"), {}]

    def call(self, run_id, tenant, tier, ago):
        at_s = self.clock.now_s - ago * HOUR_S
        if tier is None:
            return unanswered(run_id, at_s, tenant)
        return record(run_id, at_s, tenant, tier)


def _without_zeros(counters):
    return {key: value for key, value in counters.items() if value}


def log_machine(make):
    """A state machine for the logs that `make(clock, retention)` makes; each is closed."""
    return type("Machine", (LogMachine,), {"make": staticmethod(make)})
