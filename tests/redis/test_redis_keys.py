"""What stands in the store: no name in the clear, no clash, no key that stays for ever."""

from __future__ import annotations

from asks import ask
from redis.crc import key_slot

from tiered_llm.budgets.ledger import KEPT_S
from tiered_llm.budgets.ledgers.redis.names import PREFIX, Names, slot_keys, slot_of

LASTING = (f"{PREFIX}{{store}}",)


def test_no_name_is_stored_in_the_clear(make, server):
    ledger = make()
    ledger.reserve(ask("leaseid", "accountname", group="tenantname", limit=100))
    ledger.set_limit("tenantname", "accountname", 500)
    assert [alert.group for alert in ledger.alerts()] == ["tenantname"] * 2
    with server.client() as client:
        texts = b"".join(key + client.dump(key) for key in client.scan_iter())
    assert not [name for name in (b"leaseid", b"accountname", b"tenantname") if name in texts]


def test_hostile_groups_have_keys_and_slots_of_their_own():
    names = Names("a secret")
    odd = ["", "}", "{", "{}", "{a}b", "a}{b", "\0", "\ud800", "\n", "*", "store", "*" * 10_000]
    groups = [*odd, *(f"tenant-{n}" for n in range(50_000)), *(f"{{x}}{n}" for n in range(50_000))]
    tags = {names.tag(group) for group in groups}
    assert len(tags) == len(groups)
    for tag in list(tags)[:2_000]:
        keys = [
            f"{PREFIX}{{{tag.decode()}}}{rest}" for rest in ("", ":a:x", ":l:}", ":{y}", ":limits")
        ]
        slots = {key_slot(key.encode()) for key in (*keys, slot_keys()[slot_of(tag)])}
        assert slots == {key_slot(tag)}


def test_sealed_names_come_back_and_differ_between_groups():
    names = Names("a secret")
    for name in ("", "a", "x" * 1_000, "\ud800", "a b|c\n\0"):
        sealed = names.sealed(b"tag", name)
        assert names.unsealed(b"tag", sealed) == name
        assert set(sealed).isdisjoint(b" |{}")
        assert sealed != names.sealed(b"other", name)


def test_every_key_has_an_end(make, server):
    ledger = make()
    ends_s = ledger.now_s() + 1_000
    for n in range(30):
        ledger.reserve(ask(f"{n}", "day", "month", limit=2_000, ttl_s=5.0, ends_s=ends_s))
        end = (ledger.orphan, ledger.void, lambda g, ls: ledger.settle(g, ls, (1, 1)))[n % 3]
        end("payer", f"{n}")
    ledger.record(ask("r", ends_s=ends_s), (9_000,))
    with server.client() as client:
        kept = {key: client.pttl(key) for key in client.scan_iter()}
    endless = [key for key, left_ms in kept.items() if left_ms < 0]
    assert all(key.startswith(LASTING[0].encode()) for key in endless)
    assert len(endless) == 2
    assert max(kept.values()) <= (KEPT_S + 1_000) * 1_000
    assert any(b":alerts" in key for key in kept)


def test_what_is_recorded_too_late_is_not_kept(make, server):
    ledger = make()
    assert ledger.record(ask("r", ends_s=1_000.0), (5,)).ended == "settled"
    with server.client() as client:
        assert not list(client.scan_iter(match=f"{PREFIX}*:[al]:*"))


def test_an_expired_crowd_is_put_away_in_bounded_steps(make, hand_clock):
    ledger = make(clock=hand_clock)
    for n in range(250):
        ledger.reserve(ask(f"{n}", limit=100_000))
    hand_clock.now_s = 60.0
    assert ledger.void("payer", "249").ended == "already"
    assert ledger.balances("payer", ("day",))[0].orphaned == 25_000
