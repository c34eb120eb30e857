"""What routing saved: the page's example number by number, and what must always add up."""

from __future__ import annotations

import contextlib
import io
import re
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiered_llm.metrics.baseline import MIN_ATTEMPTS, baseline_of
from tiered_llm.metrics.savings import savings
from tiered_llm.settings import DEFAULT_SPECS
from tiered_llm.tiers import Tier

PAGE = Path(__file__).parents[2] / "docs/explanation/how-savings-are-computed.md"


def example():
    """The page's own program, run; its report."""
    namespace = {}
    source = re.search(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1]
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(source, str(PAGE), "exec"), namespace)  # noqa: S102  # the page is ours
    return namespace["saved"]


def table():
    """The page's sums: what each is called, its arithmetic, and its value."""
    rows = re.findall(
        r"^\| (.+?) \| ([^|]+) \| ([\d.]+) \|$", PAGE.read_text("utf-8"), re.MULTILINE
    )
    return {name.replace("`", ""): (how, Decimal(value)) for name, how, value in rows}


SUMS = table()


@pytest.fixture(scope="module")
def saved():
    return example()


def test_the_page_has_all_its_sums():
    assert len(SUMS) == 20


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_of_the_page_is_right(name):
    how, value = SUMS[name]
    arithmetic = how.partition(",")[0]
    assert re.fullmatch(r"[\d.()+*/ -]+", arithmetic)
    worked = eval(re.sub(r"([\d.]+)", r"D('\1')", arithmetic), {"D": Decimal})  # noqa: S307
    if "dropped" in how:
        worked = int(worked)
    assert abs(worked - value) < Decimal("0.0005" if name.endswith("pct") else "0.0000005")


@pytest.mark.parametrize(
    "name",
    [
        *("cost_units", "baseline_cost_units", "cost_units_saved", "tokens_saved"),
        *("usd", "baseline_usd", "usd_saved", "cost_reduction_pct", "gpu_hours_saved"),
    ],
)
def test_the_report_says_what_the_page_says(saved, name):
    within = 0.0005 if name == "cost_reduction_pct" else 0.0000005
    assert float(saved[name]) == pytest.approx(float(SUMS[name][1]), abs=within)


def test_the_reports_parts_are_the_pages(saved):
    assert saved["baseline"]["s_per_token"] == 0.04
    assert (saved["baseline"]["basis"], saved["baseline"]["attempts"]) == ("tenant", 11)
    assert saved["router"]["cost_units"] == SUMS["cost_units of the router"][1]
    failed = saved["failed_attempts"]
    assert failed["cost_units"] == SUMS["cost_units of standard, failed"][1]
    assert failed["usd"] == SUMS["usd of standard, failed"][1]
    assert (failed["tokens"], failed["gpu_hours"]) == (400, pytest.approx(6 * 0.4 / 3600))
    assert saved["estimated"]["cost_units"] == 1200
    assert saved["measured"]["cost_units"] == 113960 + 3000
    assert saved["gpu_hours"] == pytest.approx(float(SUMS["GPU seconds"][1]) / 3600)
    baseline = float(SUMS["baseline GPU seconds"][1]) / 3600
    assert saved["baseline_gpu_hours"] == pytest.approx(baseline)
    assert (saved["calls"], saved["failed_calls"], saved["tokens"]) == (16, 0, 14_796)


# --- what must always hold ---


def savings_of(counters, specs=DEFAULT_SPECS, everybody=None):
    return savings(counters, specs, baseline_of(counters, everybody or {}, specs))


def priced(**prices):
    """Specs with prices for some tiers: input and output alike."""
    return {
        tier: spec.model_copy(
            update=dict.fromkeys(
                ("input_usd_per_million", "output_usd_per_million"), prices.get(tier.value)
            )
        )
        for tier, spec in DEFAULT_SPECS.items()
    }


_NAMES = [
    f"{family}/{tier}/{end}/{how}{part}"
    for family, parts in (("k", ("/i", "/o")), ("s", ("",)), ("a", ("",)))
    for tier in ("light", "standard", "heavy")
    for end in ("answered", "failed", "abandoned")
    for how in "me"
    for part in parts
]
COUNTERS = st.dictionaries(st.sampled_from([*_NAMES, "r"]), st.integers(0, 10**9), max_size=20)


