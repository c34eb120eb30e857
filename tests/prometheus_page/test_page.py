"""What the page says, and that its size does not depend on who calls."""

from __future__ import annotations

import weakref
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product

import pytest
from hand_clock import HandClock
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tiered_llm import BudgetManager, BudgetRule, ConfigurationError, ModelMetricsCollector
from tiered_llm.fallback import EndpointHealth
from tiered_llm.metrics import AttemptRecord, CallRecord, Retention
from tiered_llm.metrics.tally import MAX_NAMES
from tiered_llm.prometheus import MetricsPage, metrics_app
from tiered_llm.prometheus.samples import FIXED_SERIES, TENANT_SERIES
from tiered_llm.settings import DEFAULT_SPECS
from tiered_llm.tiers import Tier

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
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
    ):
        found = value(page, f"tiered_llm_{name}_total", **labels)
        assert found == pytest.approx(wanted), name
    assert value(page, "tiered_llm_feedback_score", tiered_llm_tier="light") == 0.5


def test_what_may_happen_is_there_before_it_does(make):
    """So that the first of its kind is an increase."""
    page = MetricsPage(make())
    found = {
        name: sum(called == f"tiered_llm_{name}_total" for called, _ in samples(page))
        for name in ("decisions", "fallbacks", "attempts", "dropped_records")
    }
    assert found == {"decisions": 12, "fallbacks": 6, "attempts": 9, "dropped_records": 2}


def test_gpu_time_is_the_reports(make):
    metrics = make(reference_gpu_gb=40.0)
    for number in range(12):
        heavy = AttemptRecord(tier="heavy", input_tokens=50, output_tokens=20, latency_s=3.0)
        metrics.record(call(number))
        metrics.record(call(f"h{number}", asked="heavy", answered="heavy", attempts=(heavy,)))
    page, (everybody,) = MetricsPage(metrics), metrics.get_totals(None)
    worth = metrics.get_worth(everybody)
    router_s = value(page, "tiered_llm_router_time_seconds_total") * 72 / 40
    spent_s = value(page, "tiered_llm_gpu_time_seconds_total") + router_s
    assert spent_s == pytest.approx(worth["gpu_hours"] * 3600)
    baseline = value(page, "tiered_llm_baseline_gpu_time_seconds")
    assert baseline == pytest.approx(24 * 3.0 * 72 / 40)


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
    assert len(samples(page)) <= before + 6 < FIXED_SERIES + TENANT_SERIES


def test_names_that_programs_make_up_are_bounded(make):
    metrics = make()
    for number in range(2_000):
        fault = AttemptRecord(tier="light", outcome="failed", fault=f"made-up-{number}")
        made_up = {"attempts": (fault,), "answered": None, "error": f"Made{number}Error"}
        metrics.record(call(number, **made_up))
    page = MetricsPage(metrics)
    assert value(page, "tiered_llm_faults_total") == 2_000
    assert value(page, "tiered_llm_errors_total") == 2_000
    names = [dict(told)["error_type"] for called, told in samples(page) if "faults" in called]
    assert len(names) == MAX_NAMES + 1
    assert "other" in names


def test_more_tenants_than_there_is_room_for_cannot_be_listed(make):
    listed = [f"t{number}" for number in range(30)]
    with pytest.raises(ConfigurationError, match="list fewer, or raise max_series") as told:
        MetricsPage(make(), tenants=listed, max_series=2_000)
    needed = FIXED_SERIES + 100 + 30 * TENANT_SERIES
    assert f"which may make {needed} series" in str(told.value)
    assert MetricsPage(make(), tenants=listed, max_series=needed)
    assert MetricsPage(make(), tenants=[f"t{number}" for number in range(100)])
    with pytest.raises(ConfigurationError, match="a page needs max_series of"):
        MetricsPage(make(), max_series=100)


def everything(number, tenant):
    """Calls after which a page has every series that there can be."""
    for asked, answered in product((None, *Tier), (None, *Tier)):
        attempts = [
            AttemptRecord(
                tier=tier,
                outcome=outcome,
                fault=f"fault{number}" if outcome == "failed" else None,
                input_tokens=5,
                output_tokens=2,
                charged_tokens=7,
                latency_s=10.0 ** (number % 4 - 2),
                first_token_s=0.01,
                estimated=estimated,
            )
            for tier in Tier
            for outcome in ("answered", "failed", "abandoned")
            for estimated in (True, False)
        ]
        more = {"asked": asked, "answered": answered, "attempts": tuple(attempts)}
        yield call(f"{number}/{tenant}/{asked}/{answered}", tenant, error=f"E{number}", **more)


def test_a_page_never_has_more_series_than_it_may_have(make):
    """Every combination of labels, too many names, endpoints and rules, in a small bound."""
    prices = {"input_usd_per_million": Decimal(1), "output_usd_per_million": Decimal(2)}
    specs = {tier: spec.model_copy(update=prices) for tier, spec in DEFAULT_SPECS.items()}
    tenants = ["a", "b", "c"]
    metrics = make(*tenants, specs=specs)
    health = _Health(*["closed"] * 40, "open", endpoints=True)
    metrics.watch_health(health)
    for number, tenant in product(range(MAX_NAMES + 5), tenants):
        for each in everything(number, tenant):
            metrics.record(each)
    for tier, tenant in product(Tier, tenants):
        metrics.record_feedback(f"0/{tenant}/light/{tier}", score=True)
    rules = [BudgetRule(name=f"r{number}", daily=10_000, monthly=10**6) for number in range(40)]
    budget = BudgetManager(rules=rules, clock=HandClock(AT.timestamp()))
    for tenant in tenants:
        budget.record_usage(
            tenant_id=tenant, model_tier="light", input_tokens=9_900, output_tokens=0
        )
    most = FIXED_SERIES + 100 + 3 * (TENANT_SERIES + 4 * len(rules))
    page = MetricsPage(metrics, budget=budget, tenants=tenants, max_series=most)
    found = samples(page)
    assert most - 250 < len(found) <= most
    open_now = value(
        page,
        "tiered_llm_breaker",
        gen_ai_request_model="other",
        tiered_llm_breaker_state="open",
    )
    assert open_now == 1
    near = "tiered_llm_budget_accounts_at_threshold"
    assert value(page, near) == 2 * 3 * len(rules)


