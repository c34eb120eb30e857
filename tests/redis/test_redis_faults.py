"""What goes wrong in a store: no overspend, a clear error, and it recovers by itself."""

from __future__ import annotations

import shutil
import socket
import threading
from contextlib import closing

import pytest
from asks import ask
from redis_server import RedisServer, free_port

from tiered_llm.budgets.errors import LedgerError, LedgerLostError
from tiered_llm.budgets.ledger import Granted
from tiered_llm.budgets.ledgers.redis import RedisLedger, library
from tiered_llm.budgets.manager import BudgetManager
from tiered_llm.budgets.outage import AWAY_S
from tiered_llm.errors import ConfigurationError


def test_scripts_that_were_flushed_are_sent_again(make, server):
    ledger = make()
    ledger.reserve(ask("1"))
    with server.client() as client:
        client.script_flush()
    assert ledger.settle("payer", "1", (5,)).ended == "settled"


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_restart_with_an_append_only_file_recovers_by_itself(make, end):
    with RedisServer("--appendonly", "yes") as server:
        ledger = make(server.url)
        ledger.reserve(ask("1"))
        getattr(server, end)()
        with pytest.raises(LedgerError, match="cannot be reached"):
            ledger.reserve(ask("2"))
        server.start()
        assert ledger.settle("payer", "1", (30,)).ended == "settled"
        assert ledger.balances("payer", ("day",))[0].settled == 30


def test_wiped_keys_are_noticed_until_they_are_accepted(make, server):
    ledgers = [make(), make()]
    for ledger in ledgers:
        ledger.reserve(ask("1"))
    with server.client() as client:
        client.flushall()
    newcomer = make()
    newcomer.reserve(ask("2", "other"))
    for ledger in ledgers * 2:
        for refused in (
            lambda ledger=ledger: ledger.reserve(ask("3")),
            lambda ledger=ledger: ledger.balances("another", ("day",)),
            lambda ledger=ledger: ledger.limits("payer"),
            ledger.alerts,
        ):
            with pytest.raises(LedgerLostError, match="lost what it held"):
                refused()
    ledgers[0].accept_loss()
    for ledger in (*ledgers, newcomer):
        assert isinstance(ledger.reserve(ask("4")), Granted)
    assert newcomer.balances("payer", ("day", "other"))[1].reserved == 100


def test_an_old_dump_is_noticed_and_the_right_one_recovers(make, tmp_path):
    with RedisServer("--appendonly", "no", "--dbfilename", "dump.rdb") as server:
        ledger = make(server.url)
        ledger.reserve(ask("1"))
        dump = server.directory / "dump.rdb"
        for name in ("old", "new"):
            with server.client() as client:
                client.save()
            shutil.copy(dump, tmp_path / name)
            ledger.reserve(ask("2"))
        server.kill()
        shutil.copy(tmp_path / "old", dump)
        server.start()
        with pytest.raises(LedgerLostError, match="lost what it held"):
            ledger.reserve(ask("3"))
        ledger.accept_loss()
        assert ledger.balances("payer", ("day",))[0].reserved == 100


def test_nobody_there(make):
    port = free_port()
    ledger = make(f"redis://user:s3cret@127.0.0.1:{port}/0")
    with pytest.raises(LedgerError, match=rf"127\.0\.0\.1:{port} cannot be reached") as failure:
        ledger.reserve(ask("1"))
    assert "s3cret" not in str(failure.value)


async def test_nobody_there_on_the_loop(make):
    with pytest.raises(LedgerError, match="cannot be reached"):
        await make(f"redis://127.0.0.1:{free_port()}/0").areserve(ask("1"))


@pytest.mark.parametrize("credentials", ["", ":wrong@", "someone:wrong@"])
def test_a_wrong_password(make, credentials):
    with RedisServer("--requirepass", "right") as server:
        url = server.url.replace("//", f"//{credentials}")
        with pytest.raises(LedgerError, match="refused the name or password"):
            make(url).reserve(ask("1"))
        right = make(server.url.replace("//", "//:right@"))
        assert isinstance(right.reserve(ask("1")), Granted)


def test_a_server_that_hangs_is_asked_twice_and_recovers(make, server):
    ledger = make(timeout_s=0.05)
    ledger.reserve(ask("1"))
    with server.client() as admin:
        admin.client_pause(100_000, all=False)
        with pytest.raises(LedgerError, match=r"did not answer within 0\.05 s"):
            ledger.reserve(ask("2"))
        admin.client_unpause()
    assert ledger.reserve(ask("2")) == Granted(tokens=100)
    assert ledger.balances("payer", ("day",))[0].reserved == 200


def test_a_server_that_stands_still_is_waited_for_no_longer_than_said_and_recovers(make):
    with RedisServer("--appendonly", "no") as server:
        ledger = make(server.url, timeout_s=0.05)
        ledger.reserve(ask("1"))
        server.stand_still()
        for _ in range(2):
            with pytest.raises(LedgerError, match=r"did not answer within 0\.05 s"):
                ledger.reserve(ask("2"))
        server.go_on()
        patient = make(server.url)
        assert patient.reserve(ask("2")) == Granted(tokens=100)
        assert ledger.settle("payer", "1", (5,)).ended == "settled"
        assert patient.balances("payer", ("day",))[0].reserved == 100


