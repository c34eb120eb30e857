"""`tiered-llm chat`: a conversation on the wire, the tier of each answer in sight."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import pytest
import typer
from typer.testing import CliRunner

from tiered_llm.cli import app
from tiered_llm.cli import chat as chat_module
from tiered_llm.cli.chat_commands import is_command
from tiered_llm.testing import Answer, Fault
from tiered_llm.tiers import Tier

COMMAND = """
import signal
from tiered_llm.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may have it ignored
main()
"""


@pytest.fixture(autouse=True)
def _nowhere(tmp_path, monkeypatch):
    """No settings but the defaults, and no proxy."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def live(simulated_tiers, monkeypatch):
    """Three endpoints that answer, as far as the command can tell."""
    for tier, spec in simulated_tiers.specs.items():
        monkeypatch.setenv(f"TIERED_LLM_{tier.upper()}__BASE_URL", spec.base_url)
    return simulated_tiers


@pytest.fixture
def closed_url():
    """An address that is ours and refuses connections."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def chat(*lines, options=()):
    return CliRunner().invoke(app, ["chat", *options], input="".join(f"{line}\n" for line in lines))


def turns(*lines, options=()):
    result = chat(*lines, options=("--json", *options))
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_an_answer_and_its_tier(live):
    live.light.script("qwen2.5:7b", Answer(text="Good morning."))
    result = chat("Hello")
    assert result.exit_code == 0, result.output
    assert "live models: light ollama/qwen2.5:7b" in result.stdout
    assert "Good morning.\nlight · ollama/qwen2.5:7b · score 0.11 · message .11 · " in result.stdout
    assert "/help lists the commands" in result.stdout


def test_json_is_a_line_for_each_turn_and_nothing_else(live):
    first, second = turns("Hello", "", "/why", "Prove it", "/quit", "never asked")
    assert first["tier"] == "light"
    assert first["answer"].startswith("This is a simulated greeting")
    assert first["error"] is None
    assert first["output_tokens"] == live.light.requests[0].output_tokens
    assert second["fallbacks"] == ["standard", "heavy"]
    assert len(live.light.requests) == 2


def test_the_simulator_says_that_it_is_one():
    result = chat("Hello", options=("--simulate",))
    assert result.exit_code == 0
    assert "NO MODEL IS BEHIND THIS" in result.stdout
    assert "This is a simulated greeting" in result.stdout


def test_what_was_said_is_remembered_until_reset(live):
    live.light.script("qwen2.5:7b", Answer(text="One."), Answer(text="Two."), Answer(text="Three."))
    result = chat("First", "Second", "/reset", "/why", "Third", options=("--system", "Be brief."))
    texts = [[m["content"] for m in r.body["messages"]] for r in live.light.requests]
    assert texts == [
        ["Be brief.", "First"],
        ["Be brief.", "First", "One.", "Second"],
        ["Be brief.", "Third"],
    ]
    assert "forgotten\nnothing was decided yet\n" in result.stdout


def test_a_tier_can_be_insisted_on(live):
    asked = turns("Hello", "/tier heavy", "Hello", "/tier auto", "Hello", "/tier huge")
    assert [turn["tier"] for turn in asked] == ["light", "heavy", "light"]
    assert turns("Hello", options=("--tier", "standard"))[0]["tier"] == "standard"


def test_the_commands_answer(live):
    shown = chat("/tier", "/tier light", "/tier huge", "/nothing", "/help").stdout
    assert "the router chooses\nevery answer from light\n" in shown
    assert "no tier huge; there are: light, standard, heavy, auto" in shown
    assert "no command /nothing; there are: /why, /tier, /reset, /quit, /help" in shown
    assert "/quit         leave" in shown


def test_why_explains_the_last_decision(live):
    shown = chat("Hello", "/why").stdout
    assert "light · ollama/qwen2.5:7b · score 0.11\nmessage complexity" in shown
    assert "1. score_thresholds: pick light: score 0.11\nif it fails: standard, then heavy" in shown


def test_who_asks_and_for_what_decides_and_the_tenant_is_not_shown(live, tmp_path):
    tmp_path.joinpath("tiered-llm.toml").write_text(
        '[routing.tenant_caps]\nsmall-tenant = "standard"\n', "utf-8"
    )
    options = ("--tenant", "small-tenant", "--task-type", "thinking")
    result = chat("Hello", "/why", options=options)
    assert "standard · ollama/qwen2.5:32b · score 0.11 · the tenant's cap" in result.stdout
    assert "small-tenant" not in result.output


def test_an_answer_is_no_longer_than_wanted(live):
    assert turns("Hello", options=("--max-tokens", "3"))[0]["output_tokens"] == 3


def test_an_answer_cannot_command_the_terminal(live):
    live.light.script("qwen2.5:7b", Answer(text="a\x1b[2Jb\n\tc"))
    assert "a[2Jb\n\tc\n" in chat("Hello").stdout


@pytest.mark.parametrize(
    ("line", "command"),
    [("/why", True), ("/tier light", True), ("/etc/hosts", False), ("/", False), ("a /why", False)],
)
def test_a_command_is_a_slash_and_a_word(line, command):
    assert is_command(line) is command


# --- what fails ---


def silence(monkeypatch, url, *tiers):
    for tier in tiers:
        monkeypatch.setenv(f"TIERED_LLM_{tier.upper()}__BASE_URL", url)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_no_endpoint_at_all(closed_url, monkeypatch, options):
    silence(monkeypatch, closed_url, *Tier)
    result = chat("Hello", options=options)
    assert result.exit_code == 4
    assert not result.stdout
    assert f"light: ollama/qwen2.5:7b at {closed_url}: cannot be reached" in result.stderr
    assert "`tiered-llm chat --simulate`" in result.stderr
    assert "`tiered-llm doctor`" in result.stderr
    assert "Traceback" not in result.stderr


def test_some_endpoints_are_enough(closed_url, live, monkeypatch):
    silence(monkeypatch, closed_url, "light")
    result = chat("Hello")
    assert result.exit_code == 0
    assert f"light: ollama/qwen2.5:7b at {closed_url}: cannot be reached" in result.stdout
    assert "standard · ollama/qwen2.5:32b · score 0.11 · light failed: unreachable" in result.stdout


def test_a_question_that_fails_is_told_and_forgotten(live):
    live.light.script("qwen2.5:7b", Fault.status(400, "odd"), Answer(text="Here."))
    result = chat("Hello", "Again")
    assert result.exit_code == 1
    assert "odd" in result.stderr
    assert "`tiered-llm doctor`" in result.stderr
    assert "Traceback" not in result.output
    assert "Here.\nlight" in result.stdout
    assert [m["content"] for m in live.light.requests[-1].body["messages"]] == ["Again"]


def test_a_question_that_fails_is_a_json_line_too(live):
    for sim, name in zip(
        (live.light, live.standard, live.heavy),
        ("qwen2.5:7b", "qwen2.5:32b", "qwen2.5:72b"),
        strict=True,
    ):
        sim.always(name, Fault.status(503))
    (turn,) = turns("Hello")
    assert turn["answer"] is None
    assert turn["error"].startswith("every attempt failed: 1. light")


# --- Ctrl-C ---


def running(tmp_path, *options):
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "chat", *options],
        cwd=tmp_path,
        encoding="utf-8",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ask(process, line):
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def read_until(stream, text):
    seen = ""
    while not seen.endswith(text):
        piece = stream.read(1)
        assert piece, seen
        seen += piece


def interrupt_when_stalled(process, simulator, count):
    simulator.wait_for(
        lambda: len(simulator.requests) == count and simulator.requests[-1].outcome == "stalled",
        timeout_s=60,
    )
    process.send_signal(signal.SIGINT)


def test_ctrl_c_breaks_an_answer_off_and_the_chat_goes_on(live, tmp_path):
    stall = Fault.stall("content", answer=Answer(text="a long answer"))
    live.light.script("qwen2.5:7b", stall, Answer(text="Here."))
    with running(tmp_path) as process:
        ask(process, "Hello")
        read_until(process.stdout, "a long")
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate("Again\n/quit\n")
    assert process.returncode == 0, errors
    assert out.startswith("\nbroken off; the question is forgotten\n")
    assert "Here.\nlight" in out
    assert [m["content"] for m in live.light.requests[-1].body["messages"]] == ["Again"]


def test_ctrl_c_twice_leaves(live, tmp_path):
    live.light.always("qwen2.5:7b", Fault.stall())
    with running(tmp_path, "--json") as process:
        ask(process, "Hello")
        interrupt_when_stalled(process, live.light, 1)
        ask(process, "Again")
        interrupt_when_stalled(process, live.light, 2)
        out, errors = process.communicate()
    assert process.returncode == 130
    assert [json.loads(line)["error"] for line in out.splitlines()] == ["cancelled", "cancelled"]
    assert "Traceback" not in errors


# --- a terminal ---


class Terminal:
    """The far end of a terminal on which a chat runs."""

    def __init__(self, tmp_path):
        self.end, other = pty.openpty()
        environment = {**os.environ, "TERM": "dumb", "COLUMNS": "200"}
        command = [sys.executable, "-c", COMMAND, "chat", "--simulate"]
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), other)
        self.process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, start_new_session=True, **streams
        )
        os.close(other)
        self.seen = ""

    def until(self, text):
        """Read on until this text has come, after all that was read before."""
        while text not in self.seen:
            self.seen += os.read(self.end, 4096).decode()
        self.seen = self.seen.split(text, 1)[1]

    def type(self, line):
        os.write(self.end, f"{line}\r".encode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.end)


def test_on_a_terminal(tmp_path):
    with Terminal(tmp_path) as terminal:
        terminal.until("NO MODEL IS BEHIND THIS")
        terminal.until("you> ")
        terminal.type("Hello")
        terminal.until("light · ollama/qwen2.5:7b · score 0.11")
        terminal.until("you> ")
        terminal.process.send_signal(signal.SIGINT)
        with suppress(OSError):
            terminal.type("")  # readline sees a signal that came before it waits at the next key
        assert terminal.process.wait() == 130


def typed(monkeypatch, *events):
    """What the prompt yields for what a user types: a text, or the error of a key."""
    waiting = iter(events)

    def typing(_prompt):
        event = next(waiting)
        if isinstance(event, type):
            raise event
        return event

    monkeypatch.setattr("builtins.input", typing)
    return chat_module._typed()


def test_the_prompt_ends_with_ctrl_d(monkeypatch, capsys):
    assert list(typed(monkeypatch, "Hello ", " ", "\udcff", EOFError)) == ["Hello", "?"]
    assert capsys.readouterr().out == "\n"


def test_the_prompt_ends_with_ctrl_c(monkeypatch):
    lines = typed(monkeypatch, "Hello", KeyboardInterrupt)
    assert next(lines) == "Hello"
    with pytest.raises(typer.Exit) as left:
        next(lines)
    assert left.value.exit_code == 130


class Keyboard(io.StringIO):
    def isatty(self):
        return True


def test_at_a_terminal_a_failed_answer_is_no_failed_command(live, monkeypatch):
    live.light.script("qwen2.5:7b", Fault.status(400, "odd"))
    typed(monkeypatch, "Hello", "Again", EOFError)
    monkeypatch.setattr(sys, "stdin", Keyboard())
    with pytest.raises(typer.Exit) as left:
        chat_module.chat()
    assert left.value.exit_code == 0
    assert len(live.light.requests) == 2
