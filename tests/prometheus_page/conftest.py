from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from page_crew import Workers

HERE = Path(__file__).parent


def _redis_server():
    """By path: a directory named `redis` must not get in the library's way."""
    path = HERE.parent / "redis" / "redis_server.py"
    spec = importlib.util.spec_from_file_location("redis_server_of_pages", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.RedisServer()


@pytest.fixture(params=["sqlite", "redis"])
def stores(request, tmp_path):
    """URLs of the decisions' store and of the budgets'."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/decisions.db", f"sqlite:///{tmp_path}/budgets.db"
        return
    with _redis_server() as server:
        yield server.url, server.url


@pytest.fixture(params=["memory", "sqlite", "redis"])
def any_store(request, tmp_path):
    """The URL of a decisions' store."""
    if request.param == "redis":
        with _redis_server() as server:
            yield server.url
        return
    yield "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/decisions.db"


@pytest.fixture
def idle_workers(stores, simulated_tiers, clean_environment):
    """They serve, and have made no calls; their pages' ports, shared first."""
    from tiered_llm.testing import Fault

    faulty = simulated_tiers.standard
    faulty.script("qwen2.5:32b", *[Fault.status(503)] * 3)
    sims = [getattr(simulated_tiers, tier) for tier in ("light", "standard")]
    urls = [*(sim.url for sim in sims), simulated_tiers.heavy.openai_url]
    with Workers(stores, urls) as running:
        yield running


@pytest.fixture
def workers(idle_workers):
    """They have made their calls, some with faults, and serve."""
    idle_workers.make_calls()
    return idle_workers
