"""The room for agents: its names, its weight, and what it says where LangChain is missing."""

from __future__ import annotations

import subprocess
import sys

import langchain.agents.middleware as theirs

import tiered_llm.agents

PUBLIC = [
    "AgentSpec",
    "TieredBudgetMiddleware",
    "TieredRoutingMiddleware",
    "create_model_node",
    "create_routing_node",
    "create_tiered_graph",
    "route_by_tier",
]

OF_OTHERS = {"ModelRouterMiddleware", "OpenAIModelRouterMiddleware"}
"""Names of LangChain's own routers, which may be installed beside it."""


def run(program):
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )


def test_the_names_are_these_and_all_are_there():
    assert sorted(tiered_llm.agents.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(tiered_llm.agents, name)


def test_no_name_is_one_of_langchains():
    assert not set(PUBLIC) & {*dir(theirs), *OF_OTHERS}


def test_importing_the_room_imports_neither_langchain_nor_langgraph():
    done = run("import sys, tiered_llm.agents; print(*sys.modules)")
    found = {name.partition(".")[0] for name in done.stdout.split()}
    assert "tiered_llm" in found
    assert not found & {"langchain", "langgraph", "langchain_core"}


def test_middleware_without_langchain_names_the_extra():
    done = run(
        "import sys; sys.modules['langchain'] = None\n"
        "from tiered_llm.agents import create_routing_node\n"
        "try:\n    from tiered_llm.agents import TieredRoutingMiddleware\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    assert "ConfigurationError" in done.stdout, done.stderr
    assert 'install "tiered-llm[agents]"' in done.stdout
