"""The circuit breaker: its promises one by one, a model of it, and crowds at its door."""

from __future__ import annotations

import asyncio
import math
import random
import sys
import threading
from dataclasses import dataclass

import pytest
from hand_clock import HandClock
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tiered_llm.errors import ConfigurationError
from tiered_llm.fallback import phases as module
from tiered_llm.fallback.breaker import Breaker
from tiered_llm.fallback.phases import Closed, HalfOpen, Open, Outcome
from tiered_llm.settings import BreakerSettings, get_settings

SUCCESS, FAILURE, NEUTRAL, COOLDOWN = Outcome
PLAIN = BreakerSettings(jitter=0.0)


class Bench:
    """A breaker with its clock, its dice and what it told."""

    def __init__(self, policy=PLAIN):
        self.clock, self.draw, self.told = HandClock(), 0.5, []
        self.breaker = Breaker(
            policy, self.clock, lambda: self.draw, lambda *change: self.told.append(change)
        )

    def after(self, seconds):
        self.clock.now_s += seconds
        return self.breaker

    def call(self, outcome, duration_s=0.0, *, times=1, **more):
        for _ in range(times):
            self.breaker.try_acquire().settle(outcome, duration_s, **more)
        return self.breaker.state


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def half_open(bench):
    bench.call(FAILURE, times=10)
    bench.after(5)
    return bench


def test_a_new_breaker_lets_every_call_through(bench):
    permits = [bench.breaker.try_acquire() for _ in range(100)]
    assert all(permits)
    assert (bench.breaker.state, bench.breaker.available, bench.breaker.remaining_s) == (
        "closed",
        True,
        0.0,
    )


def test_fewer_calls_than_the_least_number_never_open_it(bench):
    assert bench.call(FAILURE, times=9) == "closed"
    assert bench.call(FAILURE) == "open"


def test_it_opens_at_half_of_the_calls_and_not_below(bench):
    bench.call(SUCCESS, times=6)
    assert bench.call(FAILURE, times=5) == "closed"
    assert bench.call(FAILURE) == "open"


def test_a_success_that_completes_the_least_number_may_open_it(bench):
    assert bench.call(FAILURE, times=9) == "closed"
    assert bench.call(SUCCESS) == "open"


def test_an_uneven_ratio_is_met_exactly():
    bench = Bench(BreakerSettings(failure_ratio=0.1, min_calls=30))
    bench.call(SUCCESS, times=27)
    assert bench.call(FAILURE, times=2) == "closed"
    assert bench.call(FAILURE) == "open"


def test_slow_calls_count_like_failures():
    bench = Bench(BreakerSettings(slow_s=2.0))
    bench.call(SUCCESS, 2.0, times=5)
    bench.call(SUCCESS, 2.1, times=3)
    assert bench.call(FAILURE, 9.0) == "closed"
    assert bench.call(SUCCESS, 2.1) == "open"


def test_without_a_bound_no_call_is_slow(bench):
    assert bench.call(SUCCESS, 1e9, times=100) == "closed"


def test_calls_leave_the_window(bench):
    bench.call(FAILURE, times=9)
    bench.after(29)
    assert len(bench.breaker._phase.buckets) == 1
    bench.after(1)
    assert bench.call(FAILURE, times=9) == "closed"
    assert bench.call(FAILURE) == "open"


def test_the_window_slides_and_does_not_jump(bench):
    for _ in range(9):
        bench.call(FAILURE)
        bench.after(3)
    bench.after(2)
    assert bench.call(FAILURE) == "open"


def test_an_open_breaker_refuses_until_its_time_is_over(bench):
    bench.call(FAILURE, times=10)
    assert bench.after(4.5).try_acquire() is None
    assert (bench.breaker.available, bench.breaker.remaining_s) == (False, 0.5)
    assert bench.after(0.5).state == "half_open"
    assert bench.breaker.available
    assert bench.breaker.try_acquire()