@given(COUNTERS)
def test_measured_and_estimated_and_the_router_add_up_to_the_whole(counters):
    report = savings_of(counters, priced(light=1, standard=2, heavy=3))
    parts = (report["measured"], report["estimated"])
    for name in ("cost_units", "usd", "gpu_hours"):
        whole = sum(float(part[name]) for part in (*parts, report["router"]))
        assert whole == pytest.approx(float(report[name]), rel=1e-9, abs=1e-5)
    for name in ("baseline_cost_units", "baseline_usd", "baseline_gpu_hours"):
        whole = sum(float(part[name]) for part in parts)
        assert whole == pytest.approx(float(report[name]), rel=1e-9, abs=1e-5)
    assert report["cost_units_saved"] == report["baseline_cost_units"] - report["cost_units"]


@given(COUNTERS)
def test_a_failed_attempt_never_saves(counters):
    before = savings_of(counters)
    more = dict(counters)
    for name in ("k/light/failed/m/i", "s/light/failed/m"):
        more[name] = more.get(name, 0) + 1_000_000
    after = savings_of(more)
    assert after["cost_units_saved"] == before["cost_units_saved"] - 1_000_000
    assert after["gpu_hours_saved"] == pytest.approx(
        before["gpu_hours_saved"] - 0.1 / 3600, rel=1e-6, abs=1e-12
    )


def test_a_loss_is_shown_as_a_loss():
    report = savings_of({"k/heavy/answered/m/i": 100, "k/standard/failed/m/i": 1_000})
    assert report["cost_units_saved"] == -3_000
    assert report["tokens_saved"] == -300
    assert report["cost_reduction_pct"] == -300.0


def test_nothing_saves_nothing():
    report = savings_of({})
    assert (report["tokens_saved"], report["cost_reduction_pct"]) == (0, 0.0)
    assert (report["usd"], report["usd_saved"], report["gpu_hours_saved"]) == (0, 0, 0.0)


def test_money_is_unknown_where_a_used_tiers_price_is():
    counters = {"k/light/answered/m/i": 1_000_000}
    assert savings_of(counters, priced(light=1, heavy=5))["usd_saved"] == 4
    assert savings_of(counters, priced(heavy=5))["usd"] is None
    assert savings_of(counters, priced(heavy=5))["baseline_usd"] == 5
    assert savings_of(counters, priced(light=1))["usd_saved"] is None


def test_money_is_exact():
    specs = priced(light=Decimal("0.1"), heavy=Decimal("0.3"))
    report = savings_of({"k/light/answered/m/i": 3}, specs)
    assert (report["usd"], report["baseline_usd"]) == (Decimal("0.000000"), Decimal("0.000001"))
    assert isinstance(report["usd"], Decimal)


# --- the baseline ---


def heavy(count, seconds=4, read=1_000, wrote=90):
    return {
        "a/heavy/answered/m": count,
        "s/heavy/answered/m": count * seconds * 1_000_000,
        "k/heavy/answered/m/i": count * read,
        "k/heavy/answered/m/o": count * wrote,
    }


@pytest.mark.parametrize(
    ("own", "everybody", "basis", "s_per_token"),
    [
        (MIN_ATTEMPTS, MIN_ATTEMPTS, "tenant", "0.04"),
        (MIN_ATTEMPTS - 1, MIN_ATTEMPTS, "all_tenants", "0.08"),
        (MIN_ATTEMPTS - 1, MIN_ATTEMPTS - 1, "default", "0.03"),
    ],
)
def test_the_nearest_traffic_that_is_enough_is_believed(own, everybody, basis, s_per_token):
    found = baseline_of(heavy(own), heavy(everybody, seconds=8), DEFAULT_SPECS)
    assert (found.basis, found.s_per_token) == (basis, Decimal(s_per_token))


def test_the_heaviest_tier_there_is_is_the_baseline():
    specs = {tier: DEFAULT_SPECS[tier] for tier in (Tier.STANDARD, Tier.LIGHT)}
    assert baseline_of({}, {}, specs).tier is Tier.STANDARD


def test_an_estimate_is_no_measurement():
    counters = {name.replace("/m", "/e"): value for name, value in heavy(50).items()}
    assert baseline_of(counters, {}, DEFAULT_SPECS).basis == "default"


def test_heavy_that_told_no_tokens_is_no_measurement():
    found = baseline_of(heavy(50, read=0, wrote=0), {}, DEFAULT_SPECS)
    assert found.basis == "default"
