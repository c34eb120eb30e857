"""`tiered-llm demo`: a real program on the wire, told line by line."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
from decimal import Decimal
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from tiered_llm.cli import app
from tiered_llm.cli.backing import simulated
from tiered_llm.cli.demo_ledger import Ledger, ModelCall, Outcome, Prices, Recorder
from tiered_llm.cli.demo_program import TOOLS, Program, made_document
from tiered_llm.cli.demo_requests import DemoRequest, built_in
from tiered_llm.cli.demo_table import Columns, LineView, LiveView, summary
from tiered_llm.cli.texts import error_line, error_text
from tiered_llm.errors import AllTiersFailedError, AttemptFailedError
from tiered_llm.settings import get_settings
from tiered_llm.testing import Answer, Fault, Simulator
from tiered_llm.tiers import Tier, TierSpec
from tiered_llm.tokens import estimate_tokens

LIGHT, STANDARD, HEAVY = Tier
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
def closed_port():
    """A port that is ours and refuses connections."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def demo(*arguments, stdin=None):
    return CliRunner().invoke(app, ["demo", *arguments], input=stdin)


def fast(*arguments, stdin=None):
    return demo("--simulate", "--fast", *arguments, stdin=stdin)


def lines_of(result):
    *requests, whole = map(json.loads, result.stdout.splitlines())
    return requests, whole


def test_the_thirty_requests():
    result = fast("--json")
    assert result.exit_code == 0, result.output
    requests, whole = lines_of(result)
    assert len(requests) == whole["requests"] == whole["planned"] == 30
    assert [r["number"] for r in requests] == list(range(1, 31))
    assert whole["tiers"] == {"light": 15, "standard": 10, "heavy": 5}
    assert (whole["failed"], whole["interrupted"], whole["simulated"]) == (0, False, True)
    assert {r["kind"] for r in requests} == {"chat", "stream", "extract", "tools", "agent"}
    for request in requests:
        assert request["type"] == "request"
        assert request["tier"] == request["decided_tier"]
        assert request["input_tokens"] > 0
        assert request["output_tokens"] > 0
        assert request["model_id"].startswith(("ollama/qwen2.5", "vllm/qwen2.5"))
        assert request["why"]
        assert request["error"] is None
        assert (request["model_calls"] > 1) == (request["kind"] == "agent")


def test_the_sums_are_right():
    requests, whole = lines_of(fast("--json"))
    weights = {"light": 1, "standard": 3, "heavy": 10}
    tokens = [r["input_tokens"] + r["output_tokens"] for r in requests]
    cost = sum(n * weights[r["tier"]] for n, r in zip(tokens, requests, strict=True))
    assert whole["cost_units"] == cost == sum(r["cost_units"] for r in requests)
    assert whole["baseline_cost_units"] == 10 * sum(tokens)
    assert whole["saved_cost_units"] == 10 * sum(tokens) - cost
    assert whole["saving_pct"] == pytest.approx(100 * (1 - cost / (10 * sum(tokens))), abs=0.05)


def test_no_tenant_is_shown():
    tenants = {request.tenant_id for request in built_in()}
    shown = fast("--json").output + fast().output
    assert len(tenants) == 3
    assert not [tenant for tenant in tenants if tenant in shown]


def test_the_table_for_a_log():
    result = fast("--limit", "8")
    banner, rest = result.stdout.split("\n", 1)
    assert "NO MODEL IS BEHIND THIS" in banner
    assert "  #  request" in rest
    assert "  1  Hello!" in rest
    assert "  8  Analyze the security" in rest
    assert "8 requests in " in rest
    assert "% saved" in rest
    assert "a unit is a token times its tier's weight: light 1, standard 3, heavy 10" in rest
    assert "\x1b" not in result.stdout


def test_json_keeps_stdout_for_machines():
    result = fast("--limit", "1", "--json")
    assert "NO MODEL" in result.stderr
    assert len(result.stdout.splitlines()) == 2


def test_silent_endpoints_are_named_and_simulated(closed_port, monkeypatch):
    for tier in Tier:
        url = f"http://127.0.0.1:{closed_port}"
        monkeypatch.setenv(f"TIERED_LLM_{tier.upper()}__BASE_URL", url)
    result = demo("--fast", "--limit", "2")
    assert result.exit_code == 0
    assert "NO MODEL IS BEHIND THIS" in result.stdout
    assert f"heavy: vllm/qwen2.5:72b at http://127.0.0.1:{closed_port}: cannot be" in result.stdout


def test_one_silent_tier_is_enough_to_simulate(live):
    live.heavy.refuse()
    result = demo("--fast", "--limit", "1")
    assert "NO MODEL IS BEHIND THIS" in result.stdout
    assert not live.light.requests


