"""The matrix's faults, how each is made on the wire, and which cells there are at all."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import TYPE_CHECKING

from tiered_llm.testing import Answer, Fault, ToolCallAnswer
from tiered_llm.testing.simulator.faults import FaultKind
from tiered_llm.testing.simulator.openai import OpenAI

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tiered_llm.testing.simulator.journal import Step

PROTOCOLS = {"ollama": "Ollama, by `ChatOllama`", "vllm": "vLLM, by `ChatOpenAI`"}

DOORS = {
    "invoke": ("invoke", "ainvoke"),
    "stream": ("stream", "astream"),
    "events": ("stream_events", "astream_events"),
}
"""LangChain's doors by the family whose outcome they share."""


class Moment(StrEnum):
    """When a fault strikes."""

    BEFORE = "before"
    ROLE = "role"
    CONTENT = "content"
    TOOL = "tool"


class Reach(StrEnum):
    """In what a fault can strike."""

    NO_ANSWER = "no answer"  # it takes the whole answer's place
    BYTES = "bytes"  # the connection's own: at every moment, also before the first byte
    PIECES = "pieces"  # within the body of an answer with status 200
    STREAM = "stream"  # the same, and only where the body is a stream
    CALL = "call"  # in a tool call's own text


ANSWERS = {
    "light": Answer(text="one two three four five six seven eight"),
    "heavy": Answer(text="the heavy tier has words of its own"),
}
"""What the two tiers say; no piece of one could stand in the other."""


def _calls(*cities: str) -> Answer:
    return Answer(tool_calls=[{"name": "weather", "args": {"city": city}} for city in cities])


CALLS = {"light": _calls("Oslo", "Rome", "Lima"), "heavy": _calls("Berlin")}
"""The tools that the two tiers call: so many that a fault may strike in the last one."""

BROKEN_CALL = Answer(tool_calls=[ToolCallAnswer(name="weather", args='{"city": "Oslo"')])

_AFTER = {Moment.ROLE: 0, Moment.CONTENT: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRow:
    """One row of the matrix.

    Attributes:
        name: As the tables call it.
        reach: In what it can strike.
        make: The simulator's step for a protocol and a moment.
    """

    name: str
    reach: Reach
    make: Callable[[str, Moment], Step]


def _instead(name: str, fault: Fault) -> FaultRow:
    return FaultRow(name=name, reach=Reach.NO_ANSWER, make=lambda *_: fault)


def _overflow(whose: str, words: str) -> FaultRow:
    """Both protocols say the same words: a proxy may pass vLLM's on through Ollama's."""
    return _instead(f"context too long, {whose}", Fault.status(400, words))


def _vllm_says(wording: str) -> str:
    return OpenAI().overflow_text(wording, window=32_768, input_tokens=40_000, output=0)


def _within(name: str, reach: Reach, kind: FaultKind, **more: bool) -> FaultRow:
    def make(protocol: str, moment: Moment) -> Fault:
        answer = CALLS["light"] if moment is Moment.TOOL else ANSWERS["light"]
        if moment is Moment.BEFORE and reach is Reach.BYTES:
            return Fault(kind=kind, at="start", answer=answer, **more)
        if moment is Moment.TOOL:
            return Fault(kind=kind, at="tool", answer=answer, **more)
        after = _AFTER.get(moment, -1 if protocol == "vllm" else 0)  # -1: not even the role
        return Fault(kind=kind, at="content", after=after, answer=answer, **more)

    return FaultRow(name=name, reach=reach, make=make)


FAULTS: Mapping[str, FaultRow] = {
    row.name: row
    for row in (
        _instead("connection refused", Fault.refuse()),
        _within("stall until the timeout", Reach.BYTES, FaultKind.STALL),
        _instead("429", Fault.status(429, retry_after_s=1)),
        _instead("500", Fault.status(500)),
        _instead("503", Fault.status(503)),
        _instead("404", Fault.status(404)),
        _instead("401", Fault.status(401)),
        _instead("400, a bad request", Fault.status(400, "no such field")),
        _overflow("vLLM's old words", _vllm_says("old")),
        _overflow("vLLM's new words", _vllm_says("new")),
        _overflow("vLLM's latest words", _vllm_says("latest")),
        _overflow("Ollama's words", "the input length exceeds the context length"),
        _within("connection reset", Reach.BYTES, FaultKind.CUT, reset=True),
        _within("connection closed half-way", Reach.BYTES, FaultKind.CUT, reset=False),
        _within("error event", Reach.STREAM, FaultKind.ERROR_EVENT),
        _within("clean early end", Reach.PIECES, FaultKind.EARLY_END),
        _within("malformed chunk", Reach.PIECES, FaultKind.BAD_CHUNK),
        FaultRow(
            name="malformed JSON of a tool call", reach=Reach.CALL, make=lambda *_: BROKEN_CALL
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of the matrix; what its door sees may depend on the family alone.

    Attributes:
        protocol: How the light tier, which has the fault, is spoken to.
        fault: The row's name.
        moment: When it strikes.
        family: The doors' family.
    """

    protocol: str
    fault: str
    moment: Moment
    family: str

    @property
    def row(self) -> FaultRow:
        return FAULTS[self.fault]

    @property
    def in_one_document(self) -> bool:
        """Whether the answer is one JSON document: ChatOllama streams in `invoke` too."""
        return self.protocol == "vllm" and self.family == "invoke"

    @property
    def step(self) -> Step:
        """What the light tier's simulator is told to do."""
        return self.row.make(self.protocol, self.moment)

    @property
    def why_not(self) -> str:
        """Why there is no such cell: a key of `REASONS`; empty where there is one."""
        if self.row.reach is Reach.NO_ANSWER and self.moment is not Moment.BEFORE:
            return "instead"
        if self.row.reach is Reach.CALL and self.moment is not Moment.TOOL:
            return "call"
        if self.moment is Moment.ROLE and (self.protocol == "ollama" or self.in_one_document):
            return "role"
        return self._why_not_in_a_document() if self.in_one_document else ""

    def _why_not_in_a_document(self) -> str:
        if self.row.reach is Reach.STREAM:
            return "event"
        if self.row.reach is Reach.PIECES and self.moment is Moment.BEFORE:
            return "first"
        stalls = self.fault.startswith("stall")
        return "stall" if stalls and self.moment is not Moment.BEFORE else ""


REASONS = {
    "instead": "It takes the answer's place: nothing has come before it.",
    "call": "It is a fault of a tool call alone.",
    "role": "There is no role chunk: Ollama's protocol has none, and vLLM answers `invoke` and "
    "`ainvoke` with one JSON document.",
    "event": "One JSON document has no room for an event: vLLM then answers with status 500.",
    "first": "One JSON document is the first chunk, and the last.",
    "stall": "vLLM sends its one JSON document when it is complete: it stalls before, or not "
    "at all.",
}
"""The rules by which a combination is none, in the order in which they are asked."""

COMBINATIONS = [
    Cell(protocol=protocol, fault=fault, moment=moment, family=family)
    for protocol, fault, moment, family in product(PROTOCOLS, FAULTS, Moment, DOORS)
]
CELLS = [cell for cell in COMBINATIONS if not cell.why_not]