class _Health:
    def __init__(self, *states, endpoints=False):
        self._states, self._endpoints = states, endpoints

    def snapshot(self):
        return [
            EndpointHealth(
                provider="ollama",
                endpoint=f"http://gpu{at:02}" if self._endpoints else "http://gpu",
                model="m",
                state=state,
                remaining_s=0.0,
            )
            for at, state in enumerate(self._states)
        ]


def test_of_breakers_the_worst_state_is_shown(make):
    metrics = make()
    watched = [_Health("closed"), _Health("half_open")]
    for health in watched:
        metrics.watch_health(health)
    metrics.record(call("1"))
    page = MetricsPage(metrics)
    states = {
        state: value(page, "tiered_llm_breaker", tiered_llm_breaker_state=state)
        for state in ("closed", "open", "half_open", "cooldown")
    }
    assert states == {"closed": 0, "open": 0, "half_open": 1, "cooldown": 0}


def test_who_is_watched_may_go(make):
    metrics, health = make(), _Health("open")
    metrics.watch_health(health)
    gone = weakref.ref(health)
    del health
    assert gone() is None
    metrics.record(call("1"))
    assert value(MetricsPage(metrics), "tiered_llm_breaker") == 0


def test_what_was_lost_is_counted_when_its_process_is_gone(make, tmp_path):
    store = f"sqlite:///{tmp_path}/d.db"
    for _ in range(2):
        process = make(store=store)
        process.record(None)
        process.record(call("1"))
        assert process.close()
    page = MetricsPage(make(store=store))
    lost = "tiered_llm_dropped_records_total"
    assert value(page, lost, tiered_llm_cause="store") == 2
    assert value(page, lost, tiered_llm_cause="queue_full") == 0
    assert value(page, "tiered_llm_processes") == 0


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


def test_a_slow_reading_of_all_accounts_takes_a_twentieth_of_the_time(make, monkeypatch):
    clock = HandClock()
    budget = BudgetManager(default_daily_limit=1_000, clock=HandClock())
    budget.record_usage(tenant_id="a", model_tier="light", input_tokens=850, output_tokens=0)
    alerts, read = budget.ledger.alerts, []

    def slow(*which):
        clock.now_s += 3.0
        read.append(clock.now_s)
        return alerts(*which)

    monkeypatch.setattr(budget.ledger, "alerts", slow)
    page = MetricsPage(make(), budget=budget, clock=clock)
    near = "tiered_llm_budget_accounts_at_threshold"
    for now_s in (1_000.0, 1_062.0, 1_063.0):
        clock.now_s = now_s
        assert value(page, near, tiered_llm_budget_threshold="80") == 1
    assert len(read) == 2


def test_thousands_of_accounts_near_their_limits_are_counted(make):
    budget = BudgetManager(default_daily_limit=1_000, clock=HandClock())
    for number in range(3_000):
        used = {"model_tier": "light", "input_tokens": 850, "output_tokens": 0}
        budget.record_usage(tenant_id=f"t{number}", **used)
    near = "tiered_llm_budget_accounts_at_threshold"
    assert (
        value(MetricsPage(make(), budget=budget), near, tiered_llm_budget_threshold="80") == 3_000
    )


def test_the_app_answers_in_the_format_that_is_asked_for(make):
    metrics = make()
    metrics.record(call("1"))
    client = TestClient(metrics_app(metrics))
    plain, open_metrics = client.get("/metrics"), client.get("/", headers={"accept": OPEN_METRICS})
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    assert open_metrics.text.endswith("# EOF\n")
    assert "tiered_llm_decisions_total" in plain.text


def test_it_can_be_mounted(make):
    metrics = make()
    metrics.record(call("1"))
    app = Starlette()
    app.mount("/metrics", metrics_app(metrics))
    client = TestClient(app)
    for path in ("/metrics", "/metrics/"):
        assert "tiered_llm_decisions_total" in client.get(path).text
    assert client.head("/metrics/").status_code == 200
    assert client.post("/metrics/").status_code == 405


def test_a_ledger_that_is_away_is_503_too(make, tmp_path):
    (tmp_path / "b.db").write_text("no database", encoding="utf-8")
    budget = BudgetManager(store=f"sqlite:///{tmp_path}/b.db")
    answer = TestClient(metrics_app(make(), budget=budget, tenants=["canary"])).get("/metrics")
    assert (answer.status_code, answer.text) == (503, "the store of the metrics is away\n")


def test_a_store_that_is_away_is_503_and_says_nothing_of_it(tmp_path):
    (tmp_path / "secret-path").write_text("no database", encoding="utf-8")
    metrics = ModelMetricsCollector(f"sqlite:///{tmp_path}/secret-path")
    answer = TestClient(metrics_app(metrics)).get("/metrics")
    assert (answer.status_code, answer.text) == (503, "the store of the metrics is away\n")
