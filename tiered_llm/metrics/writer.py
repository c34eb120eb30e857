"""Records on their way to the store: handed over in a moment, written in batches by a thread."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
import weakref
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from tiered_llm.clock import SYSTEM_CLOCK
from tiered_llm.metrics import forks
from tiered_llm.metrics.errors import DecisionLogError
from tiered_llm.metrics.gauges import HEARTBEAT_S, LOSSES, Gauges

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiered_llm.clock import Clock
    from tiered_llm.metrics.log import DecisionLog
    from tiered_llm.records import CallRecord

_LOG = logging.getLogger("tiered_llm.metrics")

BATCH: Final = 500
LINGER_S: Final = 0.2
"""Longest wait for a batch to fill, in seconds: what a `kill -9` may lose, with one batch."""

EXIT_S: Final = 3.0
"""Longest wait for the store at the process's end, in seconds."""


class _Mark(threading.Event):
    """Set when all that was handed over before it has been written or lost."""

    def __init__(self, *, last: bool) -> None:
        super().__init__()
        self.last = last


class Writer:
    """Takes records from any thread, signal handler or finalizer; never waits, never raises.

    A daemon thread starts with the first record and writes to the log. What finds the queue
    full is dropped, and so is a batch that the log refused twice: counted, and logged once.
    After a fork the child has an empty queue and a thread of its own.
    """

    def __init__(self, log: DecisionLog, queue_size: int, clock: Clock = SYSTEM_CLOCK) -> None:
        """Start nothing yet."""
        self._log, self._size = log, queue_size
        self.gauges = Gauges(log, clock, self.lost)
        self._told = False
        self._begin()
        forks.watch(self)
        _ALL.add(self)

    def _begin(self) -> None:
        # its `put` may be interrupted by another one of the same thread
        self._queue: SimpleQueue[CallRecord | _Mark] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._hurry = threading.Event()
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self.full = self.refused = 0

    def put(self, record: CallRecord) -> None:
        """Hand a record over."""
        if self._pid != os.getpid():
            self.start_over()
        if self._queue.qsize() >= self._size:
            with self._lock:
                self.full += 1
            self._tell("the queue of decisions is full")
            return
        self._queue.put(record)
        if self._thread is None:
            self._start()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was handed over before is written or lost; False if that is late."""
        return self._mark(last=False, timeout_s=timeout_s)

    def close(self, timeout_s: float) -> bool:
        """As `flush`, and end the thread. A later record starts another one."""
        return self._mark(last=True, timeout_s=timeout_s)

    def stop(self) -> None:
        """Have the thread write what there is and end; wait for nothing."""
        if self._thread is not None and self._pid == os.getpid():
            self._queue.put(_Mark(last=True))
            self._hurry.set()

    def lost(self) -> dict[str, int]:
        """Records that this process lost, by cause."""
        return dict(zip(LOSSES, (self.full, self.refused), strict=True))

    @property
    def waiting(self) -> int:
        """Records in the queue."""
        return self._queue.qsize()

    # --- inside ---

    def _mark(self, *, last: bool, timeout_s: float) -> bool:
        thread = self._thread
        if self._pid != os.getpid() or thread is None:
            return True
        mark = _Mark(last=last)
        self._queue.put(mark)
        self._hurry.set()
        if self._thread is None:  # it was ending meanwhile
            self._start()
        done = mark.wait(timeout_s)
        if done and last:
            thread.join(timeout_s)
        return done

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._work, name="tiered-llm-metrics", daemon=True)
            self._thread = thread
            try:
                thread.start()
            except RuntimeError:  # the interpreter is at its end, and starts no more threads
                self._thread = None
                self._write_rest()
        _flush_with_multiprocessing(self)

    def _work(self) -> None:
        queue = self._queue
        while True:
            batch, marks = self._gather(queue)
            self._write(batch)
            ends = any(mark.last for mark in marks)
            if ends:
                self.gauges.withdraw()
                self._thread = None
            else:
                self.gauges.pulse()
            for mark in marks:
                mark.set()
            if ends:
                break
        if not queue.empty():  # a record that came while this thread was ending
            self._start()

    def _gather(
        self, queue: SimpleQueue[CallRecord | _Mark]
    ) -> tuple[list[CallRecord], list[_Mark]]:
        """Wait for a record or a mark, then a moment for more; for nothing beyond a heartbeat."""
        try:
            found = [queue.get(timeout=HEARTBEAT_S)]
        except Empty:
            return [], []
        if not isinstance(found[0], _Mark) and queue.qsize() < BATCH:
            self._hurry.wait(LINGER_S)
        with contextlib.suppress(Empty):
            while len(found) < BATCH:
                found.append(queue.get_nowait())
        marks = [each for each in found if isinstance(each, _Mark)]
        if marks:
            self._hurry.clear()
        return [each for each in found if not isinstance(each, _Mark)], marks

    def _write(self, batch: list[CallRecord]) -> None:
        """Write a batch; if it fails once, try once more: what was counted counts once."""
        if not batch:
            return
        error = self._failure(batch)
        if error is None:
            return
        # the store's own errors concern the whole batch; any other one, some record in it
        parts = [batch] if isinstance(error, DecisionLogError) else [[each] for each in batch]
        for part in parts:
            error = self._failure(part)
            if error is not None:
                with self._lock:
                    self.refused += len(part)
                self._tell(f"the store of decisions failed ({type(error).__name__})")

    def _failure(self, batch: list[CallRecord]) -> Exception | None:
        try:
            self._log.write(batch)
        except Exception as error:  # noqa: BLE001  # telemetry's one boundary: it never breaks a call
            return error
        return None

    def _write_rest(self) -> None:
        rest = []
        with contextlib.suppress(Empty):
            while True:
                rest.append(self._queue.get_nowait())
        self._write([each for each in rest if not isinstance(each, _Mark)])

    def _tell(self, what: str) -> None:
        if not self._told:
            self._told = True
            _LOG.warning("%s; decisions are dropped, and counted as `dropped`", what)

    # --- forks ---

    def hold(self) -> None:
        """Before a fork."""
        self._lock.acquire()

    def let_go(self) -> None:
        """After a fork, in the parent."""
        self._lock.release()

    def start_over(self) -> None:
        """After a fork, in the child: what the parent was handed, the parent writes."""
        self._begin()
        self.gauges.begin()


_ALL: weakref.WeakSet[Writer] = weakref.WeakSet()


def _close_all() -> None:
    for writer in list(_ALL):
        if not writer.close(EXIT_S):
            _LOG.warning("the store did not take all decisions before the process ended")


atexit.register(_close_all)


def _flush_with_multiprocessing(writer: Writer) -> None:
    """Flush where `multiprocessing` ends its children: it runs no `atexit` there."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        close = weakref.WeakMethod(writer.close)
        util.Finalize(writer, _close_if_alive, args=(close,), exitpriority=10)


def _close_if_alive(close: weakref.WeakMethod[Callable[[float], bool]]) -> None:
    method = close()
    if method is not None:
        method(EXIT_S)
