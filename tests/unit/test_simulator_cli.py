from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import httpx
import pytest
import typer
from typer.testing import CliRunner

from tiered_llm.cli import simulate as module
from tiered_llm.testing import Simulator

START = "import typer; from tiered_llm.cli.simulate import simulate; typer.run(simulate)"


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(module.simulate)
    return lambda *args: CliRunner().invoke(app, args)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_end(end):
    command = [sys.executable, "-c", START, "--port", "0", "--json", "-m", "a", "-m", "b"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        ready = json.loads(process.stdout.readline())
        assert ready["models"] == ["a", "b"]
        assert ready["openai_url"] == ready["url"] + "/v1"
        assert "NO MODEL" in ready["note"]
        assert len(httpx.get(f"{ready['url']}/api/tags").json()["models"]) == 2
        process.send_signal(end)
        assert process.wait() == 0


@pytest.fixture
def ended_at_once(monkeypatch):
    announce = module._announce

    def announce_and_end(simulator, *, as_json):
        announce(simulator, as_json=as_json)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(module, "_announce", announce_and_end)


@pytest.mark.usefixtures("ended_at_once")
def test_the_banner_says_that_no_model_is_behind_it(run):
    before = signal.getsignal(signal.SIGINT)
    result = run("--port", "0", "--model", "m", "--latency", "0.1", "--host", "localhost")
    assert result.exit_code == 0
    assert "NO MODEL IS BEHIND THIS" in result.output
    assert "/v1" in result.output
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("ended_at_once")
def test_json_is_one_line(run):
    assert json.loads(run("--port", "0", "--json").output)["models"] == [
        "qwen2.5:7b",
        "qwen2.5:32b",
        "qwen2.5:72b",
    ]


@pytest.mark.parametrize("host", ["0.0.0.0", "example.com"])  # noqa: S104 - must be refused
def test_other_hosts_are_refused(run, host):
    result = run("--host", host)
    assert result.exit_code == 2
    assert f"{host} is not a loopback address" in result.output
    assert "--expose" in result.output


@pytest.mark.usefixtures("ended_at_once")
def test_other_hosts_are_served_if_asked_for(run):
    assert run("--host", "0.0.0.0", "--port", "0", "--expose").exit_code == 0  # noqa: S104


def test_a_taken_port_is_told(run):
    with Simulator([]) as sim:
        result = run("--port", sim.url.rpartition(":")[2])
    assert result.exit_code == 2
    assert "--port 0 takes a free port" in result.output
