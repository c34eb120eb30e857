"""Latencies in buckets: they add up exactly, and their quantiles are as near as is said."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiered_llm.metrics.histogram import BOUNDS_S, RATIO, STEPS, LatencyHistogram, bucket_of

CONVENTION_S = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
    *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
"""OpenTelemetry's advice for `gen_ai.client.operation.duration`."""

SECONDS = st.one_of(
    st.floats(0, 3_000, allow_subnormal=False), st.floats(0, 0.01), st.sampled_from(BOUNDS_S)
)
MANY = st.lists(SECONDS, max_size=60)


def test_the_conventions_boundaries_are_among_ours():
    start = BOUNDS_S.index(pytest.approx(0.01))
    ours = BOUNDS_S[start : start + len(CONVENTION_S) * STEPS : STEPS]
    assert ours == pytest.approx(CONVENTION_S, rel=1e-12)
    assert (BOUNDS_S[0], BOUNDS_S[-1]) == (0.00125, 1310.72)


def test_a_boundary_belongs_to_the_bucket_below_it():
    for at, bound in enumerate(BOUNDS_S):
        assert (bucket_of(bound), bucket_of(bound * 1.000_001)) == (at, at + 1)
    assert bucket_of(0.0) == 0


@given(MANY, MANY, MANY)
def test_merging_is_counting_all_at_once(one, two, three):
    whole = LatencyHistogram.of(*one, *two, *three)
    parts = [LatencyHistogram.of(*each) for each in (one, two, three)]
    assert parts[0].merged(parts[1]).merged(parts[2]) == whole
    assert parts[2].merged(parts[0].merged(parts[1])) == whole
    assert LatencyHistogram().merged(whole) == whole


@given(st.lists(SECONDS, min_size=1, max_size=60), st.floats(0, 1))
def test_a_quantile_is_as_near_as_is_said(seconds, share):
    estimate = LatencyHistogram.of(*seconds).quantile_s(share)
    true = sorted(seconds)[max(1, ceil(share * len(seconds))) - 1]
    slack = 1.000_001
    if true <= BOUNDS_S[0]:
        assert abs(estimate - true) <= BOUNDS_S[0] * slack
    elif true > BOUNDS_S[-1]:
        assert BOUNDS_S[-1] <= estimate * slack
        assert estimate <= max(seconds) * slack
    else:
        assert true / RATIO / slack <= estimate <= true * RATIO * slack


@given(st.lists(SECONDS, min_size=1, max_size=60))
def test_quantiles_rise_and_end_at_the_longest(seconds):
    histogram = LatencyHistogram.of(*seconds)
    told = [histogram.quantile_s(share / 20) for share in range(21)]
    assert told == sorted(told)
    assert told[-1] == pytest.approx(max(seconds), rel=RATIO - 1, abs=BOUNDS_S[0])


def test_the_mean_is_exact_to_the_microsecond():
    histogram = LatencyHistogram.of(0.1, 0.2, 0.6)
    assert histogram.mean_s == pytest.approx(0.3, abs=1e-6)
    assert (histogram.sum_us, histogram.max_us, histogram.total) == (900_000, 600_000, 3)


def test_of_nothing_there_is_no_quantile():
    assert (LatencyHistogram().quantile_s(0.5), LatencyHistogram().mean_s) == (None, None)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_beyond_all_is_refused(share):
    with pytest.raises(ValueError, match="from 0 to 1"):
        LatencyHistogram.of(1.0).quantile_s(share)
