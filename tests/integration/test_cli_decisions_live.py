"""`decisions --follow` and `metrics serve` as processes: they go on, and Ctrl-C ends them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime

import httpx
import pytest

from tiered_llm import ModelMetricsCollector
from tiered_llm.cli.errors import ExitCode
from tiered_llm.metrics import CallRecord

STORE = "sqlite:///decisions.db"

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def log():
    made = ModelMetricsCollector(STORE)
    record(made, "first")
    yield made
    made.close()


def record(metrics, run_id):
    at = datetime.now(UTC)
    metrics.record(CallRecord(run_id=run_id, at=at, asked="light", answered="light"))
    assert metrics.flush()


@pytest.fixture
def start():
    running = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "-m", "tiered_llm", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_following_shows_what_another_process_records_line_by_line(log, start):
    following = start("decisions", "--follow", "--json", "--store", STORE)
    assert json.loads(following.stdout.readline())["run_id"] == "first"
    record(log, "second")
    assert json.loads(following.stdout.readline())["run_id"] == "second"
    following.send_signal(signal.SIGINT)
    out, err = following.communicate()
    assert (out, following.returncode) == ("", ExitCode.INTERRUPTED)
    assert "Traceback" not in err


def test_the_page_is_served_until_it_is_interrupted(log, start):
    serving = start("metrics", "serve", "--port", "0", "--store", STORE)
    url = serving.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/metrics", url)
    with httpx.Client() as client:
        before = client.get(url).text
        record(log, "second")
        after = client.get(url).text
    assert 'tiered_llm_answered_tier="light",tiered_llm_tier="light"} 1.0' in before
    assert 'tiered_llm_answered_tier="light",tiered_llm_tier="light"} 2.0' in after
    serving.send_signal(signal.SIGINT)
    _, err = serving.communicate()
    assert "Traceback" not in err
    assert serving.returncode in {ExitCode.OK, ExitCode.INTERRUPTED}


def test_a_port_that_is_taken_is_told(log, start):
    first = start("metrics", "serve", "--port", "0", "--store", STORE)
    port = first.stdout.readline().strip().rpartition(":")[2].partition("/")[0]
    second = start("metrics", "serve", "--port", port, "--store", STORE)
    _, err = second.communicate()
    assert second.returncode == ExitCode.USAGE
    assert "--port 0 takes a free port" in err
