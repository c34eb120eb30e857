"""What is scripted and what has happened, shared by the test's thread and the server's."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tiered_llm.testing.simulator.answers import Answer
    from tiered_llm.testing.simulator.faults import Fault
    from tiered_llm.testing.simulator.models import ChatRequest, Protocol

Step: TypeAlias = "Answer | Fault | Callable[[ChatRequest], Answer | Fault]"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One chat request and what became of it: a snapshot, read it anew after waiting.

    Attributes:
        protocol: `ollama` or `openai`.
        path: The path asked for.
        model: The model asked for.
        body: The request's JSON.
        headers: The request's headers, names in lower case.
        stream: Whether a stream was asked for.
        input_tokens: Tokens read, after Ollama's truncation; 0 if refused before reading.
        output_tokens: Tokens generated so far, whether or not the client got them.
        outcome: `open`, `stalled`, `answered`, `disconnected`, `rejected` (the request was at
            fault), or the kind of the fault that struck: `status`, `overflow`, `cut`,
            `early_end`, `bad_chunk`, `error_event`.
        disconnected: Whether the client left before the answer was complete.
    """

    protocol: Protocol
    path: str
    model: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    stream: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    outcome: str = "open"
    disconnected: bool = False


class Entry:
    """The record of one request while it is served."""

    def __init__(self, journal: Journal, serial: int) -> None:
        """Made by `Journal.begin`."""
        self._journal, self._serial = journal, serial
        self._output_tokens = 0

    def update(self, **changes: Any) -> None:
        """Change the record's fields."""
        self._journal.update(self._serial, **changes)

    def close(self, outcome: str) -> None:
        """Write down how it ends.

        Called before the last byte goes out: who has the answer finds the record complete.
        """
        self.update(outcome=outcome, disconnected=outcome == "disconnected")

    def bill(self, output_tokens: int) -> None:
        """Add tokens that were generated."""
        self._output_tokens += output_tokens
        self.update(output_tokens=self._output_tokens)


class Journal:
    """Scripts and records behind one lock. Safe from any thread; never waits but in `wait_for`."""

    def __init__(self) -> None:
        """Start with nothing scripted and nothing recorded."""
        self._changed = threading.Condition()
        self._serials = count()
        self._queues: dict[str, deque[Step]] = {}
        self._always: dict[str, Step] = {}
        self._records: dict[int, RequestRecord] = {}

    def script(self, model: str, steps: tuple[Step, ...]) -> None:
        """Queue steps for the model's next requests."""
        with self._changed:
            self._queues.setdefault(model, deque()).extend(steps)

    def always(self, model: str, step: Step) -> None:
        """Give every request that no queued step takes this one."""
        with self._changed:
            self._always[model] = step

    def clear(self, model: str | None = None) -> None:
        """Forget the scripts of one model, or of all."""
        with self._changed:
            for steps in (self._queues, self._always):
                names = list(steps) if model is None else [model]
                for name in names:
                    steps.pop(name, None)

    def next_step(self, model: str) -> Step | None:
        """Take the step for a request that has come in; none if nothing is scripted."""
        with self._changed:
            queue = self._queues.get(model)
            return queue.popleft() if queue else self._always.get(model)

    def begin(self, record: RequestRecord) -> Entry:
        """Record a request that has come in."""
        with self._changed:
            serial = next(self._serials)
            self._records[serial] = record
            self._changed.notify_all()
            return Entry(self, serial)

    def update(self, serial: int, **changes: Any) -> None:
        """Change a record; does nothing for one that was forgotten meanwhile."""
        with self._changed:
            if serial in self._records:
                self._records[serial] = replace(self._records[serial], **changes)
                self._changed.notify_all()

    def forget(self) -> None:
        """Drop all records and scripts."""
        self.clear()
        with self._changed:
            self._records.clear()
            self._changed.notify_all()

    @property
    def records(self) -> list[RequestRecord]:
        """All requests in the order of their arrival."""
        with self._changed:
            return list(self._records.values())

    def wait_for(self, predicate: Callable[[], bool], timeout_s: float) -> None:
        """Wait until a condition holds, looking again after each change.

        Raises:
            TimeoutError: It did not come to hold in time.
        """
        with self._changed:
            if not self._changed.wait_for(predicate, timeout_s):
                msg = f"the condition did not hold within {timeout_s} s; seen: {self.records}"
                raise TimeoutError(msg)
