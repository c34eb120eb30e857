"""What the page says, and that its size does not depend on who calls."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hand_clock import HandClock
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from tiered_llm import BudgetManager, ConfigurationError, ModelMetricsCollector
from tiered_llm.fallback import EndpointHealth
from tiered_llm.metrics import AttemptRecord, CallRecord, Retention
from tiered_llm.prometheus import MetricsPage, metrics_app
from tiered_llm.prometheus.page import MOST_TENANTS
from tiered_llm.prometheus.samples import MOST_NAMES
from tiered_llm.settings import DEFAULT_SPECS

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
MOST_SERIES = 700
AT = datetime(2026, 6, 1, 12, tzinfo=UTC)


def call(run_id, tenant=None, **more):
    tokens = {"input_tokens": 50, "output_tokens": 20, "charged_tokens": 70, "latency_s": 0.02}
    attempt = AttemptRecord(tier="light", first_token_s=0.01, **tokens)
    given = {"asked": "light", "answered": "light", "attempts": (attempt,), "router_s": 0.5}
    return CallRecord(run_id=str(run_id), at=AT, tenant_id=tenant, **{**given, **more})


@pytest.fixture
def make():
    made = []

    def make(*totals_of, **more):
        kept = Retention(totals_of=frozenset(totals_of))
        made.append(ModelMetricsCollector(retention=kept, queue_size=200_000, **more))
        return made[-1]

    yield make
    for metrics in made:
        metrics.close()


def samples(page):
    """The page's samples by name and labels; read by the format's own parser."""
    text, _ = page.render(OPEN_METRICS)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(page, name, **labels):
    """The sum of the samples that have these labels."""
    return sum(
        value
        for (called, told), value in samples(page).items()
        if called == name and labels.items() <= dict(told).items()
    )


def test_an_empty_log_is_a_page_too(make):
    assert value(MetricsPage(make()), "tiered_llm_router_time_seconds_total") == 0


def test_counters_are_named_and_labelled_as_opentelemetry_would(make):
    metrics = make()
    failed = AttemptRecord(
        tier="light", outcome="failed", fault="timeout", input_tokens=9, estimated=True
    )
    heavy = AttemptRecord(tier="heavy", input_tokens=50, output_tokens=20, latency_s=3.0)
    metrics.record(call("1"))
    metrics.record(call("2", asked="light", answered="heavy", attempts=(failed, heavy)))
    metrics.record(call("3", answered=None, attempts=(failed,), error="AllTiersFailedError"))
    metrics.record(call("4", asked=None, answered=None, attempts=(), error="NoCapableTierError"))
    metrics.record_feedback("1", score=0.5)
    page = MetricsPage(metrics)
    for name, labels, wanted in (
        ("decisions", {"tiered_llm_tier": "light", "tiered_llm_answered_tier": "heavy"}, 1),
        ("decisions", {"tiered_llm_tier": "light", "tiered_llm_answered_tier": "none"}, 1),
        ("decisions", {"tiered_llm_tier": "none", "tiered_llm_answered_tier": "none"}, 1),
        ("fallbacks", {}, 1),
        ("attempts", {"tiered_llm_outcome": "failed"}, 2),
        ("faults", {"tiered_llm_tier": "light", "error_type": "timeout"}, 2),
        ("errors", {"error_type": "NoCapableTierError"}, 1),
        ("tokens", {"tiered_llm_estimated": "true", "gen_ai_token_type": "input"}, 18),
        ("tokens", {"tiered_llm_estimated": "false"}, 140),
        ("charged_tokens", {"tiered_llm_tier": "light"}, 70),
        ("cost_units", {"tiered_llm_tier": "heavy"}, 700),
        ("baseline_cost_units", {}, 1_400),
        ("router_time_seconds", {}, 2.0),
        ("gpu_time_seconds", {"tiered_llm_tier": "heavy"}, 2.7),
        ("feedback", {"tiered_llm_tier": "light"}, 1),
        ("feedback_score", {"tiered_llm_tier": "light"}, 0.5),
    ):
        found = value(page, f"tiered_llm_{name}_total", **labels)
        assert found == pytest.approx(wanted), name


def test_money_is_there_where_prices_are_known(make):
    prices = {"input_usd_per_million": Decimal(1), "output_usd_per_million": Decimal(2)}
    specs = {tier: spec.model_copy(update=prices) for tier, spec in DEFAULT_SPECS.items()}
    metrics = make(specs=specs)
    metrics.record(call("1"))
    page = MetricsPage(metrics)
    assert value(page, "tiered_llm_cost_usd_total") == pytest.approx(90e-6)
    assert value(page, "tiered_llm_baseline_cost_usd_total") == pytest.approx(90e-6)
    assert value(MetricsPage(make()), "tiered_llm_cost_usd_total") == 0


def test_histograms_have_the_conventions_buckets(make):
    metrics = make()
    for number, seconds in enumerate((0.01, 0.011, 1.0, 100.0)):
        slow = AttemptRecord(tier="light", latency_s=seconds)
        metrics.record(call(number, attempts=(slow,)))
    page, name = MetricsPage(metrics), "tiered_llm_attempt_duration_seconds"
    reached = {le: value(page, f"{name}_bucket", le=le) for le in ("0.01", "0.02", "1.28", "81.92")}
    assert reached == {"0.01": 1, "0.02": 2, "1.28": 3, "81.92": 3}
    assert value(page, f"{name}_bucket", le="+Inf") == value(page, f"{name}_count") == 4
    assert value(page, f"{name}_sum") == pytest.approx(101.021)


def test_tenants_are_named_only_where_they_are_listed(make):
    metrics = make("acme", "globex")
    for number, tenant in enumerate(("acme", "acme", "globex", "canary", None)):
        metrics.record(call(number, tenant))
    nobody = MetricsPage(metrics).render()[0].decode()
    assert not any(name in nobody for name in ("tenant", "acme", "globex", "canary"))
    page = MetricsPage(metrics, tenants=["acme", "globex"])
    told = {
        tenant: value(page, "tiered_llm_tokens_total", tiered_llm_tenant=tenant)
        for tenant in ("acme", "globex", "other")
    }
    assert told == {"acme": 140, "globex": 70, "other": 140}
    assert "canary" not in page.render()[0].decode()


def test_a_hundred_thousand_tenants_make_no_series(make):
    metrics = make("t7")
    page = MetricsPage(metrics, tenants=["t7"])
    metrics.record(call("first", "t7"))
    before = len(samples(page))
    for number in range(100_000):
        metrics.record(call(number, f"t{number}"))
    assert metrics.flush(120.0)
    assert metrics.dropped == 0
    assert value(page, "tiered_llm_decisions_total") == 100_001
    assert value(page, "tiered_llm_decisions_total", tiered_llm_tenant="t7") == 2
    assert len(samples(page)) <= before + 6 < MOST_SERIES


def test_names_that_programs_make_up_are_bounded(make):
    metrics = make()
    for number in range(2_000):
        fault = AttemptRecord(tier="light", outcome="failed", fault=f"made-up-{number}")
        made_up = {"attempts": (fault,), "answered": None, "error": f"Made{number}Error"}
        metrics.record(call(number, **made_up))
    page = MetricsPage(metrics)
    assert value(page, "tiered_llm_faults_total") == 2_000
    assert value(page, "tiered_llm_errors_total") == 2_000
    assert len(samples(page)) <= 2 * (MOST_NAMES + 1) + 60


def test_so_many_tenants_cannot_be_listed(make):
    with pytest.raises(ConfigurationError, match="list at most 100"):
        MetricsPage(make(), tenants=[f"t{number}" for number in range(MOST_TENANTS + 1)])


class _Health:
    def __init__(self, *states):
        self._states = states

    def snapshot(self):
        return [
            EndpointHealth(
                provider="ollama", endpoint="http://gpu", model="m", state=state, remaining_s=0.0
            )
            for state in self._states
        ]


def test_of_breakers_the_worst_state_is_shown(make):
    metrics = make()
    metrics.watch_health(_Health("closed"))
    metrics.watch_health(_Health("half_open"))
    metrics.record(call("1"))
    page = MetricsPage(metrics)
    states = {
        state: value(page, "tiered_llm_breaker", tiered_llm_breaker_state=state)
        for state in ("closed", "open", "half_open", "cooldown")
    }
    assert states == {"closed": 0, "open": 0, "half_open": 1, "cooldown": 0}


def test_budgets_are_shown_of_listed_tenants_and_near_ones_are_counted(make):
    clock = HandClock(AT.timestamp())
    budget = BudgetManager(default_daily_limit=1_000, clock=clock)
    for tenant, used in (("acme", 500), ("globex", 850), ("initech", 990)):
        budget.record_usage(
            tenant_id=tenant, model_tier="light", input_tokens=used, output_tokens=0
        )
    budget.reserve("acme", "light", input_tokens=100, max_output_tokens=50)
    page = MetricsPage(make(), budget=budget, tenants=["acme"])
    near = "tiered_llm_budget_accounts_at_threshold"
    assert value(page, "tiered_llm_budget_used_ratio", tiered_llm_tenant="acme") == 0.65
    assert value(page, "tiered_llm_budget_reserved", tiered_llm_tenant="acme") == 150
    assert value(page, near, tiered_llm_budget_threshold="80") == 2
    assert value(page, near, tiered_llm_budget_threshold="95") == 1
    assert "globex" not in page.render()[0].decode()
    clock.now_s += 24 * 3600
    assert value(page, near, tiered_llm_budget_threshold="80") == 0


def test_the_app_answers_in_the_format_that_is_asked_for(make):
    metrics = make()
    metrics.record(call("1"))
    client = TestClient(metrics_app(metrics))
    plain, open_metrics = client.get("/metrics"), client.get("/", headers={"accept": OPEN_METRICS})
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    assert open_metrics.text.endswith("# EOF\n")
    assert "tiered_llm_decisions_total" in plain.text


def test_a_store_that_is_away_is_503_and_says_nothing_of_it(tmp_path):
    (tmp_path / "secret-path").write_text("no database", encoding="utf-8")
    metrics = ModelMetricsCollector(f"sqlite:///{tmp_path}/secret-path")
    answer = TestClient(metrics_app(metrics)).get("/metrics")
    assert (answer.status_code, answer.text) == (503, "the store of the metrics is away\n")