def test_as_many_good_probes_as_places_close_it(half_open):
    assert half_open.call(SUCCESS) == "half_open"
    assert half_open.call(SUCCESS) == "closed"
    assert half_open.call(FAILURE, times=9) == "closed", "it starts with an empty window"


@pytest.mark.parametrize("probes", [1, 2, 3])
def test_only_so_many_probes_are_under_way(probes):
    bench = Bench(BreakerSettings(probes=probes, jitter=0.0))
    bench.call(FAILURE, times=10)
    bench.after(5)
    permits = [bench.breaker.try_acquire() for _ in range(50)]
    assert sum(permit is not None for permit in permits) == probes
    assert not bench.breaker.available
    assert bench.breaker.remaining_s == 150.0
    permits[0].settle(NEUTRAL)
    assert bench.breaker.try_acquire()
    assert bench.breaker.try_acquire() is None


def test_one_bad_probe_reopens_it(half_open):
    half_open.call(SUCCESS)
    assert half_open.call(FAILURE) == "open"


def test_a_slow_probe_is_a_bad_one():
    bench = Bench(BreakerSettings(slow_s=1.0, jitter=0.0))
    bench.call(FAILURE, times=10)
    bench.after(5)
    assert bench.call(SUCCESS, 1.5) == "open"


def test_each_reopening_doubles_the_time_up_to_the_longest(half_open):
    lengths = []
    for _ in range(2_000):
        half_open.call(FAILURE)
        lengths.append(half_open.breaker.remaining_s)
        half_open.after(lengths[-1])
    assert lengths[:6] == [10, 20, 40, 80, 120, 120]
    assert lengths[-1] == 120


def test_closing_resets_the_time(half_open):
    half_open.call(FAILURE)
    half_open.after(10)
    half_open.call(SUCCESS, times=2)
    half_open.call(FAILURE, times=10)
    assert half_open.breaker.remaining_s == 5


@pytest.mark.parametrize(("draw", "length_s"), [(0.0, 4.0), (0.5, 5.0), (0.75, 5.5)])
def test_the_open_time_varies_both_ways(draw, length_s):
    bench = Bench(BreakerSettings(jitter=0.2))
    bench.draw = draw
    bench.call(FAILURE, times=10)
    assert bench.breaker.remaining_s == pytest.approx(length_s)


def test_jitter_does_not_grow_with_the_doublings():
    bench = Bench(BreakerSettings(jitter=0.5))
    bench.draw = 0.0
    bench.call(FAILURE, times=10)
    bench.after(2.5)
    bench.call(FAILURE)
    assert bench.breaker.remaining_s == 5


def test_a_permit_counts_once(half_open):
    permit = half_open.breaker.try_acquire()
    for _ in range(5):
        permit.settle(SUCCESS)
    assert half_open.breaker.state == "half_open"
    permit.settle(FAILURE)
    assert half_open.breaker.state == "half_open"


def test_a_permit_settled_from_many_threads_counts_once(bench):
    permit, barrier = bench.breaker.try_acquire(), threading.Barrier(20)

    def settle():
        barrier.wait()
        permit.settle(FAILURE)

    crowd([settle] * 20)
    assert [calls for _, calls, _ in bench.breaker._phase.buckets] == [1]


@pytest.mark.parametrize("outcome", [NEUTRAL, COOLDOWN])
def test_what_says_nothing_is_not_counted(bench, outcome):
    bench.call(FAILURE, times=9)
    before = bench.breaker._phase
    for _ in range(20):
        bench.call(outcome, 1e9, retry_after_s=0.0)
    assert bench.breaker._phase == before


def test_neutral_never_changes_the_state(half_open):
    assert half_open.call(NEUTRAL, times=100) == "half_open"
    half_open.call(SUCCESS, times=2)
    assert half_open.call(NEUTRAL, times=100) == "closed"
    late = half_open.breaker.try_acquire()
    half_open.call(FAILURE, times=10)
    late.settle(NEUTRAL)
    assert half_open.breaker.state == "open"


