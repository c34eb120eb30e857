"""What goes wrong in a soak: drawn from a seed, so that a failure can be had again."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from enum import StrEnum

from tiered_llm.testing import Answer, Fault

FAULTS_SHARE = 0.3
"""Of all attempts that reach a server in a storm."""


class Fate(StrEnum):
    """What becomes of one request."""

    WHOLE = "whole"
    # done by the proxy
    RESET = "reset before the first byte"
    CUT = "reset within the answer"
    STALL = "nothing is ever sent"
    HANG = "nothing more is sent within the answer"
    # done by the server
    RATE_LIMITED = "429 with Retry-After"
    ERROR_500 = "500"
    ERROR_503 = "503"
    EARLY_END = "a clean early end"
    BAD_CHUNK = "a chunk that is no JSON"
    ERROR_EVENT = "an error within the stream"


class Sky(StrEnum):
    """What goes wrong at one server as a whole."""

    FAIR = "fair"
    STORM = "storm"
    REFUSED = "refused"
    BLACK_HOLE = "black hole"
    OVERLOADED = "overloaded"


_WEIGHTS = {
    Fate.RESET: 4,
    Fate.CUT: 5,
    Fate.STALL: 2,
    Fate.HANG: 2,
    Fate.RATE_LIMITED: 1,
    Fate.ERROR_500: 4,
    Fate.ERROR_503: 4,
    Fate.EARLY_END: 4,
    Fate.BAD_CHUNK: 4,
    Fate.ERROR_EVENT: 4,
}
_SETTLED = {Sky.FAIR: Fate.WHOLE, Sky.BLACK_HOLE: Fate.STALL, Sky.OVERLOADED: Fate.ERROR_503}
_SHORTEST_ANSWER_BYTES = 400
"""No answer on the wire, with its headers, is shorter: a cut before that is within it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stroke:
    """One request's fate.

    Attributes:
        fate: What becomes of it.
        after_bytes: How much of the answer goes out before a cut or a hang.
    """

    fate: Fate
    after_bytes: int = 0


def stroke(sky: Sky, *drawn_from: object) -> Stroke:
    """The fate under a sky; in a storm the same for the same values to draw from."""
    if sky is not Sky.STORM:
        return Stroke(fate=_SETTLED.get(sky, Fate.WHOLE))
    dice = random.Random(" ".join(map(str, drawn_from)))  # noqa: S311  # to be repeatable
    if dice.random() >= FAULTS_SHARE:
        return Stroke(fate=Fate.WHOLE)
    [fate] = dice.choices(list(_WEIGHTS), weights=list(_WEIGHTS.values()))
    return Stroke(fate=fate, after_bytes=dice.randrange(1, _SHORTEST_ANSWER_BYTES))


def server_step(fate: Fate, answer: Answer) -> Answer | Fault:
    """What the simulator does for its part of a fate."""
    return {
        Fate.RATE_LIMITED: Fault.status(429, retry_after_s=1),
        Fate.ERROR_500: Fault.status(500),
        Fate.ERROR_503: Fault.status(503),
        Fate.EARLY_END: Fault.early_end(answer=answer),
        Fate.BAD_CHUNK: Fault.bad_chunk(answer=answer),
        Fate.ERROR_EVENT: Fault.error_event(answer=answer),
    }.get(fate, answer)


def question(number: int) -> str:
    """What the request of that number asks."""
    return f"Request {number}: hello"


def number_in(text: str) -> int:
    """The number of the request that a text holds."""
    [number] = re.findall(r"Request (\d+):", text)
    return int(number)


def answer_text(tier: str, number: int) -> str:
    """What a tier answers to a request: no other tier and no other request has this text."""
    return f"{tier} answers request {number}: one two three four five six seven eight nine ten"