def test_a_provider_that_cannot_be_probed_is_simulated(live, monkeypatch):
    monkeypatch.setenv("MODEL_HEAVY", "anthropic/claude-sonnet-4-5")
    monkeypatch.delenv("TIERED_LLM_HEAVY__BASE_URL")
    result = demo("--fast", "--limit", "8")
    assert result.exit_code == 0, result.output
    said = "heavy: anthropic/claude-sonnet-4-5: no probe for provider anthropic"
    assert said in " ".join(result.stdout.split())


def test_endpoints_that_answer_are_used(live):
    result = demo("--limit", "8", "--json")
    assert result.exit_code == 0, result.output
    assert "NO MODEL" not in result.output
    assert "live models: light ollama/qwen2.5:7b" in result.stderr
    requests, whole = lines_of(result)
    assert not whole["simulated"]
    assert not requests[0]["simulated"]
    assert len(live.light.requests) == 6
    assert live.heavy.billed() == (requests[7]["input_tokens"], requests[7]["output_tokens"])


def test_a_tier_that_fails_is_named_and_another_answers(live):
    live.light.always("qwen2.5:7b", Fault.status(503))
    requests, whole = lines_of(demo("--live", "--limit", "2", "--json"))
    assert [r["why"] for r in requests] == ["light failed: server_error"] * 2
    assert [(r["decided_tier"], r["tier"]) for r in requests] == [("light", "standard")] * 2
    assert whole["failed"] == 0


def test_a_request_that_nobody_answers_is_a_line_and_the_run_goes_on(
    closed_port, live, monkeypatch
):
    url = f"http://127.0.0.1:{closed_port}"
    for tier in (LIGHT, STANDARD):
        monkeypatch.setenv(f"TIERED_LLM_{tier.upper()}__BASE_URL", url)
    live.heavy.script("qwen2.5:72b", Fault.status(500), Answer(text="Here."))
    result = demo("--live", "--limit", "2")
    assert result.exit_code == 1
    assert "failed    every attempt failed: 1." in result.stdout
    assert "2 requests in" in result.stdout
    assert "1 failed" in result.stdout
    assert "#1 failed: every attempt failed" in result.stdout
    assert "Traceback" not in result.output


def test_a_form_that_the_model_fills_wrongly_is_a_line(live):
    live.light.always("qwen2.5:7b", Answer(text="no form at all"))
    requests, whole = lines_of(demo("--live", "--limit", "4", "--json"))
    assert whole["failed"] == 1
    assert requests[3]["error"].startswith("OutputParserException")
    assert requests[3]["output_tokens"] > 0
    assert requests[3]["tier"] == "light"


def test_what_does_not_fit_any_tier_is_a_line(tmp_path):
    tmp_path.joinpath("in.jsonl").write_text(
        '{"prompt": "Hello"}\n{"prompt": "Summarize", "context_length": 90000}\n', "utf-8"
    )
    result = fast("--input", "in.jsonl", "--json")
    assert result.exit_code == 1
    requests, whole = lines_of(result)
    assert requests[1]["error"].startswith("no tier can serve this request: light: about")
    assert requests[1]["tier"] is requests[1]["score"] is None
    assert (whole["requests"], whole["failed"]) == (2, 1)
    assert "  -  failed  " in fast("--input", "in.jsonl").stdout


# --- the user's own lines ---


def test_plain_lines(tmp_path):
    tmp_path.joinpath("in.txt").write_text('{"not": "JSON here"}\n\n  Grüße! \r\n', "utf-8-sig")
    requests, _ = lines_of(fast("--input", "in.txt", "--json"))
    assert [r["request"] for r in requests] == ['{"not": "JSON here"}', "Grüße!"]


def test_json_lines(tmp_path):
    lines = [
        {"question": "Hello", "tier": "heavy", "tenant_id": 42, "kind": "other", "history": 1},
        {"prompt": None, "message": "Hi\u2028there", "capabilities": "security", "tier": None},
        {"text": "Hello", "task_type": "thinking"},
        {"prompt": "Hello", "context_length": 3000},
        {"prompt": ""},
        {"prompt": "\ud800 odd \x1b[31m"},
    ]
    text = "\n".join(json.dumps(line) for line in lines)
    tmp_path.joinpath("in.jsonl").write_text(text.replace("\\u2028", "\u2028"), "utf-8")
    result = fast("--input", "in.jsonl", "--json")
    assert result.exit_code == 0, result.output
    requests, _ = lines_of(result)
    assert [r["tier"] for r in requests[:3]] == ["heavy", "standard", "heavy"]
    assert requests[1]["request"] == "Hi there"
    assert requests[3]["input_tokens"] > 2000
    assert requests[5]["request"] == "? odd [31m"


