"""Feedback by tier and band: Wilson's numbers, and what is flagged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiered_llm.metrics.quality import quality, wilson

# the first four from Newcombe, "Two-sided confidence intervals for the single proportion",
# Statistics in Medicine 17 (1998), table I, method 3; the others by hand: n / (n + z^2), mirrored
PUBLISHED = [
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0000, 0.1611),
    (1, 29, 0.0061, 0.1718),
    (1, 1, 0.2065, 1.0000),
    (10, 10, 0.7225, 1.0000),
    (0, 10, 0.0000, 0.2775),
]


@pytest.mark.parametrize(("good", "count", "low", "high"), PUBLISHED)
def test_wilson_is_what_is_published(good, count, low, high):
    assert wilson(good, count) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_of_nothing_nothing_is_known():
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_an_interval_holds_its_share_and_is_symmetric(count, share):
    low, high = wilson(share * count, count)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    mirrored = wilson(count - share * count, count)
    assert mirrored == (pytest.approx(1 - high, abs=1e-9), pytest.approx(1 - low, abs=1e-9))


def judged(**cells):
    """Counters: light_1=(good, count)."""
    counters = {}
    for name, (good, count) in cells.items():
        tier, band = name.split("_")
        counters[f"q/{tier}/{band}/n"] = count
        counters[f"q/{tier}/{band}/s"] = round(good * 1_000_000)
    return counters


def test_quality_is_summed_by_tier_and_listed_by_band():
    report = quality(judged(light_0=(3, 4), light_2=(1.5, 2), heavy_2=(1, 1)))
    assert report["tiers"]["light"]["count"] == 6
    assert report["tiers"]["light"]["mean"] == 0.75
    assert report["tiers"]["standard"] == {"count": 0, "mean": None, "low": 0.0, "high": 1.0}
    assert [(b["tier"], b["from"], b["count"]) for b in report["bands"]] == [
        ("light", 0.0, 4),
        ("light", 0.2, 2),
        ("heavy", 0.2, 1),
    ]


def test_a_tier_that_is_worse_in_its_band_is_flagged():
    report = quality(judged(light_2=(10, 40), standard_2=(36, 40), heavy_9=(1, 2)))
    (flag,) = report["flags"]
    assert (flag["tier"], flag["next_tier"], flag["against"]) == ("light", "standard", "band")
    assert (flag["from"], flag["to"]) == (0.2, 0.3)
    assert flag["high"] == wilson(10, 40)[1] < flag["next_low"] == wilson(36, 40)[0]


@pytest.mark.parametrize(
    ("light", "standard"),
    [((24, 40), (34, 40)), ((1, 2), (2, 2)), ((36, 40), (10, 40)), ((20, 40), (20, 40))],
)
def test_what_may_be_chance_is_not_flagged(light, standard):
    assert quality(judged(light_2=light, standard_2=standard))["flags"] == []


def test_where_the_next_tier_was_not_judged_in_the_band_it_is_taken_whole():
    report = quality(judged(light_1=(5, 40), standard_5=(36, 40)))
    (flag,) = report["flags"]
    assert (flag["next_tier"], flag["against"]) == ("standard", "tier")


def test_a_tier_that_was_never_judged_is_passed_over():
    report = quality(judged(light_1=(5, 40), heavy_1=(38, 40)))
    assert [flag["next_tier"] for flag in report["flags"]] == ["heavy"]


def test_the_heaviest_has_nobody_above():
    assert quality(judged(heavy_9=(0, 100)))["flags"] == []
