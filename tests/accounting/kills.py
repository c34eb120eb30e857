"""Workers that share a store and are killed and frozen, and what must be in the books after it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from accounting.calls import Charge, bill, number_of
from accounting.kill_worker import LIMIT, Orders, dump, manager_of, tenant_name
from accounting.payers import NAME

from tiered_llm.budgets.errors import LedgerError
from tiered_llm.budgets.plan import Payer
from tiered_llm.testing import Answer, SimulatedModel, Simulator

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiered_llm.budgets.ledger import Ledger

DEADLINE_S = 60.0
"""Many times what anything here takes."""
TOKEN_S = 0.001
ANSWER = Answer(text=" ".join(["word"] * 30))
APART = 100_000
"""Numbers of one worker's calls."""

_TESTS = Path(__file__).parents[1]


def until(condition: Callable[[], Any], pause_s: float = 0.005) -> Any:
    """Poll a condition until it holds, and give what it gives.

    Raises:
        TimeoutError: It did not come to hold.
    """
    end_s = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        if time.monotonic() > end_s:
            msg = f"the condition did not hold within {DEADLINE_S} s"
            raise TimeoutError(msg)
        time.sleep(pause_s)
    return found


class Traffic:
    """Counts the requests that come in."""

    def __init__(self, server: Simulator) -> None:
        self._count, self._changed = 0, threading.Condition()
        server.always(NAME, self._step)

    def wait_for_more(self, requests: int) -> None:
        with self._changed:
            enough = self._count + requests
            if not self._changed.wait_for(lambda: self._count >= enough, DEADLINE_S):
                msg = "the workers make no calls"
                raise TimeoutError(msg)

    def _step(self, request: Any) -> Answer:
        with self._changed:
            self._count += 1
            self._changed.notify_all()
        return ANSWER


@dataclass(slots=True, kw_only=True)
class Toll:
    """What it came to."""

    store: str
    seconds: float = 0.0
    kills: int = 0
    freezes: int = 0
    corrected: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    tenants: int = 0
    billed: int = 0
    most_billed: int = 0
    used: int = 0
    orphaned: int = 0

    def __str__(self) -> str:
        share = f"{self.billed:,} billed of {self.tenants} x {LIMIT:,}"
        return (
            f"{self.store}: {self.seconds:.0f} s, {self.kills} kills, {self.freezes} freezes "
            f"({self.corrected} corrected late); {share} (at most {self.most_billed:,} of one), "
            f"{self.used:,} settled, {self.orphaned:,} orphaned; calls {dict(self.ends)}"
        )


