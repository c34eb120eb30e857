"""`tiered-llm doctor` against endpoints on the wire."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from tiered_llm.cli import app
from tiered_llm.testing import Fault, SimulatedModel, Simulator

pytestmark = pytest.mark.usefixtures("clean_environment")

NO_PROXY = {"NO_PROXY": "*", "no_proxy": "*"}
KEY = "sk-hunter2"


@pytest.fixture
def simulator():
    models = [
        SimulatedModel(name="qwen2.5:7b", context_window=32_768),
        SimulatedModel(name="qwen2.5:32b", context_window=32_768),
        SimulatedModel(name="qwen2.5:72b", context_window=32_768),
    ]
    with Simulator(models) as running:
        yield running


@pytest.fixture
def point(monkeypatch):
    """Point the tiers at endpoints; a tier that is not named is switched off."""
    for name, value in NO_PROXY.items():
        monkeypatch.setenv(name, value)

    def to(**urls):
        for tier in ("light", "standard", "heavy"):
            if tier in urls:
                monkeypatch.setenv(f"TIERED_LLM_{tier.upper()}__BASE_URL", urls[tier])
            else:
                monkeypatch.setenv(f"MODEL_{tier.upper()}", "none")

    return to


@contextmanager
def canned(pages):
    """A server with fixed answers, `path → (status, body)`; yields its address and what it saw."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            length = int(self.headers.get("Content-Length") or 0)
            sent = json.loads(self.rfile.read(length)) if length else None
            seen.append((self.path, dict(self.headers), sent))
            key = next((k for k in (f"{self.path}+tools", self.path) if self._fits(k, sent)), None)
            status, body = pages.get(key, (404, {"error": "no such page"}))
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815 - the handler's own spelling

        @staticmethod
        def _fits(key, sent):
            return key in pages and (not key.endswith("+tools") or "tools" in (sent or {}))

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def closed_port():
    """An address where nothing listens, held so that nobody else takes it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@contextmanager
def black_hole():
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def doctor(*words):
    result = CliRunner().invoke(app, ["doctor", "--json", *words])
    return result.exit_code, json.loads(result.stdout)


def findings(report, tier, level="problem"):
    (found,) = [each for each in report["tiers"] if each["tier"] == tier]
    return [(f["check"], f["found"], f["do"]) for f in found["findings"] if f["level"] == level]


MODELS = {"data": [{"id": "m", "max_model_len": 32_768}]}
CHAT = {"choices": [{"message": {"content": "hi"}}]}


def test_all_is_well_where_every_model_is_there(simulator, point):
    point(light=simulator.url, standard=simulator.url, heavy=simulator.openai_url)

    code, report = doctor()

    assert code == 0
    assert report["well"]
    assert [tier["context_window"] for tier in report["tiers"]] == [32_768] * 3
    assert all(tier["latency_ms"] > 0 for tier in report["tiers"])
    assert {f["check"] for tier in report["tiers"] for f in tier["findings"]} == {
        "endpoint",
        "model",
        "context window",
        "tools",
        "latency",
    }


def test_the_text_shows_findings_and_where_settings_came_from(simulator, point, monkeypatch):
    point(light=simulator.url, heavy=simulator.openai_url)
    monkeypatch.setenv("TIERED_LLM_HEAVY__API_KEY", KEY)

    result = CliRunner().invoke(app, ["doctor", "--no-probe"])

    assert result.exit_code == 0
    assert f"light: ollama/qwen2.5:7b at {simulator.url}" in result.stdout
    assert "ok          endpoint: is up" in result.stdout
    assert "environment: TIERED_LLM_LIGHT__BASE_URL" in result.stdout
    assert "latency" not in result.stdout
    assert "timeout_s" not in result.stdout
    assert "all is well" in result.stdout
    assert KEY not in result.output


def test_every_setting_is_shown_on_request(simulator, point):
    point(light=simulator.url)

    result = CliRunner().invoke(app, ["doctor", "--no-probe", "--settings"])

    assert "light.timeout_s" in result.stdout
    assert "complexity.weights.message_complexity" in result.stdout


def test_settings_that_are_all_defaults_are_not_listed(capsys):
    from tiered_llm.cli.doctor import _show_settings
    from tiered_llm.cli.output import console

    _show_settings(console(), [])

    assert "every setting has its default" in capsys.readouterr().out


def test_a_model_that_is_not_pulled_is_named_with_its_command(simulator, point, monkeypatch):
    point(light=simulator.url)
    monkeypatch.setenv("MODEL_LIGHT", "ollama/phi4")

    code, report = doctor()

    assert code == 1
    assert findings(report, "light") == [("model", "phi4 is not pulled", "`ollama pull phi4`")]


def test_a_model_that_is_not_served_is_named_with_what_is(simulator, point, monkeypatch):
    point(heavy=simulator.openai_url)
    monkeypatch.setenv("MODEL_HEAVY", "vllm/phi4")

    _, report = doctor()

    ((check, found, do),) = findings(report, "heavy")
    assert (check, found) == ("model", "phi4 is not served")
    assert "--served-model-name phi4" in do
    assert "heavy.model_id to one of: qwen2.5:32b, qwen2.5:72b, qwen2.5:7b" in do


def test_a_window_smaller_than_configured_is_a_problem_a_larger_one_is_not(point, monkeypatch):
    with Simulator([SimulatedModel(name="qwen2.5:7b", context_window=8192)]) as sim:
        point(light=sim.url, heavy=sim.openai_url)
        monkeypatch.setenv("MODEL_HEAVY", "vllm/qwen2.5:7b")
        monkeypatch.setenv("TIERED_LLM_HEAVY__CONTEXT_WINDOW", "4096")

        code, report = doctor()

    assert code == 1
    wrong = "8192 tokens, but 32768 are configured"
    assert findings(report, "light") == [
        ("context window", wrong, "set light.context_window = 8192")
    ]
    assert findings(report, "heavy") == []
    ((_, found, do),) = findings(report, "heavy", "note")
    assert found == "8192 tokens, of which 4096 are configured"
    assert do == "heavy.context_window may be raised"


def test_an_endpoint_that_is_down_is_told_with_how_to_start_it(point):
    with closed_port() as url:
        point(light=url, heavy=url)
        code, report = doctor()

    assert code == 1
    ((check, found, do),) = findings(report, "light")
    assert (check, found) == ("endpoint", "cannot be reached (ConnectError)")
    assert do == "start it with `ollama serve`, or set light.base_url"
    assert "`vllm serve qwen2.5:72b`" in findings(report, "heavy")[0][2]


def test_an_endpoint_that_never_answers_is_told_with_the_wait(point):
    with black_hole() as url:
        point(light=url)
        _, report = doctor("--timeout", "0.1")

    assert findings(report, "light")[0][:2] == ("endpoint", "no answer in 0.1 s")


def test_an_endpoint_that_refuses_the_key_is_told_without_the_key(point, monkeypatch):
    said = {"error": {"message": "Invalid   key"}}
    with canned({"/v1/models": (401, said)}) as (url, seen):
        point(heavy=f"{url}/v1/")
        monkeypatch.setenv("TIERED_LLM_HEAVY__API_KEY", KEY)
        _, report = doctor()

    ((_, found, do),) = findings(report, "heavy")
    assert found == "is up, but refuses the key (HTTP 401: Invalid key)"
    assert "TIERED_LLM_HEAVY__API_KEY" in do
    assert seen[0][1]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in json.dumps(report)


@pytest.mark.parametrize("body", [b"<html>", {"models": 3}, [1], {}])
def test_an_endpoint_that_speaks_something_else_is_told_the_usual_address(point, body):
    with canned({"/api/tags": (200, body), "/models": (200, body)}) as (url, _):
        point(light=url, heavy=url)
        _, report = doctor()

    ((_, found, do),) = findings(report, "light")
    assert found == "is up, but does not speak Ollama's protocol here (HTTP 200)"
    assert do.endswith("it ends after the port, as in http://localhost:11434")
    ((_, found, do),) = findings(report, "heavy")
    assert "the OpenAI protocol" in found
    assert do.endswith("it ends in /v1, as in http://localhost:8000/v1")


def ollama_pages(name="m:latest", **shown):
    described = {"model_info": {"m.context_length": 32_768}, "capabilities": ["tools"], **shown}
    return {
        "/api/tags": (200, {"models": [{"name": name}]}),
        "/api/show": (200, described),
        "/api/chat": (200, {"message": {"content": "hi"}}),
    }


def test_a_model_without_tools_is_a_problem_unless_so_configured(point, monkeypatch):
    with canned(ollama_pages(capabilities=["completion"])) as (url, _):
        point(light=url)
        monkeypatch.setenv("MODEL_LIGHT", "ollama/m")
        _, report = doctor()
        do = "choose a model that can, or set light.tools = false"
        assert findings(report, "light") == [("tools", "the model cannot call tools", do)]

        monkeypatch.setenv("TIERED_LLM_LIGHT__TOOLS", "false")
        code, _ = doctor()
        assert code == 0


def test_an_ollama_that_states_no_window_is_not_checked_for_it(point, monkeypatch):
    with canned(ollama_pages(model_info={})) as (url, _):
        point(light=url)
        monkeypatch.setenv("MODEL_LIGHT", "ollama/m:latest")
        code, report = doctor()

    assert code == 0
    assert [check for check, _, _ in findings(report, "light", "not checked")] == ["context window"]


def test_a_model_that_cannot_be_shown_or_run_is_a_problem(point, monkeypatch):
    monkeypatch.setenv("MODEL_LIGHT", "ollama/m")
    pages = ollama_pages()
    with canned({**pages, "/api/show": (500, {"error": "corrupt"})}) as (url, _):
        point(light=url)
        _, report = doctor()
        assert findings(report, "light")[0][1] == "/api/show failed: HTTP 500: corrupt"
    with canned({**pages, "/api/chat": (500, {"error": "out of memory"})}) as (url, _):
        point(light=url)
        _, report = doctor()
        assert findings(report, "light")[0][1] == "the model failed: HTTP 500: out of memory"


def test_a_model_that_takes_too_long_may_still_be_loading(simulator, point):
    point(light=simulator.url)
    simulator.script("qwen2.5:7b", Fault.stall())

    _, report = doctor("--timeout", "2")

    ((check, found, do),) = findings(report, "light")
    assert (check, found) == ("latency", "the model gave no answer in 2 s")
    assert "longer --timeout" in do


def test_a_vllm_that_takes_no_tools_is_told_its_flags(point, monkeypatch):
    refused = {"error": {"message": '"auto" tool choice requires --enable-auto-tool-choice'}}
    pages = {
        "/v1/models": (200, MODELS),
        "/v1/chat/completions": (200, CHAT),
        "/v1/chat/completions+tools": (400, refused),
    }
    monkeypatch.setenv("MODEL_HEAVY", "vllm/m")
    with canned(pages) as (url, seen):
        point(heavy=f"{url}/v1")
        code, report = doctor()
        ((check, found, do),) = findings(report, "heavy")
        assert (code, check) == (1, "tools")
        assert "--enable-auto-tool-choice" in found
        assert "heavy.tools = false" in do
        assert seen[1][2]["max_tokens"] == 1

        monkeypatch.setenv("TIERED_LLM_HEAVY__TOOLS", "false")
        assert doctor()[0] == 0


def test_a_tool_request_without_an_answer_is_not_checked(simulator, point):
    point(heavy=simulator.openai_url)
    simulator.script("qwen2.5:72b", None, Fault.stall())

    code, report = doctor("--timeout", "2")

    assert code == 0
    ((check, found, _),) = findings(report, "heavy", "not checked")
    assert (check, found) == ("tools", "the request with a tool gave no answer in 2 s")


def test_openai_is_asked_with_its_own_key_and_headers(point, monkeypatch):
    pages = {
        "/v1/models": (200, {"data": [{"id": "gpt"}, *({"id": f"m{n}"} for n in range(9))]}),
        "/v1/chat/completions": (200, CHAT),
    }
    with canned(pages) as (url, seen):
        point()
        monkeypatch.setenv("MODEL_HEAVY", "openai/gpt")
        monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv(
            "TIERED_LLM_HEAVY__MODEL_KWARGS", '{"default_headers": {"X-Team": "us"}}'
        )
        code, report = doctor()
        assert code == 0
        assert report["tiers"][0]["endpoint"] == f"{url}/v1"
        assert seen[0][1]["Authorization"] == f"Bearer {KEY}"
        assert seen[0][1]["X-Team"] == "us"
        assert seen[1][2]["max_completion_tokens"] == 1

        monkeypatch.setenv("MODEL_HEAVY", "openai/other")
        _, report = doctor()
        assert "correct the id" in findings(report, "heavy")[0][2]
        assert "and 5 more" in findings(report, "heavy")[0][2]


def test_a_key_that_no_header_can_carry_is_a_problem_not_a_traceback(point, monkeypatch):
    with canned({}) as (url, _):
        point(light=url)
        monkeypatch.setenv("TIERED_LLM_LIGHT__API_KEY", "schlüssel")
        code, report = doctor()

    assert code == 1
    assert "not ASCII" in findings(report, "light")[0][1]
    assert "schlüssel" not in json.dumps(report)


def test_another_provider_is_not_checked_and_says_so(point, monkeypatch):
    point()
    monkeypatch.setenv("MODEL_HEAVY", "anthropic/claude")

    code, report = doctor()

    assert code == 0
    found = findings(report, "heavy", "not checked")
    assert found == [("endpoint", "no probe for provider anthropic", "")]
    assert "heavy: anthropic/claude\n" in CliRunner().invoke(app, ["doctor"]).stdout


def test_the_command_in_a_process_of_its_own(simulator):
    variables = {
        **os.environ,
        **NO_PROXY,
        "MODEL_STANDARD": "none",
        "MODEL_HEAVY": "vllm/gone",
        "NO_COLOR": "1",
        "TIERED_LLM_LIGHT__BASE_URL": simulator.url,
        "TIERED_LLM_HEAVY__BASE_URL": simulator.openai_url,
        "TIERED_LLM_HEAVY__API_KEY": KEY,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tiered_llm", "doctor"],
        capture_output=True,
        text=True,
        check=False,
        env=variables,
    )

    assert done.returncode == 1
    assert "problem     model: gone is not served" in done.stdout
    assert "there are problems" in done.stdout
    assert "standard.model_id" in done.stdout
    assert KEY not in done.stdout + done.stderr
    assert done.stderr == ""