def test_a_429_refuses_for_as_long_as_it_asks(bench):
    assert bench.call(COOLDOWN, retry_after_s=7.0) == "cooldown"
    assert bench.after(6.5).try_acquire() is None
    assert bench.breaker.remaining_s == 0.5
    assert bench.after(0.5).try_acquire()
    assert bench.breaker.state == "closed"


def test_a_429_that_asks_nothing_refuses_for_the_open_time(bench):
    bench.call(COOLDOWN)
    assert bench.breaker.remaining_s == 5.0


@pytest.mark.parametrize(
    ("asked_s", "refused_s"),
    [(-1.0, 0.0), (math.nan, 0.0), (math.inf, 3600.0), (1e9, 3600.0)],
)
def test_a_429_that_asks_nonsense_ejects_nobody_for_good(bench, asked_s, refused_s):
    bench.call(COOLDOWN, retry_after_s=asked_s)
    assert bench.breaker.remaining_s == refused_s


def test_a_later_shorter_429_does_not_shorten_the_first(bench):
    first, second = bench.breaker.try_acquire(), bench.breaker.try_acquire()
    first.settle(COOLDOWN, retry_after_s=9.0)
    second.settle(COOLDOWN, retry_after_s=1.0)
    assert bench.breaker.remaining_s == 9.0


def test_calls_under_way_count_on_through_a_cooldown(bench):
    permits = [bench.breaker.try_acquire() for _ in range(11)]
    permits.pop().settle(COOLDOWN, retry_after_s=3.0)
    for permit in permits:
        permit.settle(FAILURE)
    assert bench.breaker.state == "open", "the graver of the two is named"
    assert bench.breaker.remaining_s == 5.0


def test_a_429_to_a_probe_frees_its_place_and_keeps_the_phase(half_open):
    assert half_open.call(COOLDOWN, retry_after_s=3.0) == "cooldown"
    half_open.after(3)
    assert half_open.breaker.state == "half_open"
    assert half_open.breaker.try_acquire()
    assert half_open.breaker.try_acquire()


def test_a_lost_probe_holds_its_place_no_longer_than_its_lease(half_open):
    half_open.breaker.try_acquire()
    half_open.after(10)
    half_open.breaker.try_acquire()
    assert half_open.after(139.5).try_acquire() is None
    assert half_open.breaker.remaining_s == 0.5
    assert half_open.after(0.5).try_acquire()
    assert half_open.breaker.try_acquire() is None


def test_a_probe_that_outlives_its_lease_still_says_how_it_went(half_open):
    late = half_open.breaker.try_acquire()
    half_open.after(150)
    others = [half_open.breaker.try_acquire() for _ in range(2)]
    late.settle(NEUTRAL)
    assert half_open.breaker.try_acquire() is None, "it frees no place but its own"
    others[0].settle(FAILURE)
    assert half_open.breaker.state == "open"


@pytest.mark.parametrize("outcome", [SUCCESS, FAILURE])
def test_a_permit_from_before_it_opened_says_nothing_to_the_probes(bench, outcome):
    stale = [bench.breaker.try_acquire() for _ in range(5)]
    bench.call(FAILURE, times=10)
    stale.pop().settle(outcome)
    assert bench.breaker.remaining_s == 5.0
    bench.after(5)
    probes = [bench.breaker.try_acquire() for _ in range(2)]
    for permit in stale:
        permit.settle(outcome)
    assert bench.breaker.state == "half_open"
    assert bench.breaker.try_acquire() is None, "nor does it free a probe's place"
    for permit in probes:
        permit.settle(SUCCESS)
    assert bench.breaker.state == "closed"


