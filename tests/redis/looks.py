"""What a trace does not show: keys that stay for ever or go too soon, a loss nobody notices."""

from __future__ import annotations

from dataclasses import replace

import pytest
from asks import ask

from tiered_llm.budgets.errors import LedgerLostError
from tiered_llm.budgets.ledger import KEPT_S, Balance
from tiered_llm.budgets.ledgers.redis import store
from tiered_llm.budgets.ledgers.redis.names import PREFIX

DAY_S, MONTH_S = 86_400.0, 30 * 86_400.0


def keys_live_as_long_as_they_are_needed(bench):
    ledger = bench.ledger()
    ends = {"day": DAY_S, "month": MONTH_S}
    for lease, how in (("1", "settle"), ("2", "orphan"), ("3", "void"), ("4", ""), ("5", "")):
        ledger.reserve(ask(lease, "month", ends_s=MONTH_S, ttl_s=9_000.0))
        ledger.reserve(ask(f"short {lease}", "day", ends_s=DAY_S, limit=500, ttl_s=50.0))
        if how == "settle":
            ledger.settle("payer", lease, (1,))
        elif how in {"orphan", "void"}:
            getattr(ledger, how)("payer", lease)
    ledger.record(ask("6", "month", ends_s=MONTH_S), (950,))  # its alerts live as long as it
    ledger.record(ask("7", "day", ends_s=DAY_S), (1,))
    assert ledger.record(ask("8", "past", ends_s=-KEPT_S), (950,)).alerts == ()
    ledger.set_limit("payer", "month", 5_000)
    lives = bench.lives_s()
    lasting = [key.rpartition(b"}")[2] for key, left in lives.items() if left is None]
    assert sorted(lasting)[-2:] == [b":limited", b":limits"]
    assert len(lasting) == 4, "the generation and its count are the others"
    for part, kind, count in ((b":a:", "account", 2), (b":l:", "lease", 12)):
        lefts = [left for key, left in lives.items() if part in key]
        near = [round((left - KEPT_S) / DAY_S, 1) for left in lefts]
        assert set(near) == {1.0, 30.0}, kind
        assert len(near) == count, kind
    group = next(key for key in lives if key.endswith(b"}") and b"store" not in key)
    for key in (group, group + b":alerts"):
        assert lives[key] == pytest.approx(ends["month"] + KEPT_S, abs=DAY_S / 10)
    assert 0 < lives[group + b":next"] <= KEPT_S


def a_set_of_leases_lives_as_long_as_they(bench):
    ledger = bench.ledger()
    ledger.reserve(ask("1", "day", ends_s=DAY_S, ttl_s=10.0))
    first = next(bench.admin.scan_iter(match=f"{PREFIX}*:a:*")).partition(b":a:")[0]
    members = [bench.admin.zrange(first, 0, -1, withscores=True)]
    ledger.settle("payer", "1", (5,))
    members.append(bench.admin.zrange(first, 0, -1, withscores=True))
    assert [len(each) for each in members] == [2, 1]
    assert members[1] == [(b"", float("inf"))]
    ledger.reserve(ask("2", "day", ends_s=DAY_S, ttl_s=10.0))
    bench.clock.now_s = 10.0
    ledger.balances("payer", ("day",))
    assert bench.admin.zcard(first) == 1


def a_set_of_leases_outlives_an_account_that_is_older(bench):
    ledger = bench.ledger()
    ledger.reserve(ask("1", "account", ends_s=DAY_S))
    ledger.reserve(ask("2", "account", ends_s=MONTH_S))
    first = next(bench.admin.scan_iter(match=f"{PREFIX}*:a:*")).partition(b":a:")[0]
    assert bench.lives_s()[first] > MONTH_S


def all_is_forgotten_at_its_instant(bench):
    ledger = bench.ledger()
    ledger.reserve(ask("1", ends_s=DAY_S, ttl_s=MONTH_S))
    bench.clock.now_s = DAY_S + KEPT_S
    assert ledger.balances("payer", ("day",)) == (Balance(account="day"),)
    assert ledger.settle("payer", "1", (1,)).ended == "unknown"


def the_wrong_number_of_amounts_is_refused(bench):
    ledger = bench.ledger()
    ledger.reserve(ask("1", "a", "b"))
    for end in (ledger.settle, ledger.orphan):
        with pytest.raises(ValueError, match="as many amounts"):
            end("payer", "1", (1,))


def thresholds_are_those_of_the_last_ask(bench):
    ledger = bench.ledger()
    ledger.record(ask("1"), (200,))
    wanted = ask("2")
    lines = (replace(wanted.lines[0], thresholds=(20,)),)
    assert [a.threshold for a in ledger.record(replace(wanted, lines=lines), (1,)).alerts] == [20]


