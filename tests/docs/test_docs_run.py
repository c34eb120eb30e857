"""The docs, held to what they say: blocks run, commands exist, links lead somewhere.

The Python blocks of a page are one program, run in order, with the tiers' endpoints given by
the environment. A page with tests in it is run by pytest. A block `output` after a Python
block is what that block prints; a console block with `tiered-llm route` shows what it prints.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
import types
from itertools import pairwise

import click
import pytest
from doc_pages import PAGES, ROOT, anchors_of, blocks_of, links_of, name_of, prose_of
from typer.testing import CliRunner

from tiered_llm.cli import COMMANDS, app

pytest_plugins = ["pytester"]

OF_SETTINGS = ROOT / "docs/reference/settings.md"
"""Its blocks show what holds while nothing is set."""


def python_of(page):
    return [block for block in blocks_of(page) if block.language == "python"]


def holds_tests(page):
    return any(re.search(r"^ *(async )?def test_", b.text, re.MULTILINE) for b in python_of(page))


def at_their_lines(blocks):
    """The blocks as one source in which each line has its number in the page."""
    lines = []
    for block in blocks:
        lines += [""] * (block.line - 1 - len(lines)) + block.text.splitlines()
    return "\n".join(lines) + "\n"


def printed_by(block, namespace):
    """Run a block; its traceback names the page and the line in it."""
    code = compile(at_their_lines([block]), str(block.page), "exec", dont_inherit=True)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, namespace)  # noqa: S102 - the docs are ours
    return printed.getvalue()


PROGRAMS = [page for page in PAGES if python_of(page) and not holds_tests(page)]
SUITES = [page for page in PAGES if holds_tests(page)]


@pytest.mark.parametrize("page", PROGRAMS, ids=name_of)
def test_a_page_runs(page, endpoints, monkeypatch):
    if page == OF_SETTINGS:
        for name in endpoints.settings_env:
            monkeypatch.delenv(name)
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    shown = {a.line: b for a, b in pairwise(blocks_of(page)) if b.language == "output"}
    for block in python_of(page):
        printed = printed_by(block, vars(module))
        if block.line in shown:
            assert printed == shown[block.line].text, f"{shown[block.line].place}: printed"


@pytest.mark.parametrize("page", SUITES, ids=name_of)
@pytest.mark.usefixtures("endpoints")
def test_a_page_of_tests_passes(page, pytester):
    source = at_their_lines(python_of(page))  # pytester's own writer would strip its head
    (pytester.path / "test_page.py").write_text(source, encoding="utf-8")
    options = ("asyncio_mode=auto", "asyncio_default_fixture_loop_scope=function")
    chosen = [part for option in options for part in ("-o", option)]
    result = pytester.runpytest_subprocess("-W", "error", *chosen)
    assert result.ret == 0, f"{name_of(page)}: line numbers are the page's"


def test_there_are_programs_and_suites():
    assert ROOT / "README.md" in PROGRAMS
    assert SUITES


def test_no_python_hides_under_another_name():
    known = {"python", "output", "console", "bash", "toml", "text"}
    for page in PAGES:
        for block in blocks_of(page):
            assert block.language in known, f"{block.place}: {block.language or 'no language'}"


def test_output_follows_a_program():
    for page in PAGES:
        languages = [(block.language, block) for block in blocks_of(page)]
        first_too = [("", None), *languages]
        for (before, _), (language, block) in pairwise(first_too):
            if language == "output":
                assert before == "python", f"{block.place}: output of which block?"
                assert page in PROGRAMS, f"{block.place}: what a suite prints is not compared"


def calls_of(page):
    """Each `$ …` line of console blocks: its place, the command, the output shown below it."""
    for block in blocks_of(page):
        if block.language not in {"console", "bash", "sh", "shell"}:
            continue
        calls = []
        for number, line in enumerate(block.text.splitlines(), start=block.line):
            if line.startswith("$ "):
                calls.append((f"{name_of(page)}:{number}", line[2:], []))
            elif calls:
                calls[-1][2].append(line)
        yield from calls


def simple_commands(line):
    """The words of each command of a line, without variables set for it alone."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    words, commands = [], []
    for word in [*lexer, ";"]:
        if set(word) <= set("|&;"):
            commands.append(words)
            words = []
        elif words or not re.fullmatch(r"[A-Z][A-Z0-9_]*=.*", word):
            words.append(word)
    return [command for command in commands if command]