def test_a_probe_of_an_earlier_half_open_phase_says_nothing_to_this_one(half_open):
    stale = half_open.breaker.try_acquire()
    half_open.call(FAILURE)
    half_open.after(10)
    half_open.call(SUCCESS)
    stale.settle(SUCCESS)
    assert half_open.breaker.state == "half_open"
    assert half_open.call(SUCCESS) == "closed"


def test_looking_takes_nothing_and_tells_nobody(half_open):
    told = list(half_open.told)
    for _ in range(100):
        assert half_open.breaker.available
        assert half_open.breaker.state == "half_open"
    assert half_open.told == told
    assert half_open.breaker.try_acquire()


def test_changes_are_told_in_order(bench):
    bench.call(COOLDOWN, retry_after_s=1.0)
    bench.after(1)
    bench.call(FAILURE, times=10)
    bench.after(5)
    bench.call(FAILURE)
    bench.after(10)
    bench.call(SUCCESS, times=2)
    assert bench.told == [
        ("closed", "cooldown"),
        ("cooldown", "closed"),
        ("closed", "open"),
        ("open", "half_open"),
        ("half_open", "open"),
        ("open", "half_open"),
        ("half_open", "closed"),
    ]


def test_an_observer_is_called_outside_the_lock():
    seen = []

    def look(*_):
        other = threading.Thread(target=lambda: seen.append(breaker.state))
        other.start()
        other.join(timeout=10)

    breaker = Breaker(PLAIN, HandClock(), on_change=look)
    for _ in range(10):
        breaker.try_acquire().settle(FAILURE)
    assert seen == ["open"]


def test_without_an_observer_it_works_all_the_same():
    breaker = Breaker(BreakerSettings(min_calls=1))
    breaker.try_acquire().settle(FAILURE)
    assert breaker.try_acquire() is None


def test_a_permit_settled_within_a_call_does_not_block_it():
    """A stream that the garbage collector closes settles wherever its thread happens to be."""
    clock = HandClock()
    breaker = Breaker(PLAIN, clock)
    permit = breaker.try_acquire()
    clock.monotonic_s = lambda: permit.settle(NEUTRAL) or clock.now_s
    done = threading.Thread(target=breaker.try_acquire, daemon=True)
    done.start()
    done.join(timeout=10)
    assert not done.is_alive()


def test_memory_is_bounded_whatever_the_rate(bench):
    for n in range(100_000):
        bench.call(FAILURE if n % 3 == 0 else SUCCESS)
        bench.after(0.01 if n % 1_000 else 7.3)
    assert len(bench.breaker._phase.buckets) <= 30
    assert bench.breaker.state == "closed"


def test_a_phase_goes_on_only_as_its_own_calls_let_it():
    opened = Open(open_s=5.0, until_s=9.0)
    assert module.count(opened, bad=False, now_s=0.0, policy=PLAIN, draw=lambda: 0.5) == opened
    assert module.grant(opened, 1.0) == opened
    probing = HalfOpen(open_s=5.0, leases=(1.0, 2.0))
    assert module.release(probing, 3.0) == probing
    assert module.release(probing, 1.0).leases == (2.0,)
    assert module.release(Closed(), 1.0) == Closed()


@pytest.mark.parametrize(
    "wrong",
    [
        {"window_s": 0.0},
        {"window_s": math.inf},
        {"window_s": math.nan},
        {"min_calls": 0},
        {"failure_ratio": 0.0},
        {"failure_ratio": 50},
        {"slow_s": 0.0},
        {"open_s": -1.0},
        {"max_open_s": math.inf},
        {"jitter": 1.0},
        {"jitter": -0.1},
        {"probes": 0},
        {"probes": 4},
        {"probe_lease_s": 0.0},
    ],
)
def test_a_policy_that_cannot_work_is_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}"):
        BreakerSettings(**wrong)


