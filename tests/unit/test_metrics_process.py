"""The collector and its process: a full disk, the end, forks, and being forgotten."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import warnings
import weakref
from datetime import UTC, datetime

import pytest

from tiered_llm.metrics import CallRecord, ModelMetricsCollector
from tiered_llm.metrics.logs.sqlite import SqliteLog


def call(run_id):
    return CallRecord(run_id=run_id, at=datetime.now(UTC), asked="light", answered="light")


def calls_in(path):
    collector = ModelMetricsCollector(log=SqliteLog(path))
    found = collector.get_tier_distribution()["calls"]
    collector.close()
    return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.db"


FULL = """
import os, resource, signal, sys
from datetime import UTC, datetime
from tiered_llm.metrics import CallRecord, ModelMetricsCollector

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
metrics = ModelMetricsCollector(store=f"sqlite:///{sys.argv[1]}")

def record(at):
    metrics.record(CallRecord(run_id=str(at), at=datetime.now(UTC), asked="light", node="x" * 4000))
    assert metrics.flush(20.0)

record(0)
assert metrics.dropped == 0
used = os.path.getsize(sys.argv[1]) + 200_000
resource.setrlimit(resource.RLIMIT_FSIZE, (used, used))
for at in range(1, 400):
    record(at)
assert 0 < metrics.dropped < 399, metrics.dropped
print(metrics.dropped)
"""


def test_a_full_disk_loses_decisions_and_no_call(path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr.count("decisions are dropped")) == (0, 1), done.stderr
    assert calls_in(path) == 400 - int(done.stdout)


END = """
import sys
from datetime import UTC, datetime
from tiered_llm.metrics import CallRecord, ModelMetricsCollector

metrics = ModelMetricsCollector(store=f"sqlite:///{sys.argv[1]}")
for at in range(700):
    metrics.record(CallRecord(run_id=str(at), at=datetime.now(UTC), asked="light"))
"""
ENDS = {
    "as it should": "",
    "sys.exit": "sys.exit(0)",
    "Ctrl-C": "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nsignal.pause()",
    "an error": "raise SystemError",
    "a child of multiprocessing": None,
}
CHILD = """
import multiprocessing

def work(path):
    for at in range(700, 900):
        metrics.record(CallRecord(run_id=str(at), at=datetime.now(UTC), asked="light"))

child = multiprocessing.get_context("fork").Process(target=work, args=(sys.argv[1],))
child.start()
child.join()
assert child.exitcode == 0
"""


@pytest.mark.parametrize("how", ENDS)
def test_the_end_of_a_process_writes_what_there_is(path, how):
    program = END + (ENDS[how] if ENDS[how] is not None else CHILD)
    subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, timeout=60, check=False
    )
    assert calls_in(path) == (900 if how == "a child of multiprocessing" else 700)


FORK = """
import os, sys
from datetime import UTC, datetime
from tiered_llm.metrics import CallRecord, ModelMetricsCollector

def record(name):
    metrics.record(CallRecord(run_id=name, at=datetime.now(UTC), asked="light"))

metrics = ModelMetricsCollector(store=f"sqlite:///{sys.argv[1]}")
for at in range(20):
    record(f"parent-{at}")
    child = os.fork()
    if not child:
        record(f"child-{at}")
        done = metrics.flush(20.0) and metrics.dropped == 0
        os._exit(0 if done else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0, at
assert metrics.flush(20.0)
"""


def test_forks_write_their_own(path):
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert calls_in(path) == 40


def test_a_fork_of_a_memory_store_has_a_copy():
    metrics = ModelMetricsCollector()
    metrics.record(call("1"))
    assert metrics.get_tier_distribution()["calls"] == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 on: a fork among threads
        child = os.fork()
    if child == 0:
        metrics.record(call("2"))
        os._exit(metrics.get_tier_distribution()["calls"])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert metrics.get_tier_distribution()["calls"] == 1
    metrics.close()


def test_what_is_no_longer_used_writes_the_rest_and_ends(path):
    collector = ModelMetricsCollector(store=f"sqlite:///{path}")
    collector.record(call("1"))
    thread, gone = collector._writer._thread, weakref.ref(collector._writer)
    del collector
    gc.collect()
    thread.join(20)
    assert not thread.is_alive()
    assert calls_in(path) == 1
    del thread
    gc.collect()
    assert gone() is None
