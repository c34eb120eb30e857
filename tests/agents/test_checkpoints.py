"""Checkpoints in memory, SQLite and PostgreSQL under strict msgpack: what is in them, and what a
process that is killed between two steps leaves to the one that goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from agents.postgres_server import PostgresServer

from tiered_llm.testing import Answer

PROGRAM = Path(__file__).with_name("checkpoint_program.py")
WAYS = (("graph", "sync"), ("graph", "async"), ("agent", "async"))
"""The ready graph, or `create_agent` with our middleware, and by which door it is run."""
SECRETS = (b"sk-canary", b"TieredChatModel", b"SecretStr", b"tiered_llm.tiers", b"ChatOpenAI")


@pytest.fixture(scope="module")
def postgres():
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def saver(request, tmp_path):
    if request.param == "postgres":
        return request.getfixturevalue("postgres").new_database()
    return "memory" if request.param == "memory" else str(tmp_path / "checkpoints.db")


@pytest.fixture(params=WAYS, ids="-".join)
def way(request):
    return request.param


@pytest.fixture
def served(simulated_tiers, clean_environment):
    call = Answer(tool_calls=[{"name": "look", "args": {"what": "sky"}}])
    simulated_tiers.heavy.script("qwen2.5:72b", call, Answer(text="It is blue."))
    return simulated_tiers


@pytest.fixture
def run(way, saver, served, tmp_path):
    """One process; its exit code and what it printed."""
    urls = [served.light.url, served.standard.url, served.heavy.openai_url]
    fixed = (*way, saver, tmp_path / "marker", f"sqlite:///{tmp_path}/budgets.db", *urls)

    def run(phase):
        done = subprocess.run(
            [sys.executable, str(PROGRAM), *map(str, fixed), phase],
            env={**os.environ, "LANGGRAPH_STRICT_MSGPACK": "true"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


def written(saver, tmp_path):
    """Every byte that a checkpointer keeps."""
    if saver.startswith("postgres"):
        tables = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
        with psycopg.connect(saver) as connection:
            rows = [connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables]  # noqa: S608
        return repr(rows).encode()
    name = "marker.memory" if saver == "memory" else "checkpoints.db*"
    return b"".join(path.read_bytes() for path in tmp_path.glob(name))


def test_the_state_comes_back_as_it_went(run, way, saver, tmp_path):
    (tmp_path / "marker").touch()
    code, out, err = run("begin")
    assert code == 0, err
    told = json.loads(out)
    assert told["types"] == ["human", "ai", "tool", "ai"]
    assert set(told["kinds"]) == {
        "langchain_core.messages.ai", "langchain_core.messages.human",
        "langchain_core.messages.tool",
    }  # fmt: skip
    assert told["tiers"] == ["heavy", "heavy"]
    assert isinstance(told["routing"]["reasons"], list)
    if way[0] == "graph":
        assert told["estimate"]["recommended_tier"] == "light"
    assert (told["used"], told["reserved"], told["orphaned"]) == (told["usage"], 0, 0)
    assert "unregistered" not in err
    assert "Blocked" not in err
    found = written(saver, tmp_path)
    assert b"task_type: pick heavy" in found
    assert not [secret for secret in SECRETS if secret in found]


@pytest.mark.parametrize("saver", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize("way", [WAYS[0], WAYS[2]], ids="-".join, indirect=True)
def test_a_process_that_is_killed_between_steps_leaves_the_rest_to_another(run, served):
    code, _, _ = run("begin")
    assert code == -signal.SIGKILL
    assert len(served.heavy.requests) == 1
    code, out, err = run("resume")
    assert code == 0, err
    told = json.loads(out)
    assert told["types"] == ["human", "ai", "tool", "ai"]
    assert told["tiers"] == ["heavy", "heavy"]  # held; who resumed it did not know the task
    assert len(served.heavy.requests) == 2
    billed = sum(each.input_tokens + each.output_tokens for each in served.heavy.requests)
    assert (told["used"], told["reserved"], told["orphaned"]) == (billed, 0, 0)
    assert billed == told["usage"]