def test_an_open_time_above_the_longest_is_found_in_the_settings(clean_environment):
    with pytest.raises(ConfigurationError, match=r"breaker\.open_s.*must not exceed max_open_s"):
        get_settings(breaker={"open_s": 121.0})


def crowd(callables):
    """Run each in a thread of its own, switching as often as the interpreter can."""
    threads = [threading.Thread(target=run) for run in callables]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)


def test_fifty_threads_at_once_get_no_more_than_the_probes():
    bench = Bench()
    bench.call(FAILURE, times=10)
    granted, counts = [], []

    def next_round():
        """In one thread, while the others wait: settle the last round, prepare the next."""
        counts.append(len(granted))
        for permit in granted:
            permit.settle(FAILURE)
        granted.clear()
        bench.after(1_000)

    barrier = threading.Barrier(50, action=next_round)

    def ask():
        for _ in range(1_000):
            barrier.wait()
            permit = bench.breaker.try_acquire()
            if permit is not None:
                granted.append(permit)
        barrier.wait()

    crowd([ask] * 50)
    assert counts == [0] + [2] * 1_000


async def test_fifty_coroutines_at_once_get_no_more_than_the_probes():
    bench = Bench()
    bench.call(FAILURE, times=10)

    async def ask():
        await asyncio.sleep(0)
        permit = bench.breaker.try_acquire()
        await asyncio.sleep(0)
        return permit

    for _ in range(1_000):
        bench.after(1_000)
        permits = await asyncio.gather(*(ask() for _ in range(50)))
        granted = [permit for permit in permits if permit is not None]
        assert len(granted) == 2
        for permit in granted:
            permit.settle(FAILURE)


def test_threads_that_fail_and_succeed_lose_no_count():
    bench = Bench(BreakerSettings(min_calls=10**6))

    def calls():
        for n in range(200):
            bench.breaker.try_acquire().settle(FAILURE if n % 2 else SUCCESS)

    crowd([calls] * 20)
    assert [counted for _, *counted in bench.breaker._phase.buckets] == [[4_000, 2_000]]


class Reference:
    """The breaker as one would tell it: lists of what happened, nothing clever."""

    def __init__(self, policy, clock):
        self.policy, self.clock = policy, clock
        self.kind, self.period = "closed", 0
        self.calls, self.probes = [], {}
        self.good, self.length_s, self.until_s, self.cool_until_s = 0, 0.0, 0.0, 0.0

    def turn(self, kind):
        self.kind, self.period = kind, self.period + 1
        self.calls, self.probes, self.good = [], {}, 0

    def open(self, length_s, draw):
        self.turn("open")
        self.length_s = length_s
        self.until_s = self.clock.now_s + length_s * (1 + self.policy.jitter * (2 * draw - 1))

    def look(self):
        now_s = self.clock.now_s
        if self.kind == "open" and now_s >= self.until_s:
            self.turn("half_open")
        self.probes = {k: end_s for k, end_s in self.probes.items() if end_s > now_s}

    def state(self):
        self.look()
        if self.kind != "open" and self.clock.now_s < self.cool_until_s:
            return "cooldown"
        return self.kind

    def wait_s(self):
        self.look()
        waits = [0.0, self.cool_until_s - self.clock.now_s]
        if self.kind == "open":
            waits.append(self.until_s - self.clock.now_s)
        if self.kind == "half_open" and len(self.probes) == self.policy.probes:
            waits.append(min(self.probes.values()) - self.clock.now_s)
        return max(waits)

    def acquire(self, key):
        if self.wait_s() > 0:
            return None
        if self.kind == "half_open":
            self.probes[key] = self.clock.now_s + self.policy.probe_lease_s
        return self.period

    def settle(self, key, period, end):
        self.look()
        self.probes.pop(key, None)
        if end.outcome is COOLDOWN:
            self.cool_until_s = max(self.cool_until_s, self.clock.now_s + end.retry_after_s)
        if period != self.period or end.outcome in {NEUTRAL, COOLDOWN}:
            return
        bad = end.outcome is FAILURE or end.duration_s > self.policy.slow_s
        if self.kind == "closed":
            self.count(bad, end.draw)
        elif bad:
            self.open(min(2 * self.length_s, self.policy.max_open_s), end.draw)
        else:
            self.good += 1
            if self.good == self.policy.probes:
                self.turn("closed")

    def count(self, bad, draw):
        now_s = self.clock.now_s
        self.calls = [c for c in self.calls if now_s - c[0] < self.policy.window_s] + [(now_s, bad)]
        bads = sum(bad for _, bad in self.calls)
        if len(self.calls) >= self.policy.min_calls and 2 * bads >= len(self.calls):
            self.open(self.policy.open_s, draw)


