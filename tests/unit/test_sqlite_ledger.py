"""The ledger in a file: its processes, its file, its wait, its twins; the laws hold the rest."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing

import pytest
from hand_clock import HandClock

from tiered_llm.budgets.errors import LedgerError
from tiered_llm.budgets.ledger import Balance, Granted
from tiered_llm.budgets.ledgers.sqlite import SqliteLedger
from tiered_llm.budgets.ledgers.sqlite_books import KEPT_ALERTS, Books
from tiered_llm.errors import ConfigurationError
from tiered_llm.testing.laws.ledger_samples import ACCOUNT, DAY_S, ask, line

PROCESSES, ROUNDS = 4, 100


@pytest.fixture
def clock():
    return HandClock(0.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "private" / "budgets.db"


@pytest.fixture
def ledger(path, clock):
    ledger = SqliteLedger(path, clock)
    yield ledger
    ledger.close()


def balance(ledger):
    return ledger.balances("payer", (ACCOUNT,))[0]


def query(path, words):
    with closing(sqlite3.connect(path)) as rows:
        found = rows.execute(words).fetchall()
        rows.commit()
    return found


# --- processes ---


def begin_together(barrier):
    global together  # noqa: PLW0603  # how a pool hands a barrier to its processes
    together = barrier


def spend(path, number):
    """Reserve and settle as fast as it goes; what was granted, and what was used."""
    ledger = SqliteLedger(path, HandClock(0.0), busy_s=60.0)
    together.wait()
    used = refused = 0
    for at in range(ROUNDS):
        lease = f"{number}/{at}"
        answer = ledger.reserve(ask(lease, line(limit=5_000), least=1, most=30))
        if isinstance(answer, Granted):
            amount = answer.tokens - at % 3
            assert ledger.settle("payer", lease, (max(0, amount),)).ended == "settled"
            used += max(0, amount)
        else:
            refused += 1
    ledger.close()
    return used, refused


def test_what_processes_spend_adds_up(ledger, path):
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, spawn, begin_together, (barrier,)) as pool:
        spent = list(pool.map(spend, [path] * PROCESSES, range(PROCESSES)))
    found = balance(ledger)
    assert (found.settled, found.reserved, found.orphaned) == (sum(u for u, _ in spent), 0, 0)
    assert 4_970 < found.settled <= 5_000
    assert sum(refused for _, refused in spent) > 0
    assert sorted(alert.threshold for alert in ledger.alerts()) == [80, 95]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


RESERVES = """
import sys
from tiered_llm.budgets.ledgers.sqlite import SqliteLedger
from tiered_llm.budgets.ledgers.sqlite_books import Books
from tiered_llm.testing.laws.ledger_samples import HandSetClock, ask, line

ledger = SqliteLedger(sys.argv[1], HandSetClock())
def wanted(lease):
    return ask(lease, line(limit=None), most=10)
"""
FOR_EVER = """
at = 0
while True:
    ledger.reserve(wanted(f"{sys.argv[2]}/{at}"))
    print(at, flush=True)
    at += 1
"""
HALF = """
ledger.reserve(wanted("whole"))
with ledger._file.transaction(ledger._file.deadline_s()) as rows:
    Books(rows, 0.0).reserve(wanted("half"))
    print("in the midst", flush=True)
    sys.stdin.read()