@pytest.mark.parametrize(("stdin", "count"), [("Hello\nWhat is a cat?\n", 2), ('{"text": "a"}', 1)])
def test_a_dash_reads_standard_input(stdin, count):
    requests, _ = lines_of(fast("--input", "-", "--json", stdin=stdin))
    assert len(requests) == count


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{broken", "line 3: is not JSON"),
        ("[" * 100_000, "line 3: is not JSON"),
        ('"Hello"', "line 3: is not a JSON object"),
        ('{"other": 1}', "line 3: has none of the fields prompt, message, text, question"),
        ('{"prompt": ["a"]}', "line 3: prompt is no text"),
        ('{"prompt": "a", "tier": "huge"}', "line 3: tier: Input should be"),
        ('{"prompt": "a", "context_length": -1}', "line 3: context_length: Input should be"),
    ],
)
def test_a_bad_line_is_named_before_anything_is_sent(tmp_path, live, line, told):
    text = f'{{"prompt": "fine"}}\n\n{line}\n'
    tmp_path.joinpath("in.jsonl").write_text(text, "utf-8")
    result = demo("--live", "--input", "in.jsonl")
    assert result.exit_code == 2
    assert f"in.jsonl, {told}" in result.stderr
    assert "nothing was sent" in result.stderr
    assert not result.stdout
    assert not live.light.requests


def test_a_file_without_requests_or_without_a_file(tmp_path):
    tmp_path.joinpath("in.jsonl").write_text("\n \n", "utf-8")
    assert "holds no request" in fast("--input", "in.jsonl").stderr
    missing = fast("--input", "nowhere.txt")
    assert missing.exit_code == 2
    assert "nowhere.txt cannot be read: No such file" in missing.stderr


def test_many_odd_prompts_survive(tmp_path):
    kinds = [
        "x" * 9000,
        "def f(x): return {x}\t\x00",
        "مرحبا 你好 😀 नमस्ते",
        "{curly} {{",
        "a\u2028b",
    ]
    prompts = [f"{number} {kinds[number % len(kinds)]}" for number in range(60)]
    text = "\n".join(json.dumps({"prompt": p}, ensure_ascii=False) for p in prompts)
    tmp_path.joinpath("in.jsonl").write_text(text, "utf-8")
    result = fast("--input", "in.jsonl", "--json")
    assert result.exit_code == 0, result.output
    assert lines_of(result)[1]["requests"] == 60


# --- Ctrl-C ---


@pytest.mark.parametrize("as_json", [True, False])
def test_ctrl_c_sums_up_and_exits_with_130(tmp_path, as_json):
    more = ["--json"] if as_json else []
    command = [sys.executable, "-c", COMMAND, "demo", "--simulate", *more]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, encoding="utf-8", **pipes) as running:
        first = '"number": 1' if as_json else "  1  Hello!"
        while first not in running.stdout.readline():
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        rest, errors = running.communicate()
    assert running.returncode == 130
    assert "Traceback" not in errors
    if as_json:
        whole = json.loads(rest.splitlines()[-1])
        assert whole["interrupted"]
        assert 1 <= whole["requests"] < whole["planned"] == 30
    else:
        assert " of 30 requests in " in rest
        assert "interrupted" in rest


def test_ctrl_c_within_a_request(monkeypatch):
    run, sent = Program.run, []

    def interrupted(self, request, config, show):
        sent.append(request)
        if len(sent) == 3:
            raise KeyboardInterrupt
        return run(self, request, config, show)

    monkeypatch.setattr(Program, "run", interrupted)
    result = fast("--json")
    assert result.exit_code == 130
    requests, whole = lines_of(result)
    assert len(requests) == whole["requests"] == 2
    assert whole["interrupted"]


# --- the parts ---


def ledger(*outcomes, **more):
    prices = Prices(weights={LIGHT: Decimal(1), HEAVY: Decimal("2.5")})
    return Ledger(**{"prices": prices, "planned": 3, "outcomes": outcomes, **more})


def outcome(number=1, tier=LIGHT, **more):
    routing = {"tier": tier, "score": 0.25, "factors": {}, "reasons": []}
    call = ModelCall(tier=tier, input_tokens=80, output_tokens=20)
    fields = {"request": DemoRequest(text="Hello"), "calls": (call,), "routing": routing}
    return Outcome(number=number, **{**fields, **more})


def test_a_saving_is_signed():
    assert ledger(outcome()).saving_pct == 60
    assert ledger().saving_pct == 0
    dear = Prices(weights={LIGHT: Decimal(4), HEAVY: Decimal(2)})
    assert ledger(outcome(), prices=dear).saving_pct == -100
    shown = "\n".join(line.plain for line in summary(ledger(outcome(), prices=dear)))
    assert "100.0 % lost" in shown


def test_a_run_that_was_stopped_before_it_began_can_be_summed_up():
    shown = "\n".join(line.plain for line in summary(ledger(interrupted=True)))
    assert "0 of 3 requests in 0.0 s; interrupted" in shown


