"""Books that are wrong in one place: the reference's traces tell each from the right ones."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from conformance.ledger_traces import crowd_trace, differs, edge_trace, traces
from hand_clock import HandClock

from tiered_llm.budgets.ledgers import sqlite, sqlite_books

MUTANTS = [
    ("line.starts_s <= self._now_s < line.ends_s", "line.starts_s <= self._now_s <= line.ends_s"),
    ("if wanted > room:", "if wanted >= room:"),
    ("(room - line.fixed) // line.per_token", "room // line.per_token"),
    ("if not line.refuses or balance.limit is None:", "if balance.limit is None:"),
    ("            self._move(row, reserved=amount)\n", "            pass\n"),
    ('        self._turn(known.row, "settled")\n', ""),
    ("beyond = self._beyond(row, amount)", "pass"),
    ("beyond = max(0, amount - held)", "beyond = 0"),
    ("if self._move(row, settled=amount, overrun=beyond, **columns):", "if True:"),
    ('if known is None or known.state != "open":', "if known is None:"),
    (
        'return self._end(self._lease(group, lease), "voided")',
        "return self.orphan(group, lease, None)",
    ),
    ("held = self._cut(known, amounts)", "pass"),
    ("min(reserved, most)", "most"),
    ("UPDATE leases SET held = ? WHERE id = ?", "SELECT ?, ?"),
    ("self._move(row, reserved=left - reserved)", "pass"),
    ("if self._lease(ask.group, ask.lease) is not None:", "if False:"),
    ("beyond = _beyond(balance, amount)\n", "beyond = 0\n"),
    ("state = 'open' AND expires_s <= ?\"", "state = 'open' AND expires_s < ?\""),
    ("self._behind = len(due) == _SWEPT", "self._behind = False"),
    ('if state == "open" and expires_s <= self._now_s:', "if False:"),
    (
        "WHERE payer = ? AND name = ? AND (most, thresholds) IS NOT (?, ?)",
        "WHERE payer = ? AND name = ? AND ? IS NULL AND ?",
    ),
    ("line.limit if set_here is None else set_here[0]", "line.limit"),
    ('orphaned=amount if state == "orphaned" else 0', "orphaned=amount"),
    ("balance.limit - balance.overrun)", "balance.limit)"),
    ("100 * balance.charged >= threshold * limit", "100 * balance.charged > threshold * limit"),
    ("and self._first(row, threshold)", ""),
    ("ORDER BY id DESC", "ORDER BY id"),
    ("DELETE FROM limits WHERE payer = ? AND name = ?", "SELECT ?, ?"),
]


@pytest.fixture(scope="module")
def told():
    """Traces, made once."""
    return [edge_trace(), *traces(range(3), 500), crowd_trace()]


@pytest.fixture
def strays(tmp_path):
    """Whether a ledger in a file of its own answers otherwise than a trace has it."""

    def strays(number, trace):
        clock = HandClock(0.0)
        ledger = sqlite.SqliteLedger(tmp_path / f"{number}.db", clock)
        try:
            return differs(ledger, clock, trace) is not None
        finally:
            ledger.close()

    return strays


@pytest.fixture
def books_of(monkeypatch):
    """The books of a module that is made of a text."""
    return lambda text: _books_of(text, monkeypatch)


def _books_of(text, monkeypatch):
    spec = importlib.util.spec_from_loader("sqlite_books_mutant", loader=None)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where dataclasses look
    code = compile(text, "sqlite_books_mutant", "exec", dont_inherit=True)
    exec(code, module.__dict__)  # noqa: S102  # our own source, wrong in one place
    return module.Books


def test_the_right_books_follow_the_traces(told, strays):
    assert not any(strays(number, trace) for number, trace in enumerate(told))


@pytest.mark.parametrize("mutant", MUTANTS, ids=range(len(MUTANTS)))
def test_a_mutant_is_told(mutant, told, strays, books_of, monkeypatch):
    right, wrong = mutant
    text = Path(sqlite_books.__file__).read_text("utf-8")
    assert right in text, "the books have changed: change their mutant"
    monkeypatch.setattr(sqlite, "Books", books_of(text.replace(right, wrong)))
    assert any(strays(number, trace) for number, trace in enumerate(told))