class Herd:
    """The workers, their server and their books; as a context manager it runs."""

    def __init__(self, place: Path, store: str, ledger: str | Ledger, size: int, seed: int) -> None:
        self._place, self._store, self._size = place, store, size
        self._rng = random.Random(seed)  # noqa: S311  # to have a run again
        self._manager = manager_of(ledger)
        model = SimulatedModel(name=NAME, token_latency_s=TOKEN_S, num_ctx=32_768)
        self._server = Simulator([model])
        self._journals: list[Path] = []
        self._pids: dict[int, int] = {}  # a worker's place in the herd, and its process
        self._latest: dict[int, int] = {}  # and its journal
        self.toll = Toll(store=store.partition(":")[0])

    def __enter__(self) -> Self:
        self._server.start()
        self._traffic = Traffic(self._server)
        known = os.pathsep.join([str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._program = subprocess.Popen(
            [sys.executable, "-m", "accounting.kill_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": known},
        )
        self._began_s = time.monotonic()
        for at in range(self._size):
            self._start(at)
        return self

    def __exit__(self, *_: object) -> None:
        with self._program as program:
            for pid in self._pids.values():
                _signal(pid, signal.SIGKILL)
            program.stdin.close()
        self._server.stop()
        self._manager.ledger.close()

    # --- what is done to them ---

    def kill(self) -> None:
        """End one at random as the kernel does, and start another in its place."""
        self._traffic.wait_for_more(self._rng.randrange(1, 2 * self._size))
        at = self._rng.choice(list(self._pids))
        os.kill(self._pids[at], signal.SIGKILL)
        self._start(at)
        self.toll.kills += 1

    def freeze(self) -> None:
        """Stop one in the midst of a call until its lease has ended, and let it go on."""
        self._traffic.wait_for_more(1)
        at = self._rng.choice(list(self._pids))
        pid, tenant, number = self._pids[at], *until(lambda: self._stopped_in_a_call(at))
        until(lambda: self._told(tenant, number, "orphaned"))
        os.kill(pid, signal.SIGCONT)
        until(lambda: self._under_way(at) != (tenant, number))
        self.toll.freezes += 1
        self.toll.corrected += self._charge(tenant, number).used > 0

    def _stopped_in_a_call(self, at: int) -> tuple[int, int] | None:
        """Its tenant and number; the worker goes on if it has reserved nothing just now."""
        os.kill(self._pids[at], signal.SIGSTOP)
        until(lambda: _is_stopped(self._pids[at]))
        call = self._under_way(at)
        if call and self._told(*call, "reserved"):
            return call
        os.kill(self._pids[at], signal.SIGCONT)
        return None

    def _told(self, tenant: int, number: int, column: str) -> int:
        """A call's column; 0 while a stopped worker has the store's lock."""
        try:
            return int(getattr(self._charge(tenant, number), column))
        except LedgerError:
            return 0

    def _start(self, at: int) -> None:
        journal = self._place / f"journal-{len(self._journals)}"
        orders = Orders(
            url=self._server.url,
            store=self._store,
            journal=str(journal),
            stop=str(self._place / "stop"),
            first=len(self._journals) * APART,
            tenant=self._newest_tenant(),
        )
        self._journals.append(journal)
        self._latest[at] = len(self._journals) - 1
        print(dump(orders), file=self._program.stdin, flush=True)
        self._pids[at] = int(self._program.stdout.readline())

    def _newest_tenant(self) -> int:
        ways = [self._lines(latest) for latest in self._latest.values()]
        return max((int(line[2]) for way in ways for line in way if line[0] == "begun"), default=0)

    def _under_way(self, at: int) -> tuple[int, int] | None:
        """The tenant and number of the call that a worker has begun and not ended."""
        lines = self._lines(self._latest[at])
        if not lines or lines[-1][0] != "begun":
            return None
        return int(lines[-1][2]), int(lines[-1][1])

    def _lines(self, journal: int) -> list[list[str]]:
        path = self._journals[journal]
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    # --- what must be true then ---

    def check(self) -> Toll:
        """Let them end, wait for the last lease, and hold the books to the servers' bills."""
        self._end()
        begun, ends = self._calls()
        bills = Counter[int]()
        for record in self._server.requests:
            bills[number_of(record)] += bill([record])
        assert set(bills) <= set(begun), "every request is of a call that is written down"
        of_tenants: dict[int, list[int]] = {}
        for number, tenant in begun.items():
            of_tenants.setdefault(tenant, []).append(number)
        for tenant, numbers in of_tenants.items():
            self._check_tenant(tenant, numbers, bills, ends)
        self.toll.tenants, self.toll.ends = len(of_tenants), Counter(ends.values())
        self.toll.ends["killed"] = len(begun) - len(ends)
        self.toll.seconds = time.monotonic() - self._began_s
        return self.toll

    def _check_tenant(
        self, tenant: int, numbers: list[int], bills: Counter[int], ends: dict[int, str]
    ) -> None:
        charges = {number: self._charge(tenant, number) for number in numbers}
        for number, charge in charges.items():
            assert charge.reserved == 0
            assert charge.used in {0, bills[number]}
            assert charge.used or charge.orphaned >= bills[number]
            assert not (charge.used and charge.orphaned)
            if ends.get(number) == "answered":
                assert charge == Charge(used=bills[number], reserved=0, orphaned=0)
        whole, billed = self._charge(tenant), sum(bills[number] for number in numbers)
        used, orphaned = (
            sum(getattr(charge, column) for charge in charges.values())
            for column in ("used", "orphaned")
        )
        assert whole == Charge(used=used, reserved=0, orphaned=orphaned)
        assert billed <= used + orphaned <= LIMIT
        self.toll.billed += billed
        self.toll.most_billed = max(self.toll.most_billed, billed)
        self.toll.used += used
        self.toll.orphaned += orphaned

    def _end(self) -> None:
        (self._place / "stop").touch()
        until(lambda: not any(_is_there(pid) for pid in self._pids.values()))
        until(lambda: all(r.outcome not in {"open", "stalled"} for r in self._server.requests), 0.1)
        begun, _ = self._calls()
        for tenant in set(begun.values()):
            until(lambda tenant=tenant: self._charge(tenant).reserved == 0)

    def _calls(self) -> tuple[dict[int, int], dict[int, str]]:
        """Each call's tenant, and the end of those that were not killed."""
        begun, ends = {}, {}
        for journal in range(len(self._journals)):
            for word, number, *tenant in self._lines(journal):
                if word == "begun":
                    begun[int(number)] = int(tenant[0])
                else:
                    ends[int(number)] = word
        return begun, ends

    def _charge(self, tenant: int, number: int | None = None) -> Charge:
        user = None if number is None else str(number)
        found = self._manager.usage_of(Payer(tenant_id=tenant_name(tenant), user_id=user))
        usage = found["monthly" if user is None else "call/monthly"]
        columns = {name: int(getattr(usage, name)) for name in ("used", "reserved", "orphaned")}
        return Charge(**columns)


def _signal(pid: int, what: signal.Signals) -> None:
    if _is_there(pid):
        os.kill(pid, what)


def _state(pid: int) -> str:
    """A process's letter in the kernel's list; empty once it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return stat.rpartition(")")[2].split()[0]


def _is_there(pid: int) -> bool:
    return _state(pid) not in {"", "Z", "X"}


def _is_stopped(pid: int) -> bool:
    return _state(pid) == "T"
