"""The retry budget: what it promises holds for any order of calls, attempts and seconds."""

from __future__ import annotations

import threading

import pytest
from hand_clock import HandClock
from hypothesis import given
from hypothesis import strategies as st

from tiered_llm.fallback.retries import RetryBudget

STEPS = st.lists(
    st.one_of(st.just("call"), st.just("again"), st.floats(0, 5, allow_nan=False)), max_size=200
)


@given(STEPS, st.floats(0, 1), st.integers(1, 20))
def test_further_attempts_never_pass_the_bound(steps, share, reserve):
    clock = HandClock()
    budget = RetryBudget(share, reserve, clock)
    calls = granted = 0
    for step in steps:
        if step == "call":
            budget.pay_in()
            calls += 1
        elif step == "again":
            granted += budget.spend()
        else:
            clock.now_s += step
    seconds = clock.now_s - 1_000.0
    assert granted <= reserve + share * calls + seconds + 1e-6


def test_a_process_with_few_calls_may_always_try_again():
    clock = HandClock()
    budget = RetryBudget(0.2, 1, clock)
    for _ in range(1_000):
        budget.pay_in()
        assert budget.spend()
        clock.now_s += 1


def test_under_load_the_share_is_what_is_left():
    budget = RetryBudget(0.2, 100, HandClock())
    granted = 0
    for _ in range(10_000):
        budget.pay_in()
        granted += budget.spend()
    assert granted == pytest.approx(100 + 0.2 * 10_000, abs=2)


def test_no_share_and_no_reserve_switch_it_off():
    clock = HandClock()
    budget = RetryBudget(0.0, 0, clock)
    clock.now_s += 1_000
    assert not budget.spend()


def test_reset_fills_it():
    budget = RetryBudget(0.0, 3, HandClock())
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]
    budget.reset()
    assert budget.saved == 3
    assert budget.spend()


def test_threads_together_get_no_more_than_one_would():
    budget = RetryBudget(0.0, 500, HandClock())
    granted, barrier = [], threading.Barrier(8)

    def take():
        barrier.wait()
        granted.append(sum(budget.spend() for _ in range(200)))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 500
