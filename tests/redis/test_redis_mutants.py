"""Scripts that are wrong in one place: the reference tells each from the right ones."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import pytest
from conformance.ledger_reference import ledger_machine
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tiered_llm.budgets.ledgers import redis as module

MUTANTS = [
    ("common", "+ account.orphaned", ""),
    ("common", "+ account.reserved", ""),
    ("common", "charged(account) >= mark.due", "charged(account) > mark.due"),
    ("common", "account.label = account.label .. ' '", "local _ = ' '"),
    ("common", "if account.limit ~= limit or", "if"),
    ("reserve", "line.wanted > room", "line.wanted >= room"),
    ("reserve", "line.refuses == 1 and", "line.refuses == 0 and"),
    ("reserve", "line.refuses == 1 and", ""),
    ("reserve", "math.min(tokens, math.floor", "math.max(tokens, math.floor"),
    ("reserve", "(room - line.fixed)", "room"),
    ("reserve", "now < line.starts or now >= line.ends", "now < line.starts"),
    ("reserve", "if known then", "if false then"),
    ("reserve", "for i, account in ipairs(accounts) do", "for i, account in ipairs({}) do"),
    ("reserve", "account.reserved = account.reserved + held", ""),
    ("reserve", "call('ZADD', group, expires, ARGV[4])", ""),
    ("settle", "math.max(0, amount - held[i])", "0"),
    ("settle", "account.settled = account.settled + amount", ""),
    ("settle", "keep(lease, 's')", ""),
    ("record", "if lease_of(ARGV[4], texts[2]) then", "if false then"),
    ("record", "account.overrun = account.overrun + beyond", ""),
    ("set_limit", "call('DEL', group .. ':limited')", "call('HDEL', group, 'x')"),
]


@pytest.mark.parametrize(("script", "right", "wrong"), MUTANTS)
def test_a_mutant_is_told(script, right, wrong, server, monkeypatch):
    folder = files("tiered_llm.budgets.ledgers") / "lua"
    texts = {one: (folder / f"{one}.lua").read_text("utf-8") for one in ("common", script)}
    assert right in texts[script], "the script has changed: change its mutant"
    texts[script] = texts[script].replace(right, wrong, 1)
    real = module._script

    def mutated(name):
        text = real(name)[0].removeprefix(real_common)
        if name not in {"open", "accept", "now"}:
            text = texts["common"] + (texts[script] if name == script else text)
        return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    real_common = (folder / "common.lua").read_text("utf-8")
    monkeypatch.setattr(module, "_script", mutated)

    def emptied(clock):
        with server.client() as client:
            client.flushall()
        return module.RedisLedger(server.url, clock)

    with pytest.raises((AssertionError, module.LedgerError, ExceptionGroup)):
        run_state_machine_as_test(
            ledger_machine(emptied),
            settings=settings(
                max_examples=20,
                stateful_step_count=60,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
                report_multiple_bugs=False,
            ),
        )
