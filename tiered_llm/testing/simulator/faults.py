"""Faults on demand: what a test asks to go wrong, and when."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiered_llm.testing.simulator.answers import Answer
    from tiered_llm.testing.simulator.models import Wording


class FaultKind(StrEnum):
    """What goes wrong."""

    REFUSE = "refuse"
    STATUS = "status"
    OVERFLOW = "overflow"
    STALL = "stall"
    CUT = "cut"
    EARLY_END = "early_end"
    BAD_CHUNK = "bad_chunk"
    ERROR_EVENT = "error_event"


Moment = Literal["start", "role", "content", "tool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault; made by the class methods, which name what matters for each kind.

    A fault within an answer strikes at its moment, or at the answer's end if the answer is
    shorter: before the finish reason and the usage in every case.

    Attributes:
        kind: What goes wrong.
        at: When: `start` (no byte sent; for cuts and stalls), `role` (headers sent and, on
            the OpenAI side, the empty role chunk), `content` (after `after` chunks),
            `tool` (within a tool call).
        after: Chunks of content that go out first.
        code: The HTTP status.
        message: The error's text; a fitting one if empty.
        retry_after_s: Seconds for the header `Retry-After`; no header if unset.
        reset: Whether a cut is a TCP reset; else the connection is closed half-way.
        wording: Which of vLLM's wordings; the model's own if unset.
        answer: The answer that the fault spoils; the default one if unset.
    """

    kind: FaultKind
    at: Moment = "content"
    after: int = 2
    code: int = 200
    message: str = ""
    retry_after_s: int | None = None
    reset: bool = True
    wording: Wording | None = None
    answer: Answer | None = None

    @classmethod
    def refuse(cls) -> Self:
        """Connections are refused. For `Simulator.always` alone: see `Simulator.refuse`.

        A function that gives it comes too late for that; the connection is then reset.
        """
        return cls(kind=FaultKind.REFUSE, at="start")

    @classmethod
    def status(cls, code: int, message: str = "", *, retry_after_s: int | None = None) -> Self:
        """An HTTP error in the dialect's own body: 400, 401, 404, 429, 500, 503 or any other."""
        return cls(kind=FaultKind.STATUS, code=code, message=message, retry_after_s=retry_after_s)

    @classmethod
    def overflow(cls, wording: Wording | None = None) -> Self:
        """The context is said to be too long, in vLLM's `old`, `new` or `latest` words."""
        return cls(kind=FaultKind.OVERFLOW, code=400, wording=wording)

    @classmethod
    def stall(cls, at: Moment = "start", *, after: int = 2, answer: Answer | None = None) -> Self:
        """Nothing more is sent until the client leaves or `Simulator.release` is called."""
        return cls(kind=FaultKind.STALL, at=at, after=after, answer=answer)

    @classmethod
    def cut(
        cls,
        at: Moment = "content",
        *,
        after: int = 2,
        reset: bool = True,
        answer: Answer | None = None,
    ) -> Self:
        """The connection dies: by a TCP reset, or closed half-way if `reset` is false."""
        return cls(kind=FaultKind.CUT, at=at, after=after, reset=reset, answer=answer)

    @classmethod
    def early_end(cls, *, after: int = 2, answer: Answer | None = None) -> Self:
        """The stream ends cleanly, but without finish reason, usage, `[DONE]` or `done`."""
        return cls(kind=FaultKind.EARLY_END, after=after, answer=answer)

    @classmethod
    def bad_chunk(cls, *, after: int = 2, answer: Answer | None = None) -> Self:
        """A chunk that is not JSON, then the end."""
        return cls(kind=FaultKind.BAD_CHUNK, after=after, answer=answer)

    @classmethod
    def error_event(
        cls, message: str = "", *, after: int = 2, answer: Answer | None = None
    ) -> Self:
        """An error inside a stream that had begun with status 200, then the end."""
        return cls(
            kind=FaultKind.ERROR_EVENT, code=500, message=message, after=after, answer=answer
        )

    @property
    def before_answer(self) -> bool:
        """Whether an HTTP error takes the answer's place."""
        return self.kind in {FaultKind.STATUS, FaultKind.OVERFLOW}

    def place(self, kinds: Sequence[str]) -> int:
        """How many frames go out before the fault, given the kinds of all frames."""
        end = kinds.index("end")
        if self.at == "role":
            return kinds.count("role")
        if self.at == "tool" and "tool" in kinds:
            first, calls = kinds.index("tool"), kinds.count("tool")
            return first + (2 if calls > 2 else 0)  # noqa: PLR2004 - name, first piece, and one more
        return min(kinds.count("role") + self.after, end)
