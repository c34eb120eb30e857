"""The ledgers of one machine, held to the laws and, step by step, to a plain reference."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from conformance.ledger_reference import ledger_machine
from hypothesis import settings

from tiered_llm.budgets.ledgers.memory import MemoryLedger
from tiered_llm.budgets.ledgers.sqlite import SqliteLedger
from tiered_llm.testing import LedgerLaws


class TestMemoryLedger(LedgerLaws):
    @pytest.fixture
    def ledger(self, clock):
        return MemoryLedger(clock)

    @pytest.fixture
    def kept(self, ledger):
        return lambda: sum(
            1 + len(group.accounts) + len(group.leases) for group in ledger._groups.values()
        )


class TestSqliteLedger(LedgerLaws):
    survives_restart = True

    @pytest.fixture
    def ledger(self, clock, tmp_path):
        ledger = SqliteLedger(tmp_path / "budgets.db", clock)
        yield ledger
        ledger.close()

    @pytest.fixture
    def kept(self, ledger, tmp_path):
        def count():
            with closing(sqlite3.connect(tmp_path / "budgets.db")) as rows:
                return sum(
                    rows.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]  # noqa: S608
                    for table in ("accounts", "leases", "raised")
                )

        return count

    @pytest.fixture
    def reopen(self, ledger, clock, tmp_path):
        reopened = []

        def again():
            ledger.close()
            reopened.append(SqliteLedger(f"sqlite:///{tmp_path}/budgets.db", clock))
            return reopened[0]

        yield again
        for one in reopened:
            one.close()


class InDirectory(SqliteLedger):
    """A ledger in a directory of its own, which goes with it."""

    def __init__(self, clock):
        self.directory = tempfile.TemporaryDirectory()
        super().__init__(Path(self.directory.name) / "budgets.db", clock)

    def close(self):
        super().close()
        self.directory.cleanup()


TestMemoryMachine = ledger_machine(MemoryLedger).TestCase
TestMemoryMachine.settings = settings(max_examples=500, stateful_step_count=100, deadline=None)

TestSqliteMachine = ledger_machine(InDirectory).TestCase
TestSqliteMachine.settings = settings(max_examples=500, stateful_step_count=100, deadline=None)
