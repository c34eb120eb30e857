"""`report`, `decisions`, `why` beside applications: processes of their own, one real Redis."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tiered_llm.cli.errors import ExitCode

sys.path.append(str(Path(__file__).parents[1] / "redis"))

from redis_server import RedisServer, free_port

APPLICATION = """
import sys
from datetime import UTC, datetime
from tiered_llm import ModelMetricsCollector
from tiered_llm.metrics import AttemptRecord, CallRecord

metrics = ModelMetricsCollector(sys.argv[1])
for line in sys.stdin:
    attempt = AttemptRecord(tier="light", input_tokens=50, output_tokens=20, latency_s=1.0)
    metrics.record(
        CallRecord(
            run_id=line.strip(),
            at=datetime.now(UTC),
            tenant_id="canary-tenant",
            asked="light",
            answered="light",
            attempts=(attempt,),
        )
    )
    metrics.flush(30)
    print(metrics.dropped, flush=True)
"""

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def server():
    with RedisServer() as running:
        yield running


@pytest.fixture
def start():
    running = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.PIPE,
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


class Application:
    """A process that records a call for each name that it is told."""

    def __init__(self, process):
        self._process = process

    def record(self, run_id):
        """Have a call recorded; how many were dropped so far."""
        self._process.stdin.write(f"{run_id}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@pytest.fixture
def application(start, server):
    return lambda: Application(start("-c", APPLICATION, server.url))


def command(*words, code=ExitCode.OK):
    done = subprocess.run(
        [sys.executable, "-m", "tiered_llm", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    return done


def test_a_report_is_of_all_processes(application, server):
    for name, process in {"one": application(), "two": application()}.items():
        for number in range(3):
            assert process.record(f"run-{name}-{number}") == 0
    told = json.loads(command("report", "--json", "--store", server.url).stdout)
    assert told["distribution"]["calls"] == 6
    assert told["savings"]["tokens"] == 6 * 70
    rows = command("report", "--csv", "--store", server.url).stdout.splitlines()
    assert rows[0].startswith("hour,tier,asked,served")
    assert sum(int(row.split(",")[3]) for row in rows[1:]) == 6
    shown = command("report", "--tenant", "canary-tenant", "--store", server.url).stdout
    assert shown.startswith("6 calls of canary-tenant")


def test_why_finds_a_run_of_another_process_by_a_part_of_its_id(application, server):
    process = application()
    for run_id in ("aaaa-first", "aaaa-second"):
        process.record(run_id)
    found = command("why", "aaaa-f", "--store", server.url).stdout
    assert "run aaaa-first" in found
    assert "canary-tenant" not in found
    many = command("why", "aaaa", "--store", server.url, code=ExitCode.FAILED)
    assert (many.stdout, many.stderr.count("aaaa-")) == ("", 2)


def test_following_goes_on_when_redis_was_away_and_came_back_empty(application, server, start):
    process = application()
    for run_id in ("one", "two", "three"):
        process.record(run_id)
    words = ("decisions", "--follow", "--limit", "1", "--json", "--store", server.url)
    following = start("-m", "tiered_llm", *words)
    assert json.loads(following.stdout.readline())["run_id"] == "three"

    server.kill()
    assert following.stderr.readline().startswith("error: ")
    server.start()
    assert process.record("four") == 0
    assert json.loads(following.stdout.readline())["run_id"] == "four"

    following.send_signal(signal.SIGINT)
    out, err = following.communicate()
    assert (out, following.returncode) == ("", ExitCode.INTERRUPTED)
    assert "Traceback" not in err
    assert "canary" not in err


@pytest.mark.parametrize("words", ["report", "decisions", "decisions --follow", "why 0123"])
def test_a_redis_that_does_not_answer_is_told_in_a_line(words):
    url = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    done = command(*words.split(), "--store", url, code=ExitCode.UNREACHABLE)
    assert "error: " in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
