"""Records, their counters and their bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiered_llm.metrics import AttemptRecord, CallRecord
from tiered_llm.metrics.packing import (
    RECORD_BYTES,
    pack,
    record_from_json,
    record_to_json,
    unpack,
)
from tiered_llm.metrics.tally import MAX_COUNTERS, band_of, deltas, merge, tally
from tiered_llm.tiers import Tier
from tiered_llm.types import Reason, RoutingDecision

AT = datetime(2026, 6, 1, 12, 30, tzinfo=UTC)


def call(**more):
    return CallRecord(**({"run_id": "1", "at": AT, "asked": Tier.LIGHT} | more))


# --- what is refused ---


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input_tokens", -1),
        ("output_tokens", 1.5),
        ("latency_s", -0.1),
        ("latency_s", float("inf")),
        ("latency_s", float("nan")),
        ("first_token_s", float("nan")),
        ("latency_s", "canary"),
        ("outcome", "canary"),
    ],
)
def test_an_attempt_that_cannot_be_is_refused(name, value):
    with pytest.raises(ValueError, match=name) as refused:
        AttemptRecord(tier="light", **{name: value})
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("run_id", ""),
        ("score", 1.01),
        ("score", -0.01),
        ("score", float("nan")),
        ("score", "high"),
        ("router_s", -1.0),
    ],
)
def test_a_call_that_cannot_be_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        call(**{name: value})


def test_an_unknown_tier_is_refused():
    with pytest.raises(ValueError, match="huge"):
        call(asked="huge")
    with pytest.raises(ValueError, match="huge"):
        AttemptRecord(tier="huge")


def test_names_of_tiers_and_times_without_a_zone_are_taken():
    taken = call(at=AT.replace(tzinfo=None), asked="heavy", answered="light")
    assert (taken.at, taken.asked, taken.answered) == (AT, Tier.HEAVY, Tier.LIGHT)


# --- the seed's decisions ---


def test_a_decision_is_one_answered_attempt_with_estimated_tokens():
    tenant = uuid4()
    decision = RoutingDecision(
        timestamp=AT,
        tenant_id=tenant,
        task_type="chat",
        selected_tier="standard",
        estimated_complexity=0.4,
        tokens_used=1_001,
        latency_ms=850.0,
        model_id="m",
        session_id="s",
        reasons=(Reason(rule="r", effect="pick", tier=Tier.STANDARD, because="b"),),
    )
    made = CallRecord.from_decision(decision, "run")
    assert made == CallRecord(
        run_id="run",
        at=AT,
        tenant_id=str(tenant),
        thread_id="s",
        task_type="chat",
        score=0.4,
        reasons=("r: pick standard: b",),
        asked=Tier.STANDARD,
        answered=Tier.STANDARD,
        attempts=(
            AttemptRecord(
                tier=Tier.STANDARD,
                model_id="m",
                input_tokens=750,
                output_tokens=251,
                estimated=True,
                latency_s=0.85,
            ),
        ),
    )


def test_two_decisions_are_two_runs():
    decision = RoutingDecision(selected_tier="light")
    first, second = (CallRecord.from_decision(decision) for _ in range(2))
    assert first.run_id != second.run_id


@pytest.mark.parametrize(
    "wrong",
    [{"tokens_used": -1}, {"latency_ms": float("nan")}, {"estimated_complexity": 2.0}],
)
def test_a_decision_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="is not a"):
        CallRecord.from_decision(RoutingDecision(selected_tier="light", **wrong))


# --- counters ---


def test_a_calls_counters():
    failed = AttemptRecord(
        tier="light", outcome="failed", fault="timeout", input_tokens=7, estimated=True, latency_s=2
    )
    answered = AttemptRecord(
        tier="heavy", input_tokens=100, output_tokens=20, latency_s=0.011, first_token_s=0.001
    )
    told = call(
        task_type="a/b",
        score=0.35,
        answered="heavy",
        attempts=(failed, answered),
        router_s=0.000_25,
        error="SomeError",
    )
    assert tally(told) == {
        "c/light/heavy/3": 1,
        "t/light/heavy/a/b": 1,
        "e/SomeError": 1,
        "r": 250,
        "a/light/failed/e": 1,
        "s/light/failed/e": 2_000_000,
        "k/light/failed/e/i": 7,
        "f/light/timeout": 1,
        "a/heavy/answered/m": 1,
        "s/heavy/answered/m": 11_000,
        "k/heavy/answered/m/i": 100,
        "k/heavy/answered/m/o": 20,
        "h/heavy/d/13": 1,
        "h/heavy/d/sum": 11_000,
        "x/heavy/d": 11_000,
        "h/heavy/f/0": 1,
        "h/heavy/f/sum": 1_000,
        "x/heavy/f": 1_000,
    }


@pytest.mark.parametrize(
    ("score", "band"), [(0.0, 0), (0.099, 0), (0.1, 1), (0.3, 3), (0.7, 7), (0.999, 9), (1.0, 9)]
)
def test_a_score_is_in_its_band(score, band):
    assert band_of(score) == band


COUNTERS = st.dictionaries(
    st.sampled_from(["c/light/light/1", "k/heavy/failed/m/i", "x/light/d", "r", "f/light/a"]),
    st.integers(1, 10**12),
)


@given(COUNTERS, COUNTERS, COUNTERS)
def test_merging_does_not_depend_on_the_order(one, two, three):
    left = merge(merge(dict(one), two), three)
    right = merge(merge(dict(three), one), two)
    assert left == right


def test_names_beyond_the_bound_are_others():
    full = {f"f/light/{at}": 1 for at in range(MAX_COUNTERS)}
    merge(full, {"t/light/light/a/b": 2, "f/light/0": 1, "e/new": 1, "f/heavy/new": 1})
    merge(full, {"t/light/light/c": 3, "k/light/answered/m/i": 5})
    assert full["t/light/light/(other)"] == 5
    assert (full["f/light/0"], full["e/(other)"], full["f/heavy/(other)"]) == (2, 1, 1)
    assert full["k/light/answered/m/i"] == 5


def test_everybody_is_the_sum_of_tenants_and_of_those_without():
    records = [call(run_id=str(at), tenant_id=name) for at, name in enumerate("aab")]
    found = deltas([*records, call(run_id="x"), call(run_id="y", at=AT + timedelta(hours=1))])
    hour = int(AT.timestamp() // 3600)
    counts = {scope: counters["c/light/-/0"] for scope, counters in found.items()}
    assert counts == {(hour, "a"): 2, (hour, "b"): 1, (hour, None): 4, (hour + 1, None): 1}


# --- bytes ---


@given(st.dictionaries(st.text(), st.integers(-(10**15), 10**15)))
def test_counters_come_back(counters):
    assert unpack(pack(counters)) == counters


def test_a_call_in_an_hour_of_its_own_is_small():
    answered = AttemptRecord(tier="light", input_tokens=812, output_tokens=97, latency_s=1.234)
    told = call(answered="light", attempts=(answered,), task_type="chat", router_s=0.000_2)
    assert len(pack(tally(told))) < 80


@pytest.mark.parametrize("data", [b"", b"\2abc", b"\1abc", pack({"a": 1})[:-2]])
def test_bytes_that_are_none_of_ours_are_refused(data):
    with pytest.raises(ValueError, match=r"damaged|release"):
        unpack(data)


_TEXT = st.text(max_size=20)
RECORDS = st.builds(
    CallRecord,
    run_id=st.text(min_size=1, max_size=20),
    at=st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))])),
    tenant_id=st.none() | _TEXT,
    thread_id=st.none() | _TEXT,
    node=st.none() | _TEXT,
    task_type=st.none() | _TEXT,
    score=st.floats(0, 1),
    factors=st.dictionaries(_TEXT, st.floats(0, 1), max_size=3),
    reasons=st.lists(_TEXT, max_size=3).map(tuple),
    asked=st.sampled_from(Tier),
    answered=st.none() | st.sampled_from(Tier),
    attempts=st.lists(
        st.builds(
            AttemptRecord,
            tier=st.sampled_from(Tier),
            outcome=st.sampled_from(("answered", "failed", "abandoned")),
            fault=st.none() | _TEXT,
            input_tokens=st.integers(0, 10**9),
            output_tokens=st.integers(0, 10**9),
            estimated=st.booleans(),
            latency_s=st.floats(0, 10**6),
            first_token_s=st.none() | st.floats(0, 10**6),
        ),
        max_size=3,
    ).map(tuple),
    budget=st.dictionaries(_TEXT, st.integers() | st.dictionaries(_TEXT, _TEXT), max_size=3),
)


@given(RECORDS)
def test_a_record_comes_back(told):
    assert record_from_json(record_to_json(told)) == told


def test_a_record_of_any_length_is_kept_in_bounds():
    long = "x" * 100_000
    attempt = AttemptRecord(tier="light", model_id=long, fault=long)
    told = call(
        tenant_id=long,
        node=long,
        reasons=(long,) * 50,
        factors={long: 0.5},
        budget={"daily": long},
        attempts=(attempt,) * 50,
    )
    text = record_to_json(told)
    assert len(text) < 2 * RECORD_BYTES
    kept = record_from_json(text)
    assert (kept.run_id, kept.at, kept.asked) == (told.run_id, told.at, told.asked)
    assert (len(kept.attempts), kept.reasons, kept.budget) == (20, (), {})


def test_what_json_does_not_know_is_written_as_text():
    kept = record_from_json(record_to_json(call(budget={"resets_at": AT})))
    assert kept.budget == {"resets_at": str(AT)}