@pytest.mark.parametrize("width", [80, 100, 120, 500])
def test_lines_have_the_width_of_the_screen(width):
    out = Console(file=io.StringIO(), width=1000)
    wide = outcome(request=DemoRequest(text="「お世話になっております」" * 9), why="because " * 30)
    with LineView(out, width) as view:
        view.end(wide, ledger(wide))
    widths = {cell_len(line) for line in out.file.getvalue().splitlines()}
    assert widths == {min(width, 150)}
    assert sum(Columns.within(width)) > 20


def test_a_terminal_shows_the_answer_as_it_comes():
    out = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    first = outcome()
    with LiveView(out, 100) as view:
        view.begin(DemoRequest(text="What is\na cat? " * 20), ledger(first))
        view.show("A cat is \x1b[2J")
        view.show("an animal. " * 40)
        view._live.refresh()
        view.end(first, ledger(first))
    shown = out.file.getvalue()
    assert "What is a cat?" in shown
    assert "2/3  60.0 % saved" in shown
    assert "an animal." in shown
    assert "\x1b[2J\x1b" not in shown.replace("\x1b[2K", "")
    assert "  1  Hello" in shown


def test_wide_text_does_not_wrap_below_the_table():
    out = Console(file=io.StringIO(), force_terminal=True, width=90, color_system=None)
    view = LiveView(out, 90)
    view.begin(DemoRequest(text="猫" * 300), ledger())
    view.show("犬" * 300)
    drawn = Console(file=io.StringIO(), width=90)
    drawn.print(view._below())
    assert len(drawn.file.getvalue().splitlines()) == 4


def test_every_tool_answers():
    given = {"city": "Oslo", "amount": 250, "source": "USD", "target": "EUR", "order": "A-1"}
    told = [tool.invoke({name: given[name] for name in tool.args}) for tool in TOOLS]
    assert told[1] == "250.00 USD are 230.00 EUR."
    assert len(set(told)) == 4


def test_documents_are_made_to_measure():
    assert made_document(0) == ""
    assert 2000 <= estimate_tokens(made_document(2000)) < 2100
    assert made_document(500) == made_document(500)


def test_a_simulator_stands_in_for_any_provider_and_gets_no_key():
    spec = TierSpec(
        tier="heavy",
        model_id="anthropic/claude",
        cost_weight=10,
        api_key="secret",
        model_kwargs={"default_headers": {"X-Key": "secret"}},
    )
    with simulated(get_settings(heavy=spec), pace=0) as local:
        assert local.heavy.model_id == "vllm/claude"
        assert local.heavy.api_key.get_secret_value() == "simulated"
        assert not local.heavy.model_kwargs
        assert local.light.model_id == "ollama/qwen2.5:7b"


def test_a_proxy_is_not_asked_for_the_simulator(closed_port, monkeypatch):
    proxy = f"http://127.0.0.1:{closed_port}"
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.setenv("NO_PROXY", "example.org")
    assert fast("--limit", "8").exit_code == 0


def test_the_environment_is_put_back(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.delenv("no_proxy", raising=False)
    with simulated(get_settings(), pace=0):
        assert os.environ["no_proxy"] == "example.org,127.0.0.1"
    assert os.environ["NO_PROXY"] == "example.org"
    assert "no_proxy" not in os.environ


def test_a_model_that_tells_no_usage_counts_as_nothing():
    heard, run = Recorder(), uuid4()
    heard.on_chat_model_start({}, [], run_id=run, metadata={"tiered_llm.tier": "light"})
    answer = ChatGeneration(message=AIMessage("Hi"))
    heard.on_llm_end(LLMResult(generations=[[answer]]), run_id=run)
    assert heard.calls == [ModelCall(tier=LIGHT)]
    assert heard.routing is None


def test_the_simulator_is_gone_afterwards():
    with simulated(get_settings(), pace=0) as local:
        port = int(local.light.base_url.rsplit(":", 1)[1])
    with Simulator([], port=port) as again:
        assert again.url.endswith(str(port))


def test_an_error_of_several_attempts_keeps_its_lines_for_a_person():
    error = AllTiersFailedError(
        [AttemptFailedError(LIGHT, "unreachable")], [(STANDARD, "its endpoint keeps failing")]
    )
    assert error_text(error).splitlines() == [
        "every attempt failed:",
        "  1. light: unreachable after 0.00 s",
        "  not asked: standard: its endpoint keeps failing",
    ]
    assert error_line(error) == (
        "every attempt failed: 1. light: unreachable after 0.00 s; "
        "not asked: standard: its endpoint keeps failing"
    )
    assert error_text(ValueError("odd\nlines")) == "ValueError: odd; lines"


def test_a_cut_error_shows_that_it_is_cut():
    line = error_line(ValueError("x" * 900))
    assert len(line) == 500
    assert line.endswith("x…")
