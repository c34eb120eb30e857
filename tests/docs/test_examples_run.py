"""Each example runs as a program of its own, and prints what its docstring promises."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys

import pytest
from doc_pages import ROOT, blocks_of, name_of

PROMISED = {
    "batch_extraction.py": "answered: light 40, standard 0, heavy 0",
    "chain.py": "light     ollama/qwen2.5:7b   score 0.16",
    "fallback.py": "decided light, answered by standard",
    "human_budget.py": "acme: raised to 16000, light answered",
    "langgraph_node.py": "tiers in the graph's state: light, light, standard",
    "orchestrator.py": "calls by tier: light 3, standard 1, heavy 2",
    "own_estimator.py": "ContractsAreHard: heavy, score 0.90",
    "own_rule.py": "task type batch: standard, then ['light']",
    "rag_chain.py": "40 notes, context factor 0.92: standard",
    "ready_graph.py": "record   outcome",
    "serving.py": "poor: 7 answered, 3 refused",
    "structured_output.py": "Contact(name='Ada Lovelace', email='ada@example.org')",
    "supervisor.py": "auditor answered on standard",
    "tools_agent.py": "ai on light: calls get_weather({'city': 'Oslo'})",
}
"""A line of each example's output."""


def _redis_server():
    """By path: a directory named `redis` must not get in the library's way."""
    path = ROOT / "tests" / "redis" / "redis_server.py"
    spec = importlib.util.spec_from_file_location("redis_server_of_examples", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.RedisServer()


@pytest.mark.usefixtures("endpoints")
def test_workers_share_a_redis(monkeypatch):
    with _redis_server() as server:
        monkeypatch.setenv("TIERED_LLM_STORE", server.url)
        test_an_example_runs("serving.py")


@pytest.mark.parametrize("name", PROMISED)
@pytest.mark.usefixtures("endpoints")
def test_an_example_runs(name):
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert PROMISED[name] in done.stdout.splitlines()
    assert not done.stderr


PAGES = {
    re.search(r"python examples/(\w+\.py)", page.read_text("utf-8"))[1]: page
    for page in (ROOT / "docs" / "examples").glob("*.md")
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_with_what_its_example_prints(name):
    shown = next(block for block in blocks_of(PAGES[name]) if block.language == "text")
    assert PROMISED[name] in shown.text.splitlines()


def test_every_example_is_run():
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(PROMISED)


@pytest.mark.parametrize("name", PROMISED)
def test_an_example_says_what_will_be_seen_and_how_to_run_it(name):
    path = ROOT / "examples" / name
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert "You will see" in said
    assert f"python {name_of(path)}" in said
