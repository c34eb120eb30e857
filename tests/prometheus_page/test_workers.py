"""A real Prometheus scrapes four workers: the totals are the ledger's, whoever is asked."""

from __future__ import annotations

import httpx
import pytest
from page_crew import CALLS, WORKERS
from prometheus_server import Prometheus

from tiered_llm import BudgetManager, ModelMetricsCollector

COUNTERS = '{__name__=~"tiered_llm_.+_(total|bucket|count|sum)"}'
FAULTS = 3  # fewer than open a breaker
TENANTS = ("acme", "globex", "initech")


@pytest.fixture
def scraped(workers):
    with Prometheus(*(f"127.0.0.1:{port}" for port in workers.ports)) as server:
        server.wait_for(f"sum(up) == {WORKERS + 1}")
        yield server


def test_the_totals_are_the_ledgers_whichever_worker_is_asked(scraped, stores):
    decisions, budgets = stores
    manager = BudgetManager(default_daily_limit=10**7, store=budgets)
    usages = {tenant: manager.usage(tenant)["daily"] for tenant in TENANTS}
    manager.ledger.close()
    used = sum(int(usage.used) for usage in usages.values())
    charged = sum(int(usage.charged) for usage in usages.values())
    measured = 'tiered_llm_tokens_total{tiered_llm_estimated="false"}'
    for expression, wanted in {
        "tiered_llm_decisions_total": CALLS * WORKERS,
        "tiered_llm_charged_tokens_total": charged,
        'tiered_llm_charged_tokens_total{tiered_llm_tenant="acme"}': int(usages["acme"].charged),
        measured: used,
        'tiered_llm_faults_total{error_type="server_error"}': FAULTS,
        "tiered_llm_fallbacks_total": FAULTS,
    }.items():
        by_instance = scraped.query(f"sum by (instance) ({expression})")
        assert len(by_instance) == WORKERS + 1
        assert {value for _, value in by_instance} == {wanted}, expression
    reader = ModelMetricsCollector(decisions)
    report = reader.get_report()
    reader.log.close()
    assert report["savings"]["tokens"] == scraped.value(
        "sum(max without (instance) (tiered_llm_tokens_total))"
    )
    assert report["distribution"]["fallbacks"] == FAULTS


def test_prometheus_sees_every_call_and_no_restart_while_they_work(idle_workers):
    """Through the shared port, too, where each scrape meets another worker."""
    with Prometheus(*(f"127.0.0.1:{port}" for port in idle_workers.ports)) as server:
        server.wait_for(
            f"count(sum by (instance) (tiered_llm_decisions_total) == 0) == {WORKERS + 1}"
        )
        idle_workers.make_calls()
        everybody = f"sum by (instance) (tiered_llm_decisions_total) == {CALLS * WORKERS}"
        server.wait_for(f"count({everybody}) == {WORKERS + 1}")
        counters = server.query(f"count by (__name__) ({COUNTERS})")
        assert len(counters) > 15
        for labels, _ in counters:
            assert server.query(f"resets({labels['__name__']}[5m]) > 0") == []
        seen = server.query(
            "sum by (instance) (max_over_time(tiered_llm_fallbacks_total[5m])"
            " - min_over_time(tiered_llm_fallbacks_total[5m]))"
        )
        assert [value for _, value in seen] == [FAULTS] * (WORKERS + 1)


def test_what_processes_alone_know_is_told_by_any_of_them(scraped):
    alive = scraped.query("tiered_llm_processes")
    assert {value for _, value in alive} == {WORKERS}
    states = scraped.query('tiered_llm_breaker{tiered_llm_breaker_state="closed"} == 1')
    models = {labels["gen_ai_request_model"] for labels, _ in states}
    assert models == {"qwen2.5:7b", "qwen2.5:32b", "qwen2.5:72b"}
    used = scraped.query('tiered_llm_budget_used_ratio{tiered_llm_budget_period="daily"}')
    assert len(used) == WORKERS + 1
    assert all(0 < value < 1 for _, value in used)


def test_any_worker_on_the_shared_port_gives_the_same_page(workers):
    ports = [*[workers.ports[0]] * 12, *workers.ports]
    pages = {httpx.get(f"http://127.0.0.1:{port}/metrics").text for port in ports}
    assert len(pages) == 1
    assert "tiered_llm_decisions_total" in pages.pop()
