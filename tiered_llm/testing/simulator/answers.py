"""Answers: what a script gives, and how one is cut to what the request allows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

from tiered_llm.testing.simulator import tokens

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tiered_llm.testing.simulator.models import ChatRequest

_SERIALS = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallAnswer:
    """A tool call that the simulated model makes.

    Attributes:
        name: The tool's name.
        args: The arguments; a text is sent as it stands, so that a test may break the JSON.
        id: The call's id; a fresh one if unset.
    """

    name: str
    args: Mapping[str, Any] | str = ""
    id: str | None = None

    @classmethod
    def parse(cls, value: ToolCallAnswer | Mapping[str, Any]) -> ToolCallAnswer:
        """Read LangChain's form of a tool call: `{"name": …, "args": …, "id": …}`."""
        if isinstance(value, ToolCallAnswer):
            return value
        return cls(name=value["name"], args=value.get("args", {}), id=value.get("id"))

    @property
    def arguments(self) -> str:
        """The arguments as JSON text."""
        if isinstance(self.args, str):
            return self.args
        return json.dumps(dict(self.args), ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the simulated model says.

    Attributes:
        text: The text, cut at the request's stop texts and token limit.
        tool_calls: Calls made after the text, as `ToolCallAnswer` or as LangChain's dicts.
    """

    text: str = ""
    tool_calls: Sequence[ToolCallAnswer | Mapping[str, Any]] = ()

    @property
    def calls(self) -> tuple[ToolCallAnswer, ...]:
        """The tool calls, all in one form."""
        return tuple(ToolCallAnswer.parse(call) for call in self.tool_calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedCall:
    """A tool call as it goes out: one token for the name, one for each piece."""

    id: str
    name: str
    pieces: tuple[str, ...]

    @property
    def arguments(self) -> str:
        """The arguments as JSON text, cut short if the tokens ran out."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """An answer, token by token.

    Attributes:
        pieces: The text, one piece for each token.
        calls: The tool calls.
        finish_reason: Why it ended: `length` where the tokens ran out.
        stop_text: The stop text that ended it, if one did.
        input_tokens: Tokens read, after truncation.
    """

    pieces: tuple[str, ...]
    calls: tuple[GeneratedCall, ...]
    finish_reason: Literal["stop", "length", "tool_calls"]
    stop_text: str | None
    input_tokens: int

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)

    @property
    def output_tokens(self) -> int:
        """Tokens of the whole answer."""
        return len(self.pieces) + sum(1 + len(call.pieces) for call in self.calls)


def generate(answer: Answer, request: ChatRequest, *, input_tokens: int, room: int) -> Generation:
    """Cut an answer at the request's stop texts and to `room` tokens."""
    text, stop_text = _until_stop(answer.text, request.stop)
    whole = tokens.split(text)
    calls, complete = _fit_calls(answer.calls, room - len(whole))
    done: Literal["tool_calls", "stop"] = "tool_calls" if calls else "stop"
    return Generation(
        pieces=whole[: max(room, 0)],
        calls=calls,
        finish_reason=done if complete and len(whole) <= room else "length",
        stop_text=stop_text,
        input_tokens=input_tokens,
    )


def _until_stop(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    found = [(text.find(stop), stop) for stop in stops if stop and stop in text]
    if not found:
        return text, None
    place, stop = min(found)
    return text[:place], stop


def _fit_calls(
    calls: tuple[ToolCallAnswer, ...], room: int
) -> tuple[tuple[GeneratedCall, ...], bool]:
    fitting: list[GeneratedCall] = []
    for call in calls:
        pieces = tokens.split(call.arguments)
        if room < 1:
            return tuple(fitting), False
        call_id = call.id or f"chatcmpl-tool-{next(_SERIALS):032x}"
        fitting.append(GeneratedCall(id=call_id, name=call.name, pieces=pieces[: room - 1]))
        room -= 1 + len(pieces)
    return tuple(fitting), room >= 0
