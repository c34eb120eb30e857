"""Runs one cell over the wire, and says in a few words what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from fault_catalogue import ANSWERS, CALLS, Cell, Moment
from fault_doors import Heard, hear
from langchain_core.tools import tool

from tiered_llm import AllTiersFailedError, StreamInterruptedError, TieredChatModel, TierSpec
from tiered_llm.fallback import PROCESS_HEALTH
from tiered_llm.testing import Answer, Fault, SimulatedModel, Simulator
from tiered_llm.testing.simulator.faults import FaultKind

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage
    from langchain_core.runnables import Runnable

    from tiered_llm.testing import RequestRecord

WINDOW = 32_768
PATIENCE_S = 120.0
IMPATIENCE_S = 0.2  # of the tier that is known to stall


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"{city}: sunny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one cell, at one door.

    Attributes:
        cell: The cell.
        said: In the words of `expected.toml`.
        heard: What the caller got.
        seen: The requests that each tier's server saw.
    """

    cell: Cell
    said: str
    heard: Heard
    seen: dict[str, list[RequestRecord]]

    @property
    def answered(self) -> str:
        """The tier that answered; empty where none did."""
        return self.said.split()[0].strip(",") if self.heard.message is not None else ""

    @property
    def attempts(self) -> list[tuple[str, str]]:
        """Tier and outcome of each attempt, by the answer's own routing or by the error."""
        if self.heard.message is None:
            return [("light", "failed")]
        told = self.heard.message.response_metadata["routing"]["attempts"]
        return [(attempt["tier"], attempt["outcome"]) for attempt in told]


class Wires:
    """Two simulators, one for each tier, and the models over them, made once."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self.tiers = {
            tier: Simulator([SimulatedModel(name=tier, context_window=4 * WINDOW, num_ctx=WINDOW)])
            for tier in ("light", "heavy")
        }
        self._models: dict[tuple[str, float, bool], Runnable[Any, Any]] = {}

    def __enter__(self) -> Self:
        """Serve."""
        for simulator in self.tiers.values():
            simulator.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        for simulator in self.tiers.values():
            simulator.stop()

    def run(self, cell: Cell, door: str) -> Outcome:
        """Put a request through a door while the light tier has the cell's fault."""
        PROCESS_HEALTH.reset()
        for simulator in self.tiers.values():
            simulator.reset()
        step, in_a_call = cell.step, cell.moment is Moment.TOOL
        if isinstance(step, Fault) and step.kind is FaultKind.REFUSE:
            self.tiers["light"].refuse()
        else:
            self.tiers["light"].script("light", step)
        self.tiers["heavy"].script("heavy", (CALLS if in_a_call else ANSWERS)["heavy"])
        stalls = isinstance(step, Fault) and step.kind is FaultKind.STALL
        timeout_s = IMPATIENCE_S if stalls else PATIENCE_S
        heard = hear(self._model(cell.protocol, timeout_s, with_tools=in_a_call), door)
        seen = {tier: simulator.requests for tier, simulator in self.tiers.items()}
        return Outcome(cell=cell, said=_said(heard), heard=heard, seen=seen)

    def _model(self, protocol: str, timeout_s: float, *, with_tools: bool) -> Runnable[Any, Any]:
        key = (protocol, timeout_s, with_tools)
        if key not in self._models:
            other = {"ollama": "vllm", "vllm": "ollama"}[protocol]
            model = TieredChatModel(
                light=self._spec("light", protocol, timeout_s=timeout_s),
                # a larger window, so that what overflows the light tier may be asked of it
                heavy=self._spec("heavy", other, context_window=2 * WINDOW, num_ctx=2 * WINDOW),
            )
            self._models[key] = model.bind_tools([weather]) if with_tools else model
        return self._models[key]

    def _spec(self, tier: str, protocol: str, **more: Any) -> TierSpec:
        simulator = self.tiers[tier]
        url = simulator.url if protocol == "ollama" else simulator.openai_url
        given = {"tier": tier, "model_id": f"{protocol}/{tier}", "base_url": url, **more}
        return TierSpec(**{"context_window": WINDOW, **given})


def _said(heard: Heard) -> str:
    if heard.message is not None:
        return _answered(heard.message)
    error = heard.error
    if isinstance(error, StreamInterruptedError):
        return f"StreamInterruptedError ({error.fault})"
    if isinstance(error, AllTiersFailedError):
        return f"AllTiersFailedError ({', '.join(attempt.fault for attempt in error.attempts)})"
    return type(error).__name__


def _answered(message: AIMessage) -> str:
    """Who answered by the words themselves, and the faults of those who did not."""
    attempts = message.response_metadata["routing"]["attempts"]
    faults = ", ".join(str(attempt["fault"]) for attempt in attempts[:-1])
    return f"{_author(message)} ({faults})" if faults else _author(message)


def _author(message: AIMessage) -> str:
    for tier in ("light", "heavy"):
        if said_by(message) in (as_said(ANSWERS[tier]), as_said(CALLS[tier])):
            return tier
    if message.invalid_tool_calls:
        return "light, invalid call"
    if said_by(message) == ("", [("weather", {"city": "Oslo"})]):
        return "light, mended call"
    if not message.tool_calls and "weather" in message.text:
        return "light, call as text"
    return f"nobody known: {message!r}"


def said_by(message: Any) -> tuple[str, list[tuple[str, Any]]]:
    """A message's text and tool calls."""
    return message.text, [(call["name"], call["args"]) for call in message.tool_calls]


def as_said(answer: Answer) -> tuple[str, list[tuple[str, Any]]]:
    """A scripted answer's text and tool calls."""
    return answer.text, [(call.name, call.args) for call in answer.calls]
