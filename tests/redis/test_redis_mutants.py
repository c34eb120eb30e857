"""Scripts that are wrong in one place: each is told from the right ones.

A mutant is replayed traces of the reference, and looked at for what a trace does not show:
keys that stay for ever or go too soon, and a loss that nobody notices.
"""

from __future__ import annotations

from importlib.resources import files

import pytest
from conformance.ledger_traces import crowd_trace, differs, edge_trace, traces
from hand_clock import HandClock
from looks import LOOKS
from mutants import MUTANTS

from tiered_llm.budgets.errors import LedgerError
from tiered_llm.budgets.ledgers.redis import RedisLedger, store, wire

ALONE = ("accept", "now", "open")


def sources():
    """Every script's own text."""
    folder = files("tiered_llm.budgets.ledgers") / "lua"
    return {
        each.name.removesuffix(".lua"): each.read_text("utf-8")
        for each in folder.iterdir()
        if each.name.endswith(".lua")
    }


class Scripts(dict):
    """The scripts as they are sent, made of sources that may be wrong."""

    def __missing__(self, name):
        common = "" if name in ALONE else self.texts["common"]
        self[name] = wire.Script((common + self.texts[name]).encode())
        return self[name]

    def __init__(self, texts):
        super().__init__()
        self.texts = texts


@pytest.fixture
def put_in_place(monkeypatch, server):
    """Has every ledger run scripts of these sources."""

    def put(texts):
        with server.client() as admin:
            for name in texts:
                own = "" if name in {"common", *ALONE} else texts["common"]
                admin.script_load(own + texts[name])  # it must be Lua at least
        monkeypatch.setattr(store, "script", Scripts(texts).__getitem__)

    return put


class CountedClock(HandClock):
    """A clock that is asked once for each script; too often where one is run without an end."""

    def __init__(self):
        super().__init__(0.0)
        self.asked = 0

    def now(self):
        self.asked += 1
        assert self.asked < 5_000, "it has no end"
        return super().now()


class Bench:
    """A server, emptied for each look, and ledgers on it."""

    def __init__(self, server):
        self.server, self.clock = server, CountedClock()
        self.admin = server.client()
        self.made = []

    def ledger(self):
        self.made.append(RedisLedger(self.server.url, self.clock))
        return self.made[-1]

    def empty(self):
        self.close()
        self.admin.flushall()
        self.clock.now_s, self.clock.asked = 0.0, 0

    def close(self):
        for ledger in self.made:
            ledger.close()
        self.made.clear()

    def lives_s(self):
        """How long each key lives, in seconds; None for ever."""
        lives = {key: self.admin.pttl(key) for key in self.admin.scan_iter()}
        return {key: None if left < 0 else left / 1_000 for key, left in lives.items()}


@pytest.fixture
def bench(server):
    bench = Bench(server)
    yield bench
    bench.close()
    bench.admin.close()


@pytest.fixture(scope="module")
def told():
    """Traces, made once: the crowd's last, for it takes the longest."""
    return [edge_trace(), *traces(range(6), 700), crowd_trace()]


@pytest.mark.parametrize("look", LOOKS)
def test_the_right_scripts_stand_a_look(look, bench):
    bench.empty()
    look(bench)


def test_the_right_scripts_follow_the_traces(told, bench):
    assert not any(strays(bench, trace) for trace in told)


def is_told(bench, told):
    """Whether a mutant is told from the right scripts; what tells most is tried first."""
    edges, first, *others = told
    return (
        strays(bench, edges)
        or strays(bench, first)
        or any(fails(bench, look) for look in LOOKS)
        or any(strays(bench, trace) for trace in others)
    )


def strays(bench, trace):
    bench.empty()
    return differs(bench.ledger(), bench.clock, trace) is not None


def fails(bench, look):
    bench.empty()
    try:
        look(bench)
    except (AssertionError, LedgerError, LookupError, TypeError, ValueError, pytest.fail.Exception):
        return True
    return False


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param((name, *pair), id=f"{name}-{n}")
        for name, pairs in MUTANTS.items()
        for n, pair in enumerate(pairs)
    ],
)
def test_a_mutant_is_told(mutant, bench, told, put_in_place):
    name, right, wrong = mutant
    texts = sources()
    assert texts[name].count(right) == 1, "the script has changed: change its mutant"
    texts[name] = texts[name].replace(right, wrong)
    put_in_place(texts)
    assert is_told(bench, told)