"""


def killed_after(script, path, name, lines):
    """Run a script, and kill it when it has printed so many lines; how many it had in all."""
    command = [sys.executable, "-c", RESERVES + script, str(path), name]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        for _ in range(lines):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    return lines + rest.count("\n")


@pytest.mark.parametrize("lines", [3, 40])
def test_a_killed_process_leaves_a_sound_file_and_its_leases_are_orphaned(
    ledger, path, clock, lines
):
    told = sum(killed_after(FOR_EVER, path, f"{at}", lines) for at in range(2))
    kept = balance(ledger).reserved // 10
    assert told <= kept <= told + 2  # each may have died before it could tell of one
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    clock.now_s = 60.0
    assert balance(ledger) == Balance(account=ACCOUNT, orphaned=10 * kept)


def test_a_transaction_that_is_killed_in_its_midst_has_not_been(ledger, path, clock):
    killed_after(HALF, path, "", 1)
    assert balance(ledger).reserved == 10
    assert ledger.void("payer", "half").ended == "unknown"
    clock.now_s = 60.0
    assert ledger.settle("payer", "whole", (4,)).ended == "corrected"


FORKED = """
import os
ledger.reserve(wanted("before"))
child = os.fork()
who = "parent" if child else "child"
for at in range(50):
    ledger.reserve(wanted(f"{who}/{at}"))
    ledger.settle("payer", f"{who}/{at}", (10,))
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
ledger.settle("payer", "before", (10,))
"""


def test_a_fork_may_use_its_parents_ledger(ledger, path):
    command = [sys.executable, "-W", "error", "-c", RESERVES + FORKED, str(path)]
    subprocess.run(command, check=True)
    assert balance(ledger) == Balance(account=ACCOUNT, settled=1_010)


def test_a_fork_without_hooks_is_noticed_too(ledger, monkeypatch):
    ledger.reserve(ask("1"))
    inherited = ledger._file._here.connection
    monkeypatch.setattr(ledger._file._here, "pid", -1)
    assert balance(ledger).reserved == 100
    assert ledger._file._here.connection is not inherited
    inherited.close()


# --- the file ---


def test_nothing_is_made_before_it_is_needed(ledger, path):
    assert not path.parent.exists()
    assert ledger.alerts() == ()
    assert path.exists()


def test_file_and_directory_are_private(ledger, path, tmp_path):
    tmp_path.chmod(0o755)
    before = os.umask(0)
    try:
        ledger.reserve(ask("1"))
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
    assert modes == dict.fromkeys(("budgets.db", "budgets.db-wal", "budgets.db-shm"), 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_an_url_names_a_file(tmp_path, monkeypatch, clock):
    monkeypatch.chdir(tmp_path)
    for named in ("sqlite:///here.db", f"sqlite:///{tmp_path}/there.db", tmp_path / "plain.db"):
        ledger = SqliteLedger(named, clock)
        ledger.reserve(ask("1"))
        ledger.close()
    assert {p.name for p in tmp_path.iterdir()} == {"here.db", "there.db", "plain.db"}


@pytest.mark.parametrize("named", ["", "sqlite:///", "sqlite://host/x", ":memory:", "a\0b"])
def test_what_names_no_file_is_refused(named):
    with pytest.raises(ConfigurationError, match="sqlite:///relative/path"):
        SqliteLedger(named)


def replace_with_another(path):
    other = SqliteLedger(path.with_name("other.db"), HandClock(0.0))
    other.reserve(ask("1"))
    other.close()
    path.with_name("other.db").rename(path)


def replace_with_a_copy(path):
    shutil.copy(path, path.with_name("copy.db"))
    path.with_name("copy.db").rename(path)


def replace_the_log(path):
    log = path.with_name("budgets.db-wal")
    shutil.copy(log, path.with_name("copy"))
    path.with_name("copy").rename(log)


def cut_off(path, size):
    os.truncate(path, size)


LOSSES = {
    "deleted": lambda path: path.unlink(),
    "directory deleted": lambda path: shutil.rmtree(path.parent),
    "log deleted": lambda path: path.with_name("budgets.db-wal").unlink(),
    "log replaced": replace_the_log,
    "replaced": replace_with_another,
    "replaced by a copy": replace_with_a_copy,
    "emptied": lambda path: cut_off(path, 0),
    "cut off": lambda path: cut_off(path, 8_192),
    "generation wiped": lambda path: query(path, "DELETE FROM meta"),
    "generation changed": lambda path: query(path, "UPDATE meta SET generation = 'x'"),
    "table dropped": lambda path: query(path, "DROP TABLE leases"),
    "all dropped": lambda path: query(path, "DROP TABLE meta"),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_lost_file_fails_closed(ledger, path, loss, tmp_path):
    ledger.reserve(ask("lease-77"))
    loss(path)
    for _ in range(3):
        with pytest.raises(LedgerError, match=r"lost") as raised:
            ledger.reserve(ask("lease-78"))
        assert "budgets.db" in str(raised.value)
        for secret in (str(tmp_path), "payer", "lease-7", ACCOUNT):
            assert secret not in str(raised.value)


def test_a_lost_file_is_not_made_anew_after_a_close(ledger, path):
    ledger.reserve(ask("1"))
    ledger.close()
    path.unlink()
    with pytest.raises(LedgerError, match="lost"):
        ledger.reserve(ask("2"))
    assert not path.exists()


def test_a_file_that_is_put_back_is_used_again(ledger, path):
    ledger.reserve(ask("1"))
    aside = path.with_name("aside.db")
    path.rename(aside)
    with pytest.raises(LedgerError, match="put it back"):
        balance(ledger)
    aside.rename(path)
    assert balance(ledger).reserved == 100


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b"not a database, by far" * 1_000, "is damaged; move it")],
)
def test_a_file_that_is_none_of_ours_is_refused(ledger, path, content, words):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=words):
        ledger.reserve(ask("1"))
    assert path.read_bytes() == content


def test_another_programs_tables_are_left_alone(ledger, path):
    path.parent.mkdir()
    query(path, "CREATE TABLE theirs (x)")
    with pytest.raises(LedgerError, match="never had them"):
        ledger.reserve(ask("1"))
    assert query(path, "SELECT name FROM sqlite_master") == [("theirs",)]


def test_a_damaged_page_is_told(ledger, path):
    ledger.reserve(ask("1"))
    ledger.close()
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xff" * (path.stat().st_size - 4_096))
    with pytest.raises(LedgerError, match="is damaged; move it"):
        ledger.reserve(ask("2"))


def test_tables_of_another_version_are_refused(ledger, path):
    ledger.reserve(ask("1"))
    ledger.close()
    query(path, "PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="version 99, and this release reads 2"):
        ledger.reserve(ask("2"))


FIRST_TABLES = (
    "ALTER TABLE leases DROP COLUMN releases",
    "PRAGMA user_version = 1",
)


def test_tables_of_the_first_version_are_brought_up(ledger, path, clock):
    ledger.reserve(ask("old"))
    ledger.close()
    for words in FIRST_TABLES:
        query(path, words)
    others = [SqliteLedger(path, clock) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda other: other.reserve(ask("new", releases=True)), others))
    clock.now_s = 60.0
    for each in (ledger, *others):
        assert balance(each) == Balance(account=ACCOUNT, orphaned=100, limit=1_000)
        each.close()
    assert query(path, "PRAGMA user_version") == [(2,)]


def test_a_path_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    for path, words in ((tmp_path / "file" / "x.db", "check its path"), (tmp_path, "check its")):
        with pytest.raises(LedgerError, match=words):
            SqliteLedger(path).reserve(ask("1"))


def test_first_users_agree_on_one_file(path, clock):
    ledgers = [SqliteLedger(path, clock) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: ledgers[at].reserve(ask(f"{at}", line(limit=None))), range(8)))
    assert balance(ledgers[0]).reserved == 800
    assert not list(path.parent.glob("*.new"))
    for ledger in ledgers:
        ledger.close()


def test_what_no_column_holds_is_not_rounded(ledger):
    wide = line(limit=None)
    ledger.record(ask("1", wide), (2**62,))
    with pytest.raises(LedgerError):
        ledger.record(ask("2", wide), (2**62,))
    with pytest.raises(OverflowError):
        ledger.record(ask("3", wide), (2**64,))
    assert balance(ledger).settled == 2**62


# --- what is over is put away little by little ---


def test_leases_that_expire_together_are_seen_at_once_and_swept_in_turn(ledger, path, clock):
    for at in range(450):
        ledger.reserve(ask(f"{at}", line(limit=450), least=1, most=1))
    clock.now_s = 60.0
    found = balance(ledger)
    assert (found.reserved, found.orphaned) == (0, 450)
    assert query(path, "SELECT COUNT(*) FROM leases WHERE state = 'open'") == [(350,)]
    refused = ledger.reserve(ask("more", line(limit=450), least=1))
    assert (refused.balance.reserved, refused.balance.orphaned) == (0, 450)
    assert ledger.void("payer", "449").ended == "already"
    assert ledger.settle("payer", "448", (0,)).ended == "corrected"
    for _ in range(2):
        found = balance(ledger)
        assert (found.settled, found.reserved, found.orphaned) == (0, 0, 449)
    assert query(path, "SELECT COUNT(*) FROM leases WHERE state = 'open'") == [(0,)]


def test_leases_that_are_released_together_are_seen_at_once(ledger, clock):
    for at in range(250):
        wanted = line(limit=250, thresholds=())
        ledger.reserve(ask(f"{at}", wanted, least=1, most=1, releases=at % 5 > 0))
    clock.now_s = 60.0
    for _ in range(3):
        found = balance(ledger)
        assert (found.reserved, found.orphaned) == (0, 50)


def test_what_is_forgotten_together_is_gone_at_once_and_swept_in_turn(ledger, path, clock):
    for at in range(250):
        names = {"limit": 10, "ends_s": DAY_S + at}
        ledger.record(ask(f"{at}", line(f"{at}", **names)), (10,))
    clock.now_s = 9 * DAY_S
    assert ledger.balances("payer", ("249",)) == (Balance(account="249"),)
    assert query(path, "SELECT COUNT(*) FROM leases") == [(150,)]
    assert ledger.void("payer", "249").ended == "unknown"
    ledger.alerts()
    for table in ("accounts", "leases", "raised"):
        assert query(path, f"SELECT COUNT(*) FROM {table}") == [(0,)]  # noqa: S608


def test_the_newest_alerts_are_kept(ledger, path):
    thresholds = tuple(range(1, 101))
    for at in range(KEPT_ALERTS // 100 + 1):
        daily = line(f"{at}", limit=100, thresholds=thresholds)
        ledger.record(ask(f"{at}", daily), (100,))
    assert query(path, "SELECT COUNT(*) FROM alerts") == [(KEPT_ALERTS,)]
    assert len(ledger.alerts(most=10**6)) == KEPT_ALERTS
    assert [alert.account for alert in ledger.alerts(most=1)] == [f"{KEPT_ALERTS // 100}"]


# --- waiting ---


@pytest.fixture
def lock(ledger, path):
    """Another program's open transaction; the ledger's own file is made before."""
    ledger.alerts()
    with closing(sqlite3.connect(path, isolation_level=None)) as rows:
        rows.execute("BEGIN IMMEDIATE")
        yield rows


def test_a_locked_file_is_told_after_the_wait(path, lock):
    hurried = SqliteLedger(path, busy_s=0.05)
    with pytest.raises(LedgerError, match=r"kept locked by others for 0\.05 s"):
        hurried.reserve(ask("1"))
    lock.execute("ROLLBACK")
    assert hurried.now_s() > 0.0
    assert balance(hurried) == Balance(account=ACCOUNT)
    hurried.close()


def test_a_thread_waits_no_longer_for_its_own_process(path, clock):
    hurried = SqliteLedger(path, clock, busy_s=0.05)
    with (
        hurried._file.transaction(hurried._file.deadline_s()),
        ThreadPoolExecutor(1) as pool,
        pytest.raises(LedgerError, match="kept locked by others"),
    ):
        pool.submit(hurried.reserve, ask("1")).result()
    assert isinstance(hurried.reserve(ask("1")), Granted)
    hurried.close()


def test_an_operation_within_one_becomes_a_part_of_it(ledger):
    ledger.reserve(ask("1"))
    with ledger._file.transaction(ledger._file.deadline_s()) as rows:
        assert ledger.settle("payer", "1", (40,)).ended == "settled"
        with pytest.raises(ValueError, match="argument"):
            ledger.record(ask("2"), (1, 2))
        assert Books(rows, 0.0).balances("payer", (ACCOUNT,))[0].settled == 40
    assert balance(ledger) == Balance(account=ACCOUNT, settled=40, limit=1_000)


# --- the twins ---


class Gate(HandClock):
    """A clock that, once it is armed, keeps who asks it for the time until it is opened."""

    def __init__(self):
        super().__init__(0.0)
        self.armed, self.reached, self.opened = False, threading.Event(), threading.Event()

    def now(self):
        if self.armed:
            self.reached.set()
            self.opened.wait()
        return super().now()


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def gated(path, gate):
    ledger = SqliteLedger(path, gate)
    ledger.alerts()
    gate.armed = True
    yield ledger
    ledger.close()


async def cancelled_in_its_midst(gate, twin, times=1):
    """Cancel a twin when its thread is within its transaction, and let the thread go on."""
    task = asyncio.create_task(twin)
    await asyncio.to_thread(gate.reached.wait)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_twin_that_waits_leaves_the_loop_alone(ledger, lock):
    task = asyncio.create_task(ledger.areserve(ask("1")))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not task.done()
    lock.execute("ROLLBACK")
    assert await task == Granted(tokens=100)


@pytest.mark.parametrize("times", [1, 5])
async def test_a_cancelled_reserve_is_taken_back(gated, gate, times):
    await cancelled_in_its_midst(gate, gated.areserve(ask("1")), times)
    assert balance(gated) == Balance(account=ACCOUNT, limit=1_000)
    assert gated.settle("payer", "1", (1,)).ended == "unknown"
    assert await gated.areserve(ask("1", most=50)) == Granted(tokens=50)


async def test_a_reserve_that_is_cancelled_when_it_is_done_is_taken_back(ledger):
    task = asyncio.create_task(ledger.areserve(ask("1")))
    await asyncio.sleep(0)
    ledger._file.worker().submit(int).result()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert balance(ledger).charged == 0


async def test_a_cancelled_reserve_that_was_released_meanwhile_is_taken_back(gated, gate):
    await cancelled_in_its_midst(gate, gated.areserve(ask("1", releases=True, ttl_s=0.0)))
    assert balance(gated) == Balance(account=ACCOUNT, limit=1_000)
    assert gated.settle("payer", "1", (1,)).ended == "unknown"


async def test_a_cancelled_second_ask_leaves_the_first_ones_lease(path, gate):
    ledger = SqliteLedger(path, gate)
    ledger.reserve(ask("1"))
    gate.armed = True
    await cancelled_in_its_midst(gate, ledger.areserve(ask("1")))
    assert ledger.settle("payer", "1", (30,)).ended == "settled"
    ledger.close()


async def test_a_reserve_that_is_cancelled_before_it_begins_never_does(gated, gate):
    first = asyncio.create_task(gated.areserve(ask("1")))
    await asyncio.to_thread(gate.reached.wait)
    second = asyncio.create_task(gated.areserve(ask("2")))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.opened.set()
    await first
    assert (await gated.asettle("payer", "2", (1,))).ended == "unknown"


async def test_a_cancelled_settle_has_settled(path, gate):
    ledger = SqliteLedger(path, gate)
    ledger.reserve(ask("1"))
    gate.armed = True
    await cancelled_in_its_midst(gate, ledger.asettle("payer", "1", (30,)))
    assert balance(ledger) == Balance(account=ACCOUNT, settled=30, limit=1_000)
    ledger.close()


async def test_what_cannot_be_taken_back_is_orphaned_at_its_time(path, gate):
    ledger = SqliteLedger(path, gate)
    ledger.alerts()
    gate.armed = True
    aside = path.with_name("aside.db")

    task = asyncio.create_task(ledger.areserve(ask("1")))
    await asyncio.to_thread(gate.reached.wait)
    task.cancel()
    await asyncio.sleep(0)
    path.rename(aside)  # within the transaction: it is committed, and the next one fails
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    aside.rename(path)
    assert balance(ledger).reserved == 100
    gate.now_s = 60.0
    assert balance(ledger).orphaned == 100
    ledger.close()


def test_a_ledger_serves_one_loop_after_another(ledger):
    for at in range(3):
        assert isinstance(asyncio.run(ledger.areserve(ask(f"{at}"))), Granted)
        ledger.close()
    assert balance(ledger).reserved == 300
