"""The reference is complete, and what it and the other pages name exists."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields

import pytest
from doc_pages import PAGES, ROOT, blocks_of, name_of, prose_of
from langchain_core.language_models.chat_models import BaseChatModel

import tiered_llm
from tiered_llm import TieredChatModel, TieredLLMError, TierSpec, get_settings, testing
from tiered_llm.cli import COMMANDS
from tiered_llm.fallback import Fault as Failure
from tiered_llm.routing import DEFAULT_RULES
from tiered_llm.settings import DEFAULT_TASK_TIERS


def prose(path):
    return "\n".join(line for _, line in prose_of(ROOT / path))


PYTHON = prose("docs/reference/python.md")
SIMULATOR = prose("docs/reference/simulator.md")
SETTINGS = prose("docs/reference/settings.md")
ROUTING = prose("docs/explanation/how-routing-decides.md")
COMMAND_LINE = prose("docs/reference/cli.md")
CONTEXT = prose("docs/how-to/pass-context.md")
TREE = next(
    block.text
    for block in blocks_of(ROOT / "docs/reference/python.md")
    if block.text.startswith("TieredLLMError")
)


def unnamed(names, text):
    """Those that no code span of a text names."""
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`]+`", text))))
    return set(names) - named


def test_every_public_name_is_there():
    errors = set(re.findall(r"\w+Error", TREE))
    assert not unnamed(set(tiered_llm.__all__) - errors, PYTHON)
    assert not unnamed(testing.__all__, PYTHON)


@pytest.mark.parametrize(
    "kind", ["RoutingRequest", "ComplexityEstimate", "RoutingDecision", "AgentSpec"]
)
def test_every_field_of_a_value_is_there(kind):
    section = PYTHON.partition(f"\n## `{kind}`\n")[2].partition("\n## ")[0]
    assert not unnamed((f.name for f in fields(getattr(tiered_llm, kind))), section)


def test_every_field_of_the_model_and_of_a_tier_is_there():
    own = TieredChatModel.model_fields.keys() - BaseChatModel.model_fields.keys()
    assert not unnamed(own, PYTHON)
    assert not unnamed(TierSpec.model_fields, PYTHON)


def test_every_key_of_the_routing_is_there(endpoints):
    routing = TieredChatModel.from_settings().invoke("Hello").response_metadata["routing"]
    section = PYTHON.partition("### Routing metadata")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(routing)
    assert not unnamed([failure.value for failure in Failure], section)


def test_the_tree_of_errors_is_the_public_one():
    public = {name for name in tiered_llm.__all__ if name.endswith("Error")}
    assert re.findall(r"\w+Error", TREE)[0] == TieredLLMError.__name__
    assert set(re.findall(r"\w+Error", TREE)) == public


def test_the_rules_stand_in_their_order():
    listed = re.findall(r"^\| \d+ \| `(\w+)` \|", ROUTING, re.MULTILINE)
    assert listed == [rule.__name__ for rule in DEFAULT_RULES]


def test_the_task_types_are_listed():
    assert not unnamed(DEFAULT_TASK_TIERS, CONTEXT)


def test_every_fault_of_the_simulator_is_there():
    made = [
        name
        for name, member in inspect.getmembers(testing.Fault, inspect.ismethod)
        if not name.startswith("_")
    ]
    listed = re.findall(r"^\| `Fault\.(\w+)\(", SIMULATOR, re.MULTILINE)
    assert sorted(listed) == sorted(made)
    listed = re.findall(r"^\| `(\w+)` \|.*\|.*\|$", SIMULATOR, re.MULTILINE)
    assert set(listed) - {"SimulatedModel"} == {f.name for f in fields(testing.SimulatedModel)}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_there_and_exists(name):
    heading = rf"^## `tiered-llm {name}[ `].*?(?=^## |\Z)"
    section = re.search(heading, COMMAND_LINE, re.MULTILINE | re.DOTALL)[0]
    listed = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", section))
    parameters = COMMANDS[name].load(name).params
    options = {o for p in parameters for o in (*p.opts, *p.secondary_opts) if o.startswith("--")}
    assert listed - {"--max-model-len"} <= options  # vLLM's own
    assert options - listed <= {"--help", "--probe"}


TOML = [
    pytest.param(block, id=block.place)
    for page in PAGES
    for block in blocks_of(page)
    if block.language == "toml"
]


@pytest.mark.parametrize("block", TOML)
def test_a_toml_block_is_taken(block, clean_environment):
    path = clean_environment / "shown.toml"
    path.write_text(block.text, encoding="utf-8")
    assert {origin.source for origin in get_settings(config_file=path).origins()} >= {str(path)}


EXPORTS = [
    pytest.param(dict(found), id=block.place)
    for page in PAGES
    for block in blocks_of(page)
    if (found := re.findall(r"^(?:\$ )?export (\w+)=(\S+)$", block.text, re.MULTILINE))
]


@pytest.mark.parametrize("exported", EXPORTS)
@pytest.mark.usefixtures("clean_environment")
def test_exported_variables_are_settings(exported, monkeypatch):
    for name, value in exported.items():
        monkeypatch.setenv(name, value)
    assert {origin.name for origin in get_settings().origins()} >= set(exported)


def test_variables_named_anywhere_are_in_the_reference():
    known = set(re.findall(r"(?:MODEL|TOKEN_BUDGET|TIERED_LLM)_[A-Z_<>]+", SETTINGS))
    for page in PAGES:
        for name in re.findall(
            r"(?:\b|^)(?:MODEL|TOKEN_BUDGET|TIERED_LLM)_[A-Z_]+", page.read_text("utf-8")
        ):
            general = re.sub(r"_(LIGHT|STANDARD|HEAVY)__", "_<TIER>__", name)
            assert {name, general} & known, f"{name_of(page)}: {name}"
