"""The pytest plugin, used as a user uses it: in a project of their own."""

from __future__ import annotations

import sys

pytest_plugins = ["pytester"]

USER_TESTS = """
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from tiered_llm.settings import Settings
from tiered_llm.tiers import Tier

def test_one_line(simulator):
    assert ChatOllama(model="qwen2.5:7b", base_url=simulator.url).invoke("Hello").content
    assert len(simulator.requests) == 1

def test_fresh_each_time(simulator):
    assert simulator.requests == []
    assert list(simulator.models) == ["qwen2.5:7b", "qwen2.5:32b", "qwen2.5:72b"]

def test_tiers(simulated_tiers):
    light, heavy = (simulated_tiers.specs[Tier(name)] for name in ("light", "heavy"))
    ChatOllama(model=light.model_name, base_url=light.base_url).invoke("Hello")
    ChatOpenAI(model=heavy.model_name, base_url=heavy.base_url, api_key="x").invoke("Hello")
    assert simulated_tiers.light.requests[0].protocol == "ollama"
    assert simulated_tiers.heavy.requests[0].protocol == "openai"
    assert [spec.cost_weight for spec in simulated_tiers.specs.values()] == [1, 3, 10]

def test_tiers_are_fresh_and_are_settings(simulated_tiers, monkeypatch):
    assert simulated_tiers.standard.requests == simulated_tiers.light.requests == []
    for name, value in simulated_tiers.settings_env.items():
        monkeypatch.setenv(name, value)
    tiers = Settings(_env_file=None, _config_file=None).tiers
    assert {tier: spec.base_url for tier, spec in tiers.items()} == {
        tier: spec.base_url for tier, spec in simulated_tiers.specs.items()
    }
"""


def test_the_fixtures_work_in_a_users_project(pytester):
    pytester.makepyfile(USER_TESTS)
    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:asyncio")
    result.assert_outcomes(passed=4)


def test_loading_the_plugin_loads_nothing_heavy(pytester):
    code = "import sys, tiered_llm.testing.plugin; print(*sorted(sys.modules))"
    result = pytester.run(sys.executable, "-c", code)
    loaded = set(result.outlines[-1].split())
    assert not loaded & {"uvicorn", "starlette", "langchain_core", "tiered_llm.tiers"}