def test_a_full_server(make, server):
    ledger = make()
    ledger.reserve(ask("1"))
    with server.client() as admin:
        admin.config_set("maxmemory", 1)
        try:
            with pytest.raises(LedgerError, match="out of memory"):
                ledger.reserve(ask("2"))
        finally:
            admin.config_set("maxmemory", 0)
    assert ledger.balances("payer", ("day",))[0].reserved == 100


def test_a_server_that_may_evict_is_refused(make, server):
    with server.client() as admin:
        admin.config_set("maxmemory", "100mb")
        admin.config_set("maxmemory-policy", "volatile-lru")
        try:
            with pytest.raises(LedgerLostError, match="noeviction"):
                make().reserve(ask("1"))
        finally:
            admin.config_set("maxmemory-policy", "noeviction")
            admin.config_set("maxmemory", 0)


def test_a_replica(make, server):
    options = ("--appendonly", "no", "--replicaof", f"127.0.0.1 {server.port}")
    refused = pytest.raises(LedgerError, match="name the primary")
    with RedisServer(*options) as replica, refused:
        make(replica.url).reserve(ask("1"))


def test_another_secret(make):
    make(secret="one").reserve(ask("1"))
    for ledger in (make(secret="another"), make()):
        with pytest.raises(LedgerLostError, match="another secret"):
            ledger.reserve(ask("1"))


def wipe(server):
    with server.client() as admin:
        admin.flushall()


def restart_empty(server):
    server.kill()
    shutil.rmtree(server.directory / "appendonlydir")
    server.start()


def give_to_another(server):
    wipe(server)
    with closing(RedisLedger(server.url, secret="another")) as other:
        other.reserve(ask("1"))
        other.accept_loss()


def let_evict(server):
    with server.client() as admin:
        admin.config_set("maxmemory", "100mb")
        admin.config_set("maxmemory-policy", "allkeys-lru")


@pytest.mark.parametrize(
    ("trouble", "known"),
    [
        (wipe, True),
        (restart_empty, True),
        (give_to_another, True),
        (give_to_another, False),
        (let_evict, False),
    ],
)
def test_nothing_goes_on_with_a_store_that_is_there_and_cannot_be_trusted(
    make, hand_clock, trouble, known
):
    with RedisServer("--appendonly", "yes") as server:
        budget = BudgetManager(
            10_000,
            store=make(server.url, secret="ours"),
            on_store_error="allow",
            store_error_allowance=1_500,
            clock=hand_clock,
        )
        if known:
            budget.reserve("acme", "light", 10, 10).settle(10, 10)
        server.stop()
        assert budget.reserve("acme", "light", 100, 100).granted == 100, "away: that is allowed"
        server.start()
        trouble(server)
        for _ in range(2):
            hand_clock.now_s += AWAY_S
            with pytest.raises(LedgerLostError):
                budget.reserve("acme", "light", 100, 100)
        assert budget.owed_tokens == 200


def test_a_user_who_may_not(make, server):
    with server.client() as admin:
        admin.acl_setuser(
            "small", enabled=True, passwords=["+pw"], categories=["+@read"], keys=["*"]
        )
        with pytest.raises(LedgerError, match="does not permit"):
            make(server.url.replace("//", "//small:pw@")).reserve(ask("1"))
        admin.acl_deluser("small")


class LosesReplies:
    """Between a client and a server: cuts the connection in place of one reply."""

    def __init__(self, port):
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.lose = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        try:
            while True:
                client, _ = self._listener.accept()
                with client, socket.create_connection(self._server) as server:
                    while request := client.recv(65_536):
                        server.sendall(request)
                        reply = server.recv(65_536)
                        if self.lose and b"EVALSHA" in request:
                            self.lose = False
                            break
                        client.sendall(reply)
        except OSError:
            return  # the listener is closed

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


def test_a_lost_reply_is_asked_for_again_and_reserves_once(make, server):
    proxy = LosesReplies(server.port)
    ledger = make(f"redis://127.0.0.1:{proxy.port}/0")
    ledger.reserve(ask("1"))
    proxy.lose = True
    assert ledger.reserve(ask("2")) == Granted(tokens=100)
    assert not proxy.lose
    assert ledger.balances("payer", ("day",))[0].reserved == 200
    ledger.close()
    proxy.close()


def test_without_redis_py_it_says_what_to_install(monkeypatch):
    def missing():
        raise ImportError

    monkeypatch.setattr(library, "Library", missing)
    with pytest.raises(ConfigurationError, match=r'pip install "tiered-llm\[redis\]"'):
        RedisLedger("redis://localhost:6379/0")


@pytest.mark.parametrize("wrong", ["?foo=1", "?socket_timeout=abc", "?db=abc"])
def test_an_option_that_redis_py_does_not_know_is_refused_at_once(server, wrong):
    with pytest.raises(ConfigurationError, match="does not know an option of the URL") as caught:
        RedisLedger(f"redis://:SECRET@localhost:1/0{wrong}")
    assert "SECRET" not in str(caught.value)