CALLS = [
    pytest.param(words, id=place)
    for page in PAGES
    for place, line, _ in calls_of(page)
    for words in simple_commands(line)
]


@pytest.mark.parametrize("words", [call for call in CALLS if call.values[0][0] == "tiered-llm"])
def test_a_command_is_taken(words):
    """The name exists, and its own parser takes the options and arguments."""
    words = [word for word in words[1:] if word not in {"--help", "--version", "--debug"}]
    if not words:
        return
    assert words[0] in COMMANDS
    try:
        COMMANDS[words[0]].load(words[0]).make_context(words[0], words[1:])
    except click.ClickException as error:
        pytest.fail(error.format_message())


TARGETS = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("words", [call for call in CALLS if call.values[0][0] == "make"])
def test_a_make_target_exists(words):
    assert set(words[1:]) <= set(TARGETS)


def test_the_readme_names_its_two_make_commands():
    called = [words for p in CALLS for words in p.values if str(p.id).startswith("README.md")]
    assert ["make", "demo"] in called
    assert ["make", "test"] in called


ROUTED = [
    pytest.param(line, "\n".join(output).strip("\n"), id=place)
    for page in PAGES
    for place, line, output in calls_of(page)
    if line.startswith("tiered-llm route ") and output
]


@pytest.mark.parametrize(("line", "output"), ROUTED)
@pytest.mark.usefixtures("clean_environment")
def test_route_prints_what_is_shown(line, output, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    result = CliRunner().invoke(app, shlex.split(line)[1:])
    assert "\n".join(text.rstrip() for text in result.stdout.strip("\n").splitlines()) == output


def test_commands_named_in_prose_exist():
    for page in PAGES:
        for number, line in prose_of(page):
            for name in re.findall(r"`(?:\$ )?tiered-llm ([a-z]+)", line):
                assert name in COMMANDS, f"{name_of(page)}:{number}: there is no {name}"
            for name in re.findall(r"`make ([a-z]+)`", line):
                assert name in TARGETS, f"{name_of(page)}:{number}: there is no target {name}"


def test_the_readme_and_the_reference_name_every_command():
    for page in (ROOT / "README.md", ROOT / "docs/reference/cli.md"):
        text = page.read_text(encoding="utf-8")
        missing = [name for name in COMMANDS if f"tiered-llm {name}" not in text]
        assert not missing, f"{name_of(page)} does not name {missing}"


LINKS = [
    pytest.param(page, target, id=f"{name_of(page)}:{number}:{target}")
    for page in PAGES
    for number, target in links_of(page)
    if not re.match(r"[a-z]+:", target)
]


@pytest.mark.parametrize(("page", "target"), LINKS)
def test_a_link_leads_somewhere(page, target):
    path, _, anchor = target.partition("#")
    found = (page.parent / path).resolve() if path else page
    assert found.is_relative_to(ROOT)
    assert found.exists()
    if anchor:
        assert anchor in anchors_of(found)


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        targets = [t.partition("#")[0] for _, t in links_of(page) if not re.match(r"[a-z]+:", t)]
        paths = [(page.parent / target).resolve() for target in targets if target]
        waiting += [path for path in paths if path.suffix == ".md"]
    assert not set(PAGES) - reached


TREES = ("tiered_llm", "tests", "examples", "bench", "docs", "requirements", ".ci")
FILES = [
    path
    for path in (*ROOT.iterdir(), *(p for tree in TREES for p in (ROOT / tree).rglob("*")))
    if path.is_file()
    and not {"__pycache__", ".mypy_cache"} & set(path.parts)
    and not path.name.startswith((".coverage", ".env"))
    and path.suffix != ".pyc"
]
MACHINE_PATH = re.compile(r"(?<![\w.}/-])/(?:home|root|work)/\w")
REGISTRIES = re.compile(r"py[p]i\.|python[h]osted|npm[j]s|--(extra-)?index[-]url", re.IGNORECASE)


def test_no_file_names_a_machine_or_a_registry():
    assert len(FILES) > 100
    for path in FILES:
        text = path.read_text(encoding="utf-8", errors="replace")
        for pattern in (MACHINE_PATH, REGISTRIES):
            found = pattern.search(text)
            assert not found, f"{name_of(path)} names {found[0]}"
