"""Each example runs as a program of its own, and prints what its docstring promises."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from doc_pages import ROOT, name_of

PROMISED = {
    "chain.py": "light     ollama/qwen2.5:7b   score 0.16",
    "fallback.py": "decided light, answered by standard",
    "langgraph_node.py": "tiers in the graph's state: light, light, standard",
    "own_estimator.py": "ContractsAreHard: heavy, score 0.90",
    "own_rule.py": "task type batch: standard, then ['light']",
    "structured_output.py": "Contact(name='Ada Lovelace', email='ada@example.org')",
    "tools_agent.py": "ai on light: calls get_weather({'city': 'Oslo'})",
}
"""A line of each example's output."""


@pytest.mark.parametrize("name", PROMISED)
@pytest.mark.usefixtures("endpoints")
def test_an_example_runs(name):
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert PROMISED[name] in done.stdout.splitlines()
    assert not done.stderr


def test_every_example_is_run():
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(PROMISED)


@pytest.mark.parametrize("name", PROMISED)
def test_an_example_says_what_will_be_seen_and_how_to_run_it(name):
    path = ROOT / "examples" / name
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert "You will see" in said
    assert f"python {name_of(path)}" in said
