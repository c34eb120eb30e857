"""`tiered-llm init`, and how the command line tells of errors."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tiered_llm.cli import COMMANDS, app, main
from tiered_llm.cli.errors import ExitCode, exit_code, reported
from tiered_llm.cli.lazy import Command
from tiered_llm.cli.output import print_json
from tiered_llm.errors import ConfigurationError, EndpointError, Problem, TieredLLMError
from tiered_llm.settings import DEFAULT_SPECS, Settings, get_settings
from tiered_llm.settings.catalogue import catalogue_of
from tiered_llm.settings.reference import toml_template, toml_value

pytestmark = pytest.mark.usefixtures("clean_environment")

SETTING = re.compile(r"^#(?=\w+ = )", re.MULTILINE)


def run(*words):
    return CliRunner().invoke(app, list(words))


def run_process(*words, **variables):
    return subprocess.run(
        [sys.executable, "-m", "tiered_llm", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables},
    )


def test_the_file_as_written_changes_nothing(clean_environment):
    result = run("init")

    assert result.exit_code == ExitCode.OK
    assert "wrote tiered-llm.toml" in result.stdout
    assert get_settings() == get_settings(config_file=None)
    assert {origin.source for origin in get_settings().origins()} == {"default"}
    assert get_settings(config_file=clean_environment / "tiered-llm.toml").tiers == DEFAULT_SPECS


def test_the_file_with_every_default_uncommented_equals_the_defaults(clean_environment):
    text = SETTING.sub("", toml_template())
    (clean_environment / "tiered-llm.toml").write_text(text, encoding="utf-8")

    settings = get_settings()

    assert settings == get_settings(config_file=None)
    set_here = {origin.key for origin in settings.origins() if origin.source == "tiered-llm.toml"}
    assert len(set_here) > 60


def test_the_file_names_and_explains_every_setting():
    text = toml_template()

    for entry in catalogue_of(Settings).entries.values():
        heading = f"[{entry.key}]" if entry.is_table and entry.default else f"#{entry.path[-1]} = "
        assert heading in text
        assert f"# {entry.field.description}" in text
        assert entry.field.description


def test_values_are_spelled_as_toml():
    spelled = [toml_value(v) for v in (None, True, "a", 1, 0.5, (), {})]

    assert spelled == ['"none"', "true", '"a"', "1", "0.5", "[]", "{}"]


def test_an_existing_file_is_left_alone_without_force(clean_environment):
    target = clean_environment / "tiered-llm.toml"
    target.write_text("token_budget_daily = 5\n")

    result = run("init")
    assert result.exit_code == ExitCode.FAILED
    assert "exists already" in result.stderr
    assert "--force" in result.stderr
    assert target.read_text() == "token_budget_daily = 5\n"

    assert run("init", "--force").exit_code == ExitCode.OK
    assert target.read_text(encoding="utf-8") == toml_template()


def test_the_path_may_be_a_file_or_a_directory(clean_environment):
    assert run("init", "mine.toml").exit_code == ExitCode.OK
    (clean_environment / "config").mkdir()
    assert run("init", "config").exit_code == ExitCode.OK

    assert (clean_environment / "mine.toml").is_file()
    assert (clean_environment / "config" / "tiered-llm.toml").is_file()


def test_a_path_that_cannot_be_written_is_told():
    result = run("init", "gone/tiered-llm.toml")

    assert result.exit_code == ExitCode.FAILED
    assert "cannot be written: No such file or directory" in result.stderr


def test_help_lists_the_commands_and_the_exit_codes():
    result = run("--help")

    assert result.exit_code == ExitCode.OK
    assert "init" in result.stdout
    assert "doctor" in result.stdout
    assert "Exit codes: 0 all is well" in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_each_commands_help_shows_an_example(name):
    result = run(name, "--help")

    assert result.exit_code == ExitCode.OK
    assert "Example: tiered-llm" in result.stdout


def test_help_imports_no_command_and_no_settings():
    code = (
        "import sys; from tiered_llm.cli import main; sys.argv = ['tiered-llm', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "late = ('pydantic', 'langchain_core', 'httpx', 'tiered_llm.cli.doctor')\n"
        "print([name for name in late if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_shown():
    result = run("--version")

    assert result.exit_code == ExitCode.OK
    assert re.fullmatch(r"tiered-llm \d+\.\d+\.\d+\S*\n", result.stdout)


def test_an_unknown_command_is_wrong_usage():
    assert run("inti").exit_code == ExitCode.USAGE
    assert run("init", "--farce").exit_code == ExitCode.USAGE


def test_a_wrong_configuration_is_one_clear_message():
    done = run_process("doctor", MODEL_LIGHT="qwen", TIERED_LLM_HEAVY__API_KEY="hunter2")

    assert done.returncode == ExitCode.CONFIGURATION
    assert done.stdout == ""
    assert "error: environment: MODEL_LIGHT: 'qwen' is not a model id" in done.stderr
    assert "hint: `tiered-llm init`" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "variables"), [(("--debug",), {}), ((), {"TIERED_LLM_DEBUG": "1"})]
)
def test_debug_shows_the_traceback_and_no_secret(words, variables):
    done = run_process(
        *words, "doctor", MODEL_LIGHT="qwen", TIERED_LLM_HEAVY__API_KEY="hunter2", **variables
    )

    assert done.returncode == ExitCode.CONFIGURATION
    assert "Traceback" in done.stderr
    assert "hunter2" not in done.stderr


def test_the_installed_command_and_the_module_are_the_same(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tiered-llm", "--version"])
    with pytest.raises(SystemExit) as left:
        main()

    assert left.value.code == ExitCode.OK
    assert run_process("--version").stdout == capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError([]), ExitCode.CONFIGURATION),
        (EndpointError("x"), ExitCode.UNREACHABLE),
        (TieredLLMError("x"), ExitCode.FAILED),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error, code):
    assert exit_code(error) is code


def test_an_interruption_ends_with_its_own_code(capsys):
    with pytest.raises(Exception, match="130") as left, reported():
        raise KeyboardInterrupt

    assert left.value.exit_code == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "error: interrupted\n"


def test_errors_that_are_not_ours_pass_through():
    with pytest.raises(ZeroDivisionError), reported():
        raise ZeroDivisionError


def test_messages_are_printed_as_they_are(capsys):
    problem = Problem(source="[bold]x", key="[/]", wrong="w" * 200, right="r")
    with pytest.raises(Exception, match="3"), reported():
        raise ConfigurationError([problem])

    err = capsys.readouterr().err
    assert f"error: [bold]x: [/]: {'w' * 200}; r\n" in err


def test_json_is_neither_wrapped_nor_escaped(capsys):
    print_json({"naïve": "[bold]" + "x" * 200})

    assert json.loads(capsys.readouterr().out) == {"naïve": "[bold]" + "x" * 200}


def test_a_command_may_be_a_group_of_commands():
    group = Command("tiered_llm.cli", "app", "").load("again")

    assert group.name == "again"