def a_closed_lease_keeps_only_what_a_settle_needs(bench):
    ledger = bench.ledger()
    sizes = {}
    for how in ("settle", "void", "orphan"):
        ledger.reserve(ask("1", group=how))
        end = getattr(ledger, how)
        end(how, "1", (5,)) if how == "settle" else end(how, "1")
        (key,) = bench.admin.scan_iter(match=f"{PREFIX}*:l:*")
        sizes[how] = bench.admin.strlen(key)
        bench.admin.delete(key)
    assert sizes["settle"] == sizes["void"] < sizes["orphan"]


def a_loss_is_noticed(bench):
    for steps in (1, 3):
        bench.empty()
        ledger = bench.ledger()
        for n in range(steps):
            ledger.reserve(ask(f"{n}"))
        bench.admin.flushall()
        for _ in range(steps + 3):  # however often it is asked
            with pytest.raises(LedgerLostError):
                ledger.reserve(ask("again"))
        assert not [key for key in bench.admin.scan_iter() if b":a:" in key]


def an_old_count_is_noticed(bench):
    ledger = bench.ledger()
    ledger.reserve(ask("0"))
    (counted,) = [key for key in bench.admin.scan_iter() if b"{store}:" in key]
    was = bench.admin.get(counted)
    ledger.reserve(ask("1"))
    bench.admin.set(counted, was)
    with pytest.raises(LedgerLostError):
        ledger.reserve(ask("again"))
    assert bench.admin.get(counted) == was, "it is not counted: else it would catch up"


def a_loss_after_a_mere_look_is_noticed(bench):
    ledger = bench.ledger()
    assert ledger.alerts() == ()
    bench.admin.flushall()
    with pytest.raises(LedgerLostError):
        ledger.reserve(ask("1"))
    assert not list(bench.admin.scan_iter()), "nothing was begun anew"


def a_loss_that_was_accepted_is_followed(bench):
    first, other = bench.ledger(), bench.ledger()
    for ledger in (first, other):
        ledger.reserve(ask("1"))
    secret = bench.admin.hget(f"{PREFIX}{{store}}", "secret")
    bench.admin.flushall()
    with pytest.raises(LedgerLostError):
        other.reserve(ask("2"))
    for _ in range(2):
        first.accept_loss()
        for ledger in (first, other, bench.ledger()):
            assert ledger.reserve(ask("3")).tokens == 100
    assert bench.admin.hget(f"{PREFIX}{{store}}", "secret") not in {None, b"", secret}


def a_loss_is_accepted_though_the_servers_clock_went_back(bench):
    bench.ledger().limits("payer")
    bench.admin.hset(f"{PREFIX}{{store}}", "since", 5 * 10**15)
    first, other = bench.ledger(), bench.ledger()
    for ledger in (first, other):
        ledger.reserve(ask("1"))
    first.accept_loss()
    assert other.reserve(ask("2")).tokens == 100


def accepting_in_an_empty_store_keeps_the_secret(bench):
    text, key = store.script("accept")._text, f"{PREFIX}{{store}}"
    bench.admin.eval(text, 1, key, "id", "the secret")
    bench.admin.eval(text, 1, key, "id", "another")
    assert bench.admin.hget(key, "secret") == b"the secret"


def limits_are_looked_up_where_there_are_any(bench):
    ledger = bench.ledger()
    ledger.set_limit("payer", "day", 50)
    ledger.set_limit("payer", "month", 50)
    ledger.set_limit("payer", "month", None)
    assert ledger.reserve(ask("1", least=0)).tokens == 50
    ledger.set_limit("payer", "day", None)
    assert ledger.reserve(ask("2", least=0)).tokens == 100
    assert not list(bench.admin.scan_iter(match="*:limit*"))


def the_largest_thresholds_are_exact(bench):
    ledger = bench.ledger()
    most = 10**15 - 1  # 80 % of it ends in .2
    for charged, alerts in ((799_999_999_999_999, 0), (1, 1)):
        ended = ledger.record(ask(f"{charged}", limit=most), (charged,))
        assert len(ended.alerts) == alerts


LOOKS = [
    a_set_of_leases_outlives_an_account_that_is_older,
    all_is_forgotten_at_its_instant,
    the_wrong_number_of_amounts_is_refused,
    thresholds_are_those_of_the_last_ask,
    a_loss_is_accepted_though_the_servers_clock_went_back,
    accepting_in_an_empty_store_keeps_the_secret,
    keys_live_as_long_as_they_are_needed,
    a_set_of_leases_lives_as_long_as_they,
    a_closed_lease_keeps_only_what_a_settle_needs,
    a_loss_is_noticed,
    an_old_count_is_noticed,
    a_loss_after_a_mere_look_is_noticed,
    a_loss_that_was_accepted_is_followed,
    limits_are_looked_up_where_there_are_any,
    the_largest_thresholds_are_exact,
]