@dataclass(frozen=True)
class End:
    """How a call ends, and how the dice fall if that opens the breaker."""

    outcome: Outcome
    duration_s: float
    retry_after_s: int
    draw: float


ENDS = st.builds(
    End,
    outcome=st.sampled_from([SUCCESS, SUCCESS, FAILURE, FAILURE, NEUTRAL, COOLDOWN]),
    duration_s=st.sampled_from([0.0, 2.0, 2.5]),
    retry_after_s=st.integers(0, 10),
    draw=st.sampled_from([0.0, 0.25, 0.5, 0.99]),
)


class BreakerMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order, the breaker says what the reference says.

    Seconds are whole, so that buckets of a third are as exact as a list of times.
    """

    @initialize(min_calls=st.integers(1, 4), probes=st.integers(1, 3))
    def start(self, min_calls, probes):
        policy = BreakerSettings(
            window_s=10.0,
            min_calls=min_calls,
            probes=probes,
            slow_s=2.0,
            max_open_s=30.0,
            probe_lease_s=20.0,
        )
        self.bench = Bench(policy)
        self.reference = Reference(policy, self.bench.clock)
        self.out, self.count = [], 0

    @rule(seconds=st.integers(1, 10))
    def wait(self, seconds):
        self.bench.after(seconds)

    @rule()
    def wait_until_free(self):
        self.bench.after(math.ceil(self.bench.breaker.remaining_s))

    @rule()
    def acquire(self):
        self.count += 1
        permit, period = self.bench.breaker.try_acquire(), self.reference.acquire(self.count)
        assert (permit is None) == (period is None)
        if permit is not None:
            self.out.append((self.count, period, permit))

    @rule(end=ENDS, place=st.integers(0, 10**6), again=st.sampled_from(Outcome))
    def settle(self, end, place, again):
        if not self.out:
            return
        key, period, permit = self.out.pop(place % len(self.out))
        self.bench.draw = end.draw
        permit.settle(end.outcome, end.duration_s, retry_after_s=end.retry_after_s)
        permit.settle(again, retry_after_s=50.0)
        self.reference.settle(key, period, end)

    @rule()
    def lose(self):
        self.out = self.out[1:]

    @invariant()
    def both_say_the_same(self):
        breaker, wait_s = self.bench.breaker, self.reference.wait_s()
        assert breaker.state == self.reference.state()
        assert breaker.remaining_s == wait_s
        assert breaker.available == (wait_s == 0.0)

    @invariant()
    def changes_follow_one_another(self):
        told = self.bench.told
        assert [old for old, _ in told] == ["closed", *(new for _, new in told)][: len(told)]
        assert all(old != new for old, new in told)


BreakerMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
TestBreakerMachine = BreakerMachine.TestCase


def test_real_dice_stay_within_the_jitter():
    dice = random.Random(1)  # noqa: S311 -- no secret
    for _ in range(200):
        clock = HandClock()
        breaker = Breaker(BreakerSettings(min_calls=1), clock, dice.random)
        breaker.try_acquire().settle(FAILURE)
        assert 4.0 <= breaker.remaining_s <= 6.0
