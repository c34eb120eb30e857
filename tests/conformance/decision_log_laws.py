"""The laws of decision logs; subclass and give a fixture `make(retention=None)` of logs."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from conformance.decision_log_samples import HOSTILE_TENANTS, HOUR_S, record, unanswered
from hand_clock import HandClock

from tiered_llm.metrics import AttemptRecord, Feedback, Retention
from tiered_llm.metrics.tally import MAX_COUNTERS, MAX_NAMES, merge, tally, total

DAY_H = 24


class DecisionLogLaws:
    @pytest.fixture
    def clock(self):
        return HandClock(10 * HOUR_S)

    @pytest.fixture
    def make(self, clock):
        raise NotImplementedError

    @pytest.fixture
    def log(self, make):
        return make()

    # --- writing ---

    def test_an_hour_holds_what_its_calls_add_up_to(self, log):
        first, second = record("1", HOUR_S), record("2", HOUR_S * 2 - 1, tier="heavy")
        assert log.write([first, second]) == 2
        both = tally(second, tally(first))
        assert log.hours("acme", 0, 10) == {1: both}
        assert log.hours(None, 0, 10) == {1: both}

    def test_the_longest_is_kept_and_not_summed(self, log):
        log.write([record("1"), record("2"), record("3")])
        assert log.hours(None, 0, 0)[0]["x/light/d"] == 500_000
        assert log.hours(None, 0, 0)[0]["h/light/d/sum"] == 1_500_000

    def test_a_run_counts_once(self, log):
        assert log.write([record("1"), record("2"), record("1", tier="heavy")]) == 2
        assert log.write([record("2"), record("3")]) == 1
        assert total(log.hours("acme", 0, 0)[0], "c/") == 3
        assert [entry.record.run_id for entry in log.recent()] == ["1", "2", "3"]
        assert log.find("1").record == record("1")

    def test_a_batch_that_cannot_be_written_leaves_nothing(self, log):
        with pytest.raises(Exception, match="bad"):
            log.write([record("1"), _Bad(), record("2")])
        assert log.hours(None, 0, 10) == {}
        assert log.recent() == ()
        assert log.write([record("1"), record("2")]) == 2

    def test_nothing_is_nothing(self, log):
        assert log.write([]) == 0
        assert (log.hours(None, 0, 10), log.recent(), log.find("1")) == ({}, (), None)

    # --- tenants ---

    def test_a_call_without_a_tenant_is_everybodys_alone(self, log):
        log.write([record("1", tenant=None), record("2")])
        assert total(log.hours(None, 0, 0)[0], "c/") == 2
        assert total(log.hours("acme", 0, 0)[0], "c/") == 1

    def test_no_tenant_is_taken_for_another(self, log):
        log.write([record(str(at), tenant=name) for at, name in enumerate(HOSTILE_TENANTS)])
        for name in HOSTILE_TENANTS:
            assert total(log.hours(name, 0, 0)[0], "c/") == 1
        assert total(log.hours(None, 0, 0)[0], "c/") == len(HOSTILE_TENANTS)

    # --- hours ---

    def test_both_ends_are_included(self, log):
        log.write([record(str(hour), hour * HOUR_S) for hour in range(6)])
        assert sorted(log.hours("acme", 2, 4)) == [2, 3, 4]
        assert sorted(log.hours(None, 2, 4)) == [2, 3, 4]
        assert log.hours("acme", 7, 9) == {}
        assert log.hours("acme", 4, 2) == {}
        assert log.hours("nobody", 0, 9) == {}

    def test_hours_go_when_they_are_too_old(self, make, clock):
        log = make(Retention(days=1))
        log.write([record("1", 0.0), record("2", 5 * HOUR_S)])
        clock.now_s = (DAY_H + 3) * HOUR_S
        assert sorted(log.hours(None, 0, 99)) == [5]
        log.write([record("3", clock.now_s), record("4", HOUR_S)])
        assert log.feedback("4", Feedback(score=1.0))
        assert sorted(log.hours(None, 0, 99)) == [5, DAY_H + 3]

    def test_made_up_names_do_not_fill_an_hour(self, log):
        for start in range(0, 2 * MAX_COUNTERS, 500):
            log.write([record(str(at), task_type=f"task/{at}") for at in range(start, start + 500)])
        counters = log.hours("acme", 0, 0)[0]
        assert len(counters) <= MAX_COUNTERS + 1
        assert total(counters, "t/light/light/") == 2 * MAX_COUNTERS
        assert counters["t/light/light/(other)"] >= MAX_COUNTERS

    @pytest.mark.parametrize("name", ["a/b", "a\0b", "\ud800", "é", '"', "(other)", "x" * 5_000])
    def test_any_name_of_a_task_is_counted(self, log, name):
        told = record("1", task_type=name)
        log.write([told])
        assert log.hours(None, 0, 0)[0] == tally(told)

    # --- totals ---

    def test_totals_are_the_sum_of_all_hours_of_everybody(self, log):
        told = [record(str(at), at * HOUR_S, tenant=f"t{at % 2}") for at in range(6)]
        log.write(told[:3])
        log.write(told[3:])
        log.write(told)
        wanted = {}
        for each in told:
            tally(each, wanted)
        assert log.totals([None]) == (wanted,)
        assert log.totals(["t0", "nobody"]) == ({}, {})
        assert log.totals([]) == ()

    def test_totals_of_the_tenants_that_are_named_are_kept_too(self, make):
        log = make(Retention(totals_of=frozenset({"t1"})))
        told = [record(str(at), at * HOUR_S, tenant=f"t{at % 2}") for at in range(6)]
        log.write(told)
        assert [total(each, "c/") for each in log.totals(["t1", None, "t0"])] == [3, 6, 0]

    @pytest.mark.parametrize("name", HOSTILE_TENANTS)
    def test_any_tenants_totals_are_its_own(self, make, name):
        log = make(Retention(totals_of=frozenset(HOSTILE_TENANTS)))
        log.write([record("1", tenant=name), record("2", tenant=None)])
        found = dict(zip(HOSTILE_TENANTS, log.totals(HOSTILE_TENANTS), strict=True))
        assert {each for each, counters in found.items() if counters} == {name}

    def test_totals_are_of_one_moment(self, make):
        log = make(Retention(totals_of=frozenset({"acme"})))
        over = threading.Event()

        def work():
            number = 0
            while not over.is_set():
                log.write([record(str(number))])
                number += 1

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(work)
            seen = [log.totals(["acme", None, "acme"]) for _ in range(100)]
            over.set()
            writing.result()
        assert all(first == everybody == last for first, everybody, last in seen)

    def test_totals_have_no_kinds_of_tasks(self, log):
        log.write([record("1", task_type="chat")])
        (found,) = log.totals([None])
        assert found == tally(record("1"))

    def test_made_up_names_in_totals_are_bounded_kind_by_kind(self, log):
        for start in range(0, 4 * MAX_NAMES, MAX_NAMES):
            log.write([made_up(at) for at in range(start, start + MAX_NAMES)])
        (found,) = log.totals([None])
        for start in ("e/", "f/heavy/"):
            names = [key for key in found if key.startswith(start)]
            assert len(names) == MAX_NAMES + 1
            assert found[f"{start}(other)"] == 3 * MAX_NAMES
        log.write([made_up(-1), made_up(0, again=True)])
        (after,) = log.totals([None])
        assert set(after) == set(found)
        assert after["e/Made0Error"] == after["f/heavy/fault/0"] == 2

    def test_totals_never_fall(self, make, clock):
        log = make(Retention(days=1, recent=1, runs=1))
        log.write([record("1", 0.0), record("2", HOUR_S)])
        clock.now_s = 9 * DAY_H * HOUR_S
        log.write([record("3", clock.now_s), record("4", 0.0)])
        (found,) = log.totals([None])
        assert total(found, "c/") == 4

    def test_a_feedback_is_part_of_the_totals_once(self, make):
        log = make(Retention(totals_of=frozenset({"acme"})))
        log.write([record("1")])
        for score in (1.0, 0.25, 0.5):
            assert log.feedback("1", Feedback(score=score))
        for found in log.totals([None, "acme"]):
            assert total(found, "q/light/") == 1 + 500_000

    # --- what processes tell of themselves ---

    def test_what_a_process_tells_takes_the_place_of_what_it_told(self, log):
        log.publish("one", {"a": [1, "x"]}, 100.0, {})
        log.publish("two", {"a": {"b": 2}}, 110.0, {})
        log.publish("one", {"a": []}, 120.0, {})
        assert sorted(map(str, log.published(0.0))) == ["{'a': []}", "{'a': {'b': 2}}"]
        assert log.published(115.0) == ({"a": []},)

    def test_a_process_takes_leave(self, log):
        log.publish("one", {}, 100.0, {})
        log.withdraw("one")
        log.withdraw("another")
        assert log.published(0.0) == ()

    def test_what_processes_lost_outlives_them(self, log):
        log.publish("one", {}, 100.0, {"store": 2, "queue_full": 0})
        log.publish("two", {}, 100.0, {"store": 3})
        log.write([record("1")])
        log.publish("one", {}, 100.0, {"store": 1})
        log.withdraw("one")
        assert log.totals([None, "acme"]) == (merge({"d/store": 6}, tally(record("1"))), {})
        assert log.hours(None, 0, 0) == {0: tally(record("1"))}

    def test_a_process_that_never_took_leave_is_forgotten(self, log):
        log.publish("one", {"dead": True}, 0.0, {})
        log.publish("two", {"dead": False}, 30 * DAY_H * HOUR_S, {})
        assert {"dead": False} in log.published(0.0)
        assert len(log.published(1.0)) == 1

    # --- recent calls ---

    def test_a_call_comes_back_as_it_was(self, log):
        told = record(
            "1",
            123.456,
            thread_id="t",
            node="n",
            task_type="chat",
            factors={"message": 0.25},
            reasons=("thresholds: pick light: 0.12 is below 0.30",),
            budget={"daily": {"used": 5}},
            policy_version="abc",
        )
        log.write([told, unanswered("2")])
        assert log.find("1").record == told
        assert log.find("2").record == unanswered("2")
        assert log.find("3") is None

    def test_recent_is_the_newest_oldest_first(self, log):
        log.write([record(str(at)) for at in range(5)])
        assert [e.record.run_id for e in log.recent(2)] == ["3", "4"]
        assert log.recent(0) == ()

    def test_following_misses_nothing_and_repeats_nothing(self, log):
        log.write([record("1"), record("2")])
        seen = log.recent()
        log.write([record("3"), record("4")])
        more = log.recent(after=seen[-1].serial)
        assert [entry.record.run_id for entry in more] == ["3", "4"]
        assert log.recent(after=more[-1].serial) == ()

    def test_recent_of_one_tenant(self, log):
        log.write([record("1"), record("2", tenant="other"), record("3", tenant=None), record("4")])
        assert [e.record.run_id for e in log.recent(tenant="acme")] == ["1", "4"]
        assert [e.record.run_id for e in log.recent(1, tenant="other")] == ["2"]

    def test_the_ring_is_bounded(self, make):
        log = make(Retention(recent=3, runs=5))
        for at in range(10):
            log.write([record(str(at))])
        assert [e.record.run_id for e in log.recent()] == ["7", "8", "9"]
        assert log.find("6") is None
        assert log.write([record("6"), record("5")]) == 0
        assert log.write([record("4")]) == 1

    # --- feedback ---

    def test_feedback_counts_in_the_calls_own_hour(self, log, clock):
        log.write([record("1", HOUR_S, score=0.55, tier="standard")])
        assert log.feedback("1", Feedback(score=0.75, comment="fine"))
        for whose in ("acme", None):
            counters = log.hours(whose, 1, 1)[1]
            assert counters["q/standard/5/n"] == 1
            assert counters["q/standard/5/s"] == 750_000
        assert log.find("1").feedback == Feedback(score=0.75, comment="fine")

    def test_the_last_feedback_counts(self, log):
        log.write([record("1"), record("2")])
        for score in (1.0, 0.0, 0.25):
            assert log.feedback("1", Feedback(score=score))
        assert log.feedback("2", Feedback(score=1.0))
        counters = log.hours(None, 0, 0)[0]
        assert (counters["q/light/1/n"], counters["q/light/1/s"]) == (2, 1_250_000)
        assert log.find("1").feedback == Feedback(score=0.25)

    def test_feedback_on_nothing_changes_nothing(self, log):
        log.write([unanswered("1")])
        before = log.hours(None, 0, 0)
        assert not log.feedback("1", Feedback(score=1.0))
        assert not log.feedback("never", Feedback(score=1.0))
        assert log.hours(None, 0, 0) == before

    def test_feedback_outlives_the_ring(self, make):
        log = make(Retention(recent=1, runs=3))
        log.write([record("1"), record("2"), record("3")])
        assert log.feedback("1", Feedback(score=1.0))
        assert log.hours(None, 0, 0)[0]["q/light/1/n"] == 1
        log.write([record("4")])
        assert not log.feedback("1", Feedback(score=0.0))

    @pytest.mark.parametrize(
        "comment", ["", "a\0b", "é 👩‍👩‍👧‍👦", "'; DROP TABLE ring; --", "\ud800"]
    )
    def test_any_comment_comes_back(self, log, comment):
        log.write([record("1")])
        assert log.feedback("1", Feedback(score=1.0, comment=comment))
        assert log.recent()[0].feedback == Feedback(score=1.0, comment=comment)

    # --- many at once ---

    def test_threads_lose_nothing_and_count_nothing_twice(self, log):
        together = threading.Barrier(8)

        def write(at):
            together.wait()
            for batch in range(5):
                log.write([record(f"{at % 4}/{batch}/{each}") for each in range(5)])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(8)))
        assert total(log.hours("acme", 0, 0)[0], "c/") == 4 * 5 * 5
        assert len(log.recent(1_000)) == 4 * 5 * 5

    def test_feedback_of_many_at_once_is_one(self, log):
        log.write([record("1")])
        together = threading.Barrier(8)

        def judge(at):
            together.wait()
            for each in range(10):
                assert log.feedback("1", Feedback(score=(at * 10 + each) / 100))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(judge, range(8)))
        counters = log.hours("acme", 0, 0)[0]
        last = log.find("1").feedback.score
        assert (counters["q/light/1/n"], counters.get("q/light/1/s", 0)) == (1, round(last * 1e6))

    def test_closing_loses_nothing(self, log):
        log.write([record("1")])
        log.close()
        assert total(log.hours("acme", 0, 0)[0], "c/") == 1


def made_up(number, *, again=False):
    """A call that failed in a way that nothing else does."""
    attempt = AttemptRecord(tier="heavy", outcome="failed", fault=f"fault/{number}")
    return record(
        f"made-up-{number}-{again}", answered=None, attempts=(attempt,), error=f"Made{number}Error"
    )


class _Bad:
    run_id = "bad"

    def __getattr__(self, name):
        msg = "bad"
        raise ValueError(msg)
